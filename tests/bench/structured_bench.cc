#include "tests/bench/structured_bench.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/structured/output_format.h"
#include "engine/structured/token_constraint.h"
#include "engine/structured/token_trie.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace memgate::bench {
namespace {

// The bytes, then words as vocabularies have them: two thirds of Latin letters, most of them behind a space,
// some capitalised; pieces of JSON and code; the rest of other scripts.
class MadeUpTokenizer : public Tokenizer {
 public:
  explicit MadeUpTokenizer(int size) {
    for (int byte = 0; byte < 256; ++byte) Add(std::string(1, static_cast<char>(byte)));
    for (const char* piece : {"\":", "\",", " \"", "{\"", "\"}", "[]", "{}", "}}", "],", "\": \"", "\", \"",
                              "  ", "    ", "\n\n", ".\n"}) {
      Add(piece);
    }
    std::mt19937 random(1);
    while (static_cast<int>(tokens_.size()) < size)
      Add(random() % 3 < 2 ? LatinWord(random) : OtherWord(random));
  }

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text, TextPosition,
                                              SpecialTokens) const override {
    std::vector<TokenId> ids;
    while (!text.empty()) {
      size_t length = std::min(text.size(), longest_);
      while (!ids_.contains(std::string(text.substr(0, length)))) --length;
      ids.push_back(ids_.at(std::string(text.substr(0, length))));
      text.remove_prefix(length);
    }
    return ids;
  }
  std::string_view TokenBytes(TokenId id) const override {
    return id >= 0 && id < vocab_size() ? std::string_view(tokens_[id]) : std::string_view();
  }
  std::string_view Piece(TokenId id) const override { return TokenBytes(id); }
  bool StripsLeadingSpace() const override { return false; }
  int vocab_size() const override { return static_cast<int>(tokens_.size()); }
  bool IsSpecial(TokenId) const override { return false; }
  std::optional<TokenId> bos_id() const override { return std::nullopt; }
  std::optional<TokenId> eos_id() const override { return std::nullopt; }
  const std::vector<TokenId>& end_ids() const override { return no_ids_; }
  const std::map<std::string, std::string>& chat_templates() const override { return no_templates_; }

 private:
  void Add(const std::string& token) {
    if (!ids_.emplace(token, static_cast<TokenId>(tokens_.size())).second) return;
    tokens_.push_back(token);
    longest_ = std::max(longest_, token.size());
  }
  static std::string LatinWord(std::mt19937& random) {
    constexpr std::string_view kLetters =
        "eeeeeeetttttaaaaoooinnnsshhrrdlcumwfgypbvkjxqz";  // about as often as in English
    std::string word = random() % 3 ? " " : "";
    const size_t begin = word.size();
    for (int i = 2 + static_cast<int>(random() % 8); i > 0; --i) word += kLetters[random() % kLetters.size()];
    if (random() % 5 == 0) word[begin] = static_cast<char>(word[begin] - 'a' + 'A');
    return word;
  }
  static std::string OtherWord(std::mt19937& random) {
    constexpr std::pair<char32_t, int> kScripts[] = {
        {0x4E00, 6000}, {0x0430, 32}, {0x0621, 40}, {0xAC00, 3000}, {0x3042, 80}};
    const auto& [first, count] = kScripts[random() % std::size(kScripts)];
    std::string word;
    for (int i = 1 + static_cast<int>(random() % 5); i > 0; --i) AppendUtf8(first + random() % count, word);
    return word;
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, TokenId> ids_;
  size_t longest_ = 0;
  const std::map<std::string, std::string> no_templates_;
  const std::vector<TokenId> no_ids_;
};

struct Answer {
  std::string name;
  OutputFormat format;
  std::string text;
};

std::string Words(int count) {
  std::string words;
  for (int i = 0; i < count; ++i)
    absl::StrAppend(&words, i > 0 ? ", " : "", "\"item ", i * 7919 % 10007, "\"");
  return words;
}

std::vector<Answer> Answers() {
  const std::string text =
      "The pump in hall 3 was restarted at noon, and the pressure stays below its limit.";
  return {
      {"json_object",
       {OutputFormat::Kind::kJsonObject, ""},
       R"({"device": "pump K7", "readings": [12.5, 13.25, -4], "note": ")" + text +
           R"(", "ok": true, "next": {"a": [null, {}]}})"},
      {"schema",
       {OutputFormat::Kind::kJsonSchema,
        R"({"type": "object", "properties": {"device": {"type": "string"}, "state": {"enum": ["on", "off", "fault"]},
                          "pressure": {"type": "number", "minimum": 0, "maximum": 400}, "day": {"type": "string", "format": "date"},
                          "notes": {"type": "array", "items": {"type": "string"}}},
                          "required": ["device", "state", "pressure", "day", "notes"], "additionalProperties": false})"},
       R"({"device": "pump K7", "state": "fault", "pressure": 12.25, "day": "2024-02-29", "notes": [")" +
           text + R"(", "none"]})"},
      {"limited_string",
       {OutputFormat::Kind::kJsonSchema, R"({"type": "string", "maxLength": 1000})"},
       "\"" + text + " " + text + "\""},
      {"enum_of_1000",
       {OutputFormat::Kind::kJsonSchema, R"({"type": "array", "items": {"enum": [)" + Words(1000) + "]}}"},
       "[" + Words(8) + "]"},
      {"grammar",
       {OutputFormat::Kind::kGrammar, "root ::= (\"- \" [^\\n]+ \"\\n\")+"},
       "- " + text + "\n- " + text + "\n"}};
}

