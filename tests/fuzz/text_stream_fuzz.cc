// Input: how a text is cut, and the text, as a client sends it. However it comes in, the ids are those of the
// whole; so is the text that they give, and where they are no special tokens, it is what came in. Bytes: the
// tokenizer, the position and special tokens, the size of chunks, how often the text is repeated.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"
#include "tests/fuzz/input_parts.h"
#include "tests/fuzz/tokenizer_checks.h"
#include "tests/fuzz/vocabularies.h"

namespace memgate {
namespace {

// Longer than what a StreamingTokenizer holds back, shorter than where it cuts at any place.
constexpr size_t kMaxBytes = 12 << 10;

struct Case {
  std::unique_ptr<Tokenizer> tokenizer;
  bool lossless = false;  // what is encoded and decoded is the same again
};

// Merges within words and across what pre-tokenisers split.
const std::vector<std::string>& Merges() {
  static const std::vector<std::string> merges = {"a b", "ab a", "Ġ a", "Ġ Ġ",   "ĠĠ ĠĠ", "Ċ Ċ", "1 2",
                                                  "' s", "Ã ©",  "č Ċ", "aba b", "Ċ Ġ",   "a Ċ", ". ."};
  return merges;
}

const std::vector<Case>& Cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> made;
    for (const char* pre : {"gpt-2", "default", "llama-bpe", "deepseek-llm", "deepseek-v3", "gpt-4o",
                            "tekken", "falcon", "bloom", "starcoder"}) {
      made.push_back({MakeTokenizer(ByteLevelVocabulary(pre, Merges())), true});
    }
    for (const char* composes : {"qwen2", "qwen35"}) {  // an e and its accent come back as one character
      made.push_back({MakeTokenizer(ByteLevelVocabulary(composes, Merges())), false});
    }
    const std::vector<std::string> pieces = {"▁a", "▁ab", "ab", "ba", "▁▁",   "▁▁▁▁", "a",
                                             "b",  "▁",   "\n", "é",  "\n\n", "12"};
    made.push_back({MakeTokenizer(SentencePieceVocabulary("llama", pieces)), true});
    made.push_back({MakeTokenizer(SentencePieceVocabulary("t5", pieces)), false});
    return made;
  }();
  return cases;
}

// The valid characters at the start of `text`.
std::string_view ValidPrefix(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Step step = ReadUtf8(text.substr(bytes));
    if (step.state != Utf8State::kValid) break;
    bytes += step.bytes;
  }
  return text.substr(0, bytes);
}

std::string Repeated(std::string_view text, size_t times) {
  std::string repeated;
  for (size_t i = 0; i < times && repeated.size() < kMaxBytes; ++i) repeated += text;
  repeated.resize(std::min(repeated.size(), kMaxBytes));
  return repeated;
}

void Check(const Case& one, std::string_view text, size_t chunk_bytes, TextPosition position,
           SpecialTokens special) {
  const Tokenizer& tokenizer = *one.tokenizer;
  const std::string_view valid = ValidPrefix(text);
  StreamingTokenizer stream(tokenizer, position, special);
  std::vector<TokenId> streamed;
  absl::Status status;
  for (size_t at = 0; status.ok() && at < text.size(); at += chunk_bytes) {
    status = stream.Push(text.substr(at, chunk_bytes), streamed);
  }
  if (status.ok()) status = stream.Finish(streamed);
  const auto ids = tokenizer.Encode(valid, position, special);
  if (!ids.ok()) return Require(!status.ok());  // too many marks in a row
  Require(status.ok() == (valid.size() == text.size()));
  // Of no text at all before the invalid bytes nothing is made.
  Require(streamed == *ids || (!status.ok() && valid.empty() && streamed.empty()));
  CheckDecoding(tokenizer, *ids, position);
  const bool specials =
      std::any_of(ids->begin(), ids->end(), [&](TokenId id) { return tokenizer.IsSpecial(id); });
  const bool has_mark = valid.find("▁") != std::string_view::npos;  // which stands for a space in some models
  if (one.lossless && !specials && !has_mark) Require(Decode(tokenizer, *ids, position) == valid);
  if (special == SpecialTokens::kPlainText && position == TextPosition::kContinuation) {
    CheckPlainText(tokenizer, *ids);
  }
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  std::string_view rest = AsText(data, size);
  const Case& one = Cases()[TakeByte(rest) % Cases().size()];
  const uint8_t how = TakeByte(rest);
  const size_t chunk_bytes = 1 + 17 * size_t{TakeByte(rest)};
  const size_t times = 1 + size_t{TakeByte(rest)};
  Check(one, Repeated(rest, times), chunk_bytes, how & 1 ? TextPosition::kStart : TextPosition::kContinuation,
        how & 2 ? SpecialTokens::kParse : SpecialTokens::kPlainText);
  return 0;
}
