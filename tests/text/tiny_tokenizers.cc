#include "tests/text/tiny_tokenizers.h"

#include <gtest/gtest.h>

#include <iterator>
#include <random>
#include <utility>

#include "absl/strings/escaping.h"
#include "engine/text/byte_alphabet.h"
#include "engine/text/unicode.h"
#include "tests/text/charsmap_blobs.h"

namespace memgate {
namespace {

using nlohmann::json;

json AddedTokenJson(TokenId id, std::string_view content, bool special) {
  return {{"id", id},           {"content", std::string(content)},
          {"special", special}, {"lstrip", false},
          {"rstrip", false},    {"single_word", false},
          {"normalized", false}};
}

// Adds the merge and the piece it makes.
void AddMerge(json& model, const std::string& left, const std::string& right) {
  const int next = static_cast<int>(model["vocab"].size());
  model["merges"].push_back(left + " " + right);
  if (!model["vocab"].contains(left + right)) model["vocab"][left + right] = next;
}

}  // namespace

json TinyByteLevelJson() {
  json model = {{"type", "BPE"}, {"vocab", json::object()}, {"merges", json::array()}};
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    AppendUtf8(SpellByte(static_cast<unsigned char>(byte)), spelling);
    model["vocab"][spelling] = byte;
  }
  const std::pair<const char*, const char*> merges[] = {{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"},
                                                        {"Ġ", "w"}, {"o", "r"}, {"Ġw", "or"}, {"Ċ", "Ċ"}};
  for (const auto& [left, right] : merges) AddMerge(model, left, right);
  return {{"added_tokens",
           {AddedTokenJson(kTinyEnd, "<|end|>", true), AddedTokenJson(kTinyNote, "<note>", false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", model}};
}

json TinyQwenJson() {
  json root = TinyByteLevelJson();
  root["normalizer"] = {{"type", "NFC"}};
  const std::string pattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  root["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  return root;
}

json TinySentencePieceJson() {
  json model = {{"type", "BPE"},        {"vocab", json::object()}, {"merges", json::array()},
                {"unk_token", "<unk>"}, {"fuse_unk", true},        {"byte_fallback", true}};
  int next = 0;
  for (const char* piece : {"<unk>", "<s>", "</s>"}) model["vocab"][piece] = next++;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    model["vocab"][std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">"] = next++;
  }
  model["vocab"]["▁"] = next++;
  for (char c = 'a'; c <= 'z'; ++c) model["vocab"][std::string(1, c)] = next++;
  const std::pair<const char*, const char*> merges[] = {{"▁", "t"}, {"h", "e"},   {"▁t", "he"}, {"a", "t"},
                                                        {"▁", "c"}, {"▁c", "at"}, {"▁", "▁"}};
  for (const auto& [left, right] : merges) AddMerge(model, left, right);
  return {
      {"added_tokens",
       {AddedTokenJson(0, "<unk>", true), AddedTokenJson(1, "<s>", true), AddedTokenJson(2, "</s>", true)}},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "▁"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model", model}};
}

json TinyUnigramJson() {
  json vocab =
      json::array({{"<unk>", 0.0}, {"</s>", 0.0}, {"▁", -4.0}, {"▁the", -2.0}, {"▁c", -3.5}, {"at", -3.0}});
  for (char c = 'a'; c <= 'z'; ++c) vocab.push_back({std::string(1, c), -6.0});
  const std::string charsmap = CharsmapBlob({{"A", "a"}, {"T", "t"}});
  return {{"added_tokens",
           {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
            {{"id", 1}, {"content", "</s>"}, {"special", true}}}},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers",
             {{{"type", "Precompiled"}, {"precompiled_charsmap", absl::Base64Escape(charsmap)}},
              {{"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", " "}}}}}},
          {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {{{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "</s>"}}}}}},
            {"special_tokens", {{"</s>", {{"ids", {1}}}}}}}},
          {"decoder", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}}},
          {"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}}};
}

std::unique_ptr<Tokenizer> MakeTokenizer(const json& json, std::string_view config) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(json.dump(), config);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.status();
    std::abort();
  }
  return *std::move(tokenizer);
}

std::string RandomUtf8(uint32_t seed, size_t characters) {
  // Where texts go wrong more often than elsewhere, and everything: first and last code point of each range.
  constexpr std::pair<char32_t, char32_t> kRanges[] = {{0x0, 0x7F},        {0x20, 0x20},      {0x9, 0xD},
                                                       {0x61, 0x7A},       {0x80, 0x7FF},     {0x300, 0x36F},
                                                       {0x2000, 0x206F},   {0x4E00, 0x9FFF},  {0x800, 0xD7FF},
                                                       {0xE000, 0x10FFFF}, {0x1F300, 0x1F6FF}};
  std::mt19937 random(seed);
  std::string text;
  while (characters > 0) {
    const auto [first, last] = kRanges[random() % std::size(kRanges)];
    const char32_t code_point = first + random() % (last - first + 1);
    constexpr char32_t kSpaceMarkCodePoint = 0x2581;
    if (code_point == kSpaceMarkCodePoint) continue;
    AppendUtf8(code_point, text);
    --characters;
  }
  return text;
}

std::vector<std::string> Pieces(const Tokenizer& tokenizer, std::string_view text, TextPosition position,
                                SpecialTokens special) {
  const absl::StatusOr<std::vector<TokenId>> ids = tokenizer.Encode(text, position, special);
  EXPECT_TRUE(ids.ok()) << ids.status();
  std::vector<std::string> pieces;
  for (const TokenId id : ids.value_or(std::vector<TokenId>())) pieces.emplace_back(tokenizer.Piece(id));
  return pieces;
}

}  // namespace memgate
