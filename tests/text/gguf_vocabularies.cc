#include "tests/text/gguf_vocabularies.h"

#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>

namespace memgate {
namespace {

using nlohmann::json;

int32_t Type(GgufTokenType type) { return static_cast<int32_t>(type); }

bool IsByte(const std::string& piece) { return piece.size() == 6 && piece.starts_with("<0x"); }

// SentencePiece's files hold no merges: the score of a piece is minus the rank of the best one that makes it.
void ReplaceMergesByScores(GgufVocabulary& vocabulary) {
  std::map<std::string, float> scores;
  for (const std::string& merge : vocabulary.merges) {
    std::string joined = merge;
    joined.erase(joined.find(' ', 1), 1);
    scores.emplace(joined, -static_cast<float>(scores.size()));
  }
  for (const std::string& token : vocabulary.tokens) {
    vocabulary.scores.push_back(scores.contains(token) ? scores[token] : -1e9f);
  }
  vocabulary.merges.clear();
}

// The fields of a GGUF file in order. Values of keys that are not asked for are read over.
class GgufFile {
 public:
  explicit GgufFile(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    content_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  template <typename T>
  T Read() {
    T value;
    std::memcpy(&value, content_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string ReadString() {
    const auto size = static_cast<size_t>(Read<uint64_t>());
    at_ += size;
    return content_.substr(at_ - size, size);
  }
  template <typename T>
  std::vector<T> ReadArray(const std::function<T()>& read_element) {
    Read<uint32_t>();  // the type of the elements
    std::vector<T> values(static_cast<size_t>(Read<uint64_t>()));
    for (T& value : values) value = read_element();
    return values;
  }
  void Skip(uint32_t type) {
    constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    constexpr uint32_t kString = 8, kArray = 9;
    if (type == kString) {
      ReadString();
    } else if (type == kArray) {
      const auto element = Read<uint32_t>();
      for (auto left = Read<uint64_t>(); left > 0; --left) Skip(element);
    } else {
      at_ += kSizes[type];
    }
  }

 private:
  std::string content_;
  size_t at_ = 0;
};

}  // namespace

GgufVocabulary GgufVocabularyOf(const json& tokenizer_json, const std::string& pre) {
  const json& model = tokenizer_json["model"];
  const bool byte_fallback = model.value("byte_fallback", false);
  GgufVocabulary vocabulary{.model = byte_fallback ? "llama" : "gpt2", .pre = pre};
  const auto put = [&](const std::string& piece, size_t id, GgufTokenType type) {
    if (vocabulary.tokens.size() <= id) {
      vocabulary.tokens.resize(id + 1);
      vocabulary.types.resize(id + 1, Type(GgufTokenType::kUnused));
    }
    vocabulary.tokens[id] = piece;
    vocabulary.types[id] = Type(type);
  };
  for (const auto& [piece, id] : model["vocab"].items()) {
    const bool is_byte = byte_fallback && IsByte(piece);
    put(piece, id, is_byte ? GgufTokenType::kByte : GgufTokenType::kNormal);
  }
  for (const json& token : tokenizer_json["added_tokens"]) {
    const bool unknown = token["content"] == model.value("unk_token", json());
    put(token["content"], token["id"],
        unknown            ? GgufTokenType::kUnknown
        : token["special"] ? GgufTokenType::kControl
                           : GgufTokenType::kUserDefined);
  }
  for (const json& merge : model["merges"]) vocabulary.merges.push_back(merge);
  if (byte_fallback) ReplaceMergesByScores(vocabulary);
  return vocabulary;
}

GgufVocabulary ReadGgufVocabulary(const std::string& path) {
  GgufVocabulary vocabulary;
  GgufFile file(path);
  file.Read<uint64_t>();  // magic and version
  file.Read<uint64_t>();  // number of tensors
  const std::map<std::string, std::function<void()>> readers = {
      {"model", [&] { vocabulary.model = file.ReadString(); }},
      {"pre", [&] { vocabulary.pre = file.ReadString(); }},
      {"tokens", [&] { vocabulary.tokens = file.ReadArray<std::string>([&] { return file.ReadString(); }); }},
      {"merges", [&] { vocabulary.merges = file.ReadArray<std::string>([&] { return file.ReadString(); }); }},
      {"scores", [&] { vocabulary.scores = file.ReadArray<float>([&] { return file.Read<float>(); }); }},
      {"token_type",
       [&] { vocabulary.types = file.ReadArray<int32_t>([&] { return file.Read<int32_t>(); }); }},
      {"bos_token_id", [&] { vocabulary.bos_id = file.Read<int32_t>(); }},
      {"eos_token_id", [&] { vocabulary.eos_id = file.Read<int32_t>(); }},
      {"unknown_token_id", [&] { vocabulary.unknown_id = file.Read<int32_t>(); }},
      {"add_bos_token", [&] { vocabulary.add_bos = file.Read<uint8_t>() != 0; }},
      {"add_space_prefix", [&] { vocabulary.add_space_prefix = file.Read<uint8_t>() != 0; }}};
  for (auto left = file.Read<uint64_t>(); left > 0; --left) {
    const std::string key = file.ReadString();
    const auto type = file.Read<uint32_t>();
    constexpr std::string_view kPrefix = "tokenizer.ggml.";
    const auto reader = key.starts_with(kPrefix) ? readers.find(key.substr(kPrefix.size())) : readers.end();
    if (reader == readers.end()) {
      file.Skip(type);
    } else {
      reader->second();
    }
  }
  return vocabulary;
}

}  // namespace memgate
