// memgate-bench-divergence: what rounding its weights does to a model's next-token distributions.
//
//   memgate-bench-divergence MODEL FORMAT TOKENS [TEXT]
//
// Takes the first TOKENS tokens of the file TEXT, or as many random ones, into a session of the model's
// default memory kind, once with weights in f32 and once in FORMAT, and compares the two distributions p
// (f32) and q behind each token. One line of JSON: {"tokens", "mean_kl": of sum p log(p / q), in nats,
// "largest_kl", "same_best": share of tokens after which both like the same one best}. Exit code 1 if the
// model or the text cannot be read, 2 for wrong usage.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <memory_resource>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/kernels/parallel.h"
#include "engine/loaded_model.h"
#include "nlohmann/json.hpp"

namespace memgate::bench {
namespace {

constexpr int kUsageError = 2;
constexpr int kStepTokens = 64;

using Logits = absl::Span<const float>;

// A model and a session on it.
class Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Reader>> Open(const std::string& folder, WeightFormat format) {
    EngineOptions options;
    options.model_path = folder;
    options.weights = format;
    options.memory_budget_bytes = std::numeric_limits<int64_t>::max();
    options.max_batch_tokens = kStepTokens;
    options.max_active_turns = kStepTokens;  // logits of every token
    auto model = LoadModel(std::move(options));
    if (!model.ok()) return model.status();
    return std::unique_ptr<Reader>(new Reader(*std::move(model)));
  }

  const LoadedModel& model() const { return model_; }
  int64_t TokensUntilFold() const { return session_.TokensUntilFold(); }
  // [tokens, V], valid until the next call.
  absl::StatusOr<Logits> Take(absl::Span<const int32_t> tokens) {
    return model_.transformer->Forward({{&session_, tokens, LogitRows::kAll}}, work_);
  }

 private:
  explicit Reader(LoadedModel model)
      : model_(std::move(model)),
        work_(model_.info.config,
              {.max_tokens = kStepTokens, .max_logit_rows = kStepTokens, .weights = model_.info.weights}),
        session_({&model_.info.config, model_.kinds->default_kind().kind.get(), &model_.transformer->ropes(),
                  model_.info.kv_format},
                 model_.kinds->default_kind().default_shape, std::pmr::new_delete_resource()) {}

  LoadedModel model_;
  Workspace work_;
  SessionState session_;
};

double LogOfSumOfExponentials(Logits logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

// sum p log(p / q), of the distributions that the logits stand for.
double Divergence(Logits p, Logits q) {
  const double p_sum = LogOfSumOfExponentials(p), q_sum = LogOfSumOfExponentials(q);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    divergence += std::exp(p[i] - p_sum) * ((p[i] - p_sum) - (q[i] - q_sum));
  }
  return divergence;
}

int64_t Best(Logits logits) { return std::max_element(logits.begin(), logits.end()) - logits.begin(); }

struct Comparison {
  int64_t tokens = 0, same_best = 0;
  double sum = 0, largest = 0;

  void Add(Logits p, Logits q) {
    const double divergence = Divergence(p, q);
    ++tokens;
    sum += divergence;
    largest = std::max(largest, divergence);
    same_best += Best(p) == Best(q);
  }
};

absl::StatusOr<std::vector<int32_t>> ReadTokens(const LoadedModel& model, int64_t count,
                                                const std::string& path) {
  std::vector<int32_t> tokens;
  if (path.empty()) {
    std::mt19937_64 random(1);
    std::uniform_int_distribution<int32_t> id(0, model.info.config.vocab_size - 1);
    std::generate_n(std::back_inserter(tokens), count, [&] { return id(random); });
    return tokens;
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!(text << file.rdbuf())) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  auto encoded = model.tokenizer->Encode(text.str(), TextPosition::kStart);
  if (!encoded.ok()) return encoded.status();
  if (static_cast<int64_t>(encoded->size()) < count) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": only ", encoded->size(), " tokens"));
  }
  encoded->resize(count);
  return encoded;
}

absl::StatusOr<Comparison> Compare(const std::string& folder, WeightFormat format, int64_t count,
                                   const std::string& text) {
  auto exact = Reader::Open(folder, WeightFormat::kF32);
  if (!exact.ok()) return exact.status();
  auto rounded = Reader::Open(folder, format);
  if (!rounded.ok()) return rounded.status();
  const auto tokens = ReadTokens((*exact)->model(), count, text);
  if (!tokens.ok()) return tokens.status();
  const size_t vocabulary = (*exact)->model().info.config.vocab_size;
  Comparison comparison;
  for (absl::Span<const int32_t> rest = *tokens; !rest.empty();) {
    const auto step = rest.subspan(0, std::min<int64_t>(kStepTokens, (*exact)->TokensUntilFold()));
    const auto p = (*exact)->Take(step);
    if (!p.ok()) return p.status();
    const auto q = (*rounded)->Take(step);
    if (!q.ok()) return q.status();
    for (size_t row = 0; row < step.size(); ++row) {
      comparison.Add(p->subspan(row * vocabulary, vocabulary), q->subspan(row * vocabulary, vocabulary));
    }
    rest.remove_prefix(step.size());
  }
  return comparison;
}

int Main(int argc, char** argv) {
  int64_t tokens = 0;
  const auto format = ParseWeightFormat(argc > 2 ? argv[2] : "");
  if (argc < 4 || argc > 5 || !format.ok() || !absl::SimpleAtoi(argv[3], &tokens) || tokens < 1) {
    std::cerr << "memgate-bench-divergence: usage: MODEL f32|bf16|int8|int4 TOKENS [TEXT]\n";
    return kUsageError;
  }
  const ScopedComputeThreads threads(0);
  const auto found = Compare(argv[1], *format, tokens, argc > 4 ? argv[4] : "");
  if (!found.ok()) {
    std::cerr << "memgate-bench-divergence: " << found.status() << "\n";
    return EXIT_FAILURE;
  }
  const auto share = [&](double of) { return of / static_cast<double>(found->tokens); };
  const nlohmann::ordered_json line = {{"tokens", found->tokens},
                                       {"mean_kl", share(found->sum)},
                                       {"largest_kl", found->largest},
                                       {"same_best", share(static_cast<double>(found->same_best))}};
  std::cout << line.dump() << "\n";
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace memgate::bench

int main(int argc, char** argv) { return memgate::bench::Main(argc, argv); }