// One answer, token by token. Returns the longest time that a token took, in seconds.
double Write(const std::shared_ptr<TokenConstraint>& constraint, const std::vector<TokenId>& ids) {
  TokenConstraint::Cursor cursor(constraint);
  double worst = 0;
  for (const TokenId id : ids) {
    const auto begin = std::chrono::steady_clock::now();
    auto allowed = cursor.Next();
    benchmark::DoNotOptimize(allowed);
    if (!allowed.ok() || !cursor.Take(id).ok()) return -1;
    worst = std::max(worst, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return worst;
}

void RunMask(benchmark::State& state, const std::shared_ptr<const TokenTrie>& trie, const Answer& answer,
             bool first) {
  const auto ids =
      trie->tokenizer().Encode(answer.text, TextPosition::kContinuation, SpecialTokens::kPlainText);
  const auto make = [&] { return *TokenConstraint::Create(*CompileOutputFormat(answer.format), trie); };
  std::shared_ptr<TokenConstraint> constraint = make();
  double worst = Write(constraint, *ids);
  if (worst < 0) return state.SkipWithError("the answer does not have the format");
  double sum = 0;
  for (auto _ : state) {
    if (first) {
      state.PauseTiming();
      constraint = make();
      state.ResumeTiming();
    }
    sum += Write(constraint, *ids);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(ids->size()));
  state.counters["us_per_token"] =
      benchmark::Counter(static_cast<double>(ids->size()) * 1e-6,
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["worst_us"] = 1e6 * sum / static_cast<double>(state.iterations());
}

}  // namespace

void RegisterStructuredBenchmarks(const std::string& tokenizer_folder) {
  // Kept for as long as the program runs: benchmarks refer to them.
  static std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  if (!tokenizer_folder.empty()) {
    auto tokenizer = Tokenizer::FromFolder(tokenizer_folder);
    if (tokenizer.ok()) tokenizers.push_back(*std::move(tokenizer));
  } else {
    for (const int size : {512, 32'000, 152'000})
      tokenizers.push_back(std::make_unique<MadeUpTokenizer>(size));
  }
  for (const auto& tokenizer : tokenizers) {
    const int size = tokenizer->vocab_size();
    auto trie = std::make_shared<const TokenTrie>(*tokenizer, size, std::vector<TokenId>());
    benchmark::RegisterBenchmark(absl::StrCat("TokenTrie/vocabulary:", size).c_str(),
                                 [&tokenizer = *tokenizer, size](benchmark::State& state) {
                                   for (auto _ : state)
                                     benchmark::DoNotOptimize(TokenTrie(tokenizer, size, {}));
                                 })
        ->Unit(benchmark::kMillisecond);
    for (const Answer& answer : Answers()) {
      for (const bool first : {true, false}) {
        benchmark::RegisterBenchmark(
            absl::StrCat("Mask/", answer.name, "/vocabulary:", size, first ? "/first" : "/again").c_str(),
            [trie, answer, first](benchmark::State& state) { RunMask(state, trie, answer, first); })
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace memgate::bench
