#include "tests/model/running_model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>

#include "engine/kernels/parallel.h"

namespace memgate {
namespace {

void DieUnless(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

Checkpoint OpenOrDie(const std::string& path) {
  auto checkpoint = OpenCheckpoint(path);
  DieUnless(checkpoint.status());
  return *std::move(checkpoint);
}

}  // namespace

RunningModel::RunningModel(const std::string& path, int max_tokens, WeightFormat format)
    : checkpoint_(OpenOrDie(path)),
      window_(MakeWindowKind()),
      work_(checkpoint_.config, {.max_tokens = max_tokens, .max_logit_rows = max_tokens, .weights = format}) {
  SetComputeThreads(1);
  auto weights = LoadWeights(config(), tensors(), format, [](int, int) {});
  DieUnless(weights.status());
  transformer_ = std::make_unique<Transformer>(config(), *std::move(weights));
}

std::string RunningModel::fingerprint() const {
  const auto fingerprint = Fingerprint(tensors());
  DieUnless(fingerprint.status());
  return *fingerprint;
}

std::unique_ptr<SessionState> RunningModel::NewSession(const MemoryKind& kind, const SessionShape& shape,
                                                       KvFormat kv_format) const {
  DieUnless(shape.Validate());
  return std::make_unique<SessionState>(
      SessionContext{&transformer_->config(), &kind, &transformer_->ropes(), kv_format}, shape,
      std::pmr::new_delete_resource());
}

std::unique_ptr<SessionState> RunningModel::NewExactSession(int tokens, KvFormat kv_format) const {
  return NewSession(*window_, SessionShape::Exact(tokens), kv_format);
}

std::vector<float> RunningModel::Step(const std::vector<SequenceChunk>& batch) {
  const auto logits = transformer_->Forward(batch, work_);
  DieUnless(logits.status());
  return {logits->begin(), logits->end()};
}

std::vector<float> RunningModel::Feed(SessionState& session, absl::Span<const int32_t> tokens,
                                      int chunk_tokens) {
  std::vector<float> all;
  while (!tokens.empty()) {
    const int64_t count =
        std::min({static_cast<int64_t>(tokens.size()), int64_t{chunk_tokens}, session.TokensUntilFold()});
    const std::vector<float> logits = Step({{&session, tokens.subspan(0, count), LogitRows::kAll}});
    all.insert(all.end(), logits.begin(), logits.end());
    tokens.remove_prefix(count);
  }
  return all;
}

std::vector<int32_t> RandomTokens(uint64_t seed, int count, int vocab_size) {
  std::mt19937_64 engine(seed);
  std::vector<int32_t> out(count);
  for (int32_t& token : out) token = static_cast<int32_t>(engine() % vocab_size);
  return out;
}

}  // namespace memgate
