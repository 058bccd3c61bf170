// Text <-> token ids, as the files of a model say.
#ifndef MEMGATE_ENGINE_TEXT_TOKENIZER_H_
#define MEMGATE_ENGINE_TEXT_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace memgate {

struct GgufVocabulary;  // engine/text/gguf_vocabulary.h

using TokenId = int32_t;

// Where a text stands: at the start of a conversation (a tokenizer may add a begin token and, for
// SentencePiece-style models, a space); there, but with the begin token that it has, if it is to have one, as
// a rendered chat does (only the space may be added); or after earlier tokens (nothing is added).
enum class TextPosition { kStart, kStartAsWritten, kContinuation };

// Whether text such as "<|endoftext|>" becomes the special token or stays plain text.
enum class SpecialTokens { kParse, kPlainText };

// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Reads `folder`/tokenizer.json or, where there is none, SentencePiece's tokenizer.model; and, if present,
  // tokenizer_config.json and chat templates. NOT_FOUND if there is neither file. Supports BPE (of
  // bytes, and of characters with byte fallback) and Unigram models; UNIMPLEMENTED names any other model,
  // normaliser or pre-tokeniser; INVALID_ARGUMENT names what is malformed.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromFolder(const std::string& folder);
  // The same from the contents of tokenizer.json; `config_json` may be empty. Pure, as are the next two.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json,
                                                             std::string_view config_json);
  // The same from the contents of tokenizer.model.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromSentencePiece(std::string_view tokenizer_model,
                                                                      std::string_view config_json);

  // From the metadata of a GGUF file: models "llama" (BPE of characters), "gpt2" (BPE of bytes) and "t5"
  // (Unigram). UNIMPLEMENTED names any other model or pre-tokeniser; INVALID_ARGUMENT names what is
  // malformed.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const GgufVocabulary& vocabulary);

  // INVALID_ARGUMENT if `text` is not valid UTF-8 (with the byte offset).
  virtual absl::StatusOr<std::vector<TokenId>> Encode(
      std::string_view text, TextPosition position, SpecialTokens special = SpecialTokens::kParse) const = 0;

  // The bytes that `id` adds to a text when it follows other tokens; empty for special tokens and ids out of
  // range. The concatenation may be invalid UTF-8 in between: stream it through a Detokenizer.
  virtual std::string_view TokenBytes(TokenId id) const = 0;
  // The piece as the vocabulary spells it, for display ("" if out of range).
  virtual std::string_view Piece(TokenId id) const = 0;
  // Whether a decoder drops the first space of a text (SentencePiece's dummy prefix).
  virtual bool StripsLeadingSpace() const = 0;

  // Whether how a word is cut may depend on words far before it: where pieces reach across spaces and nothing
  // splits texts before.
  virtual bool ReachesAcrossSpaces() const { return false; }

  virtual int vocab_size() const = 0;
  virtual bool IsSpecial(TokenId id) const = 0;
  virtual std::optional<TokenId> bos_id() const = 0;
  virtual std::optional<TokenId> eos_id() const = 0;
  // What may end an answer: eos_id, and the tokens that end a turn because the file or their name says so.
  virtual const std::vector<TokenId>& end_ids() const = 0;
  // The chat templates of the files by name, "default" being that of a model with only one (see
  // chat_templates.h): those of tokenizer_config.json, or instead of them `folder`/chat_template.jinja; and
  // `folder`/additional_chat_templates/NAME.jinja, whose text stays empty where nothing uses it. Or those of
  // the GGUF file.
  virtual const std::map<std::string, std::string>& chat_templates() const = 0;
};

// Whole text of `ids`; invalid UTF-8 becomes U+FFFD.
std::string Decode(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, TextPosition position);

// Turns a stream of token ids into a stream of whole UTF-8 characters. One per answer; not thread-safe.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, TextPosition position);
  // The characters completed by `id`. Bytes that can never become valid turn into U+FFFD.
  std::string Push(TokenId id);
  // What is left at the end: an incomplete character becomes U+FFFD.
  std::string Flush();

 private:
  const Tokenizer& tokenizer_;
  bool strip_space_;
  std::string pending_;  // an incomplete UTF-8 character, at most 3 bytes
};

// Cuts a stream of text into token ids that equal those of the whole text, however it is chunked. Text is
// held back until about 2 KiB are there and a line break in them is a place where a cut changes no ids; at
// most 64 KiB are held. A longer line is cut at a space, and only a stretch of 64 KiB without either (no line
// break, no space, or nothing else) is cut anywhere, where its ids may differ from those of the whole text;
// so is one whose places cost more to judge than 32 times what encoding it costs. Not thread-safe.
class StreamingTokenizer {
 public:
  // `tokenizer` must outlive this object. Errors count bytes from `first_byte`, for a text that is the rest
  // of a longer one.
  StreamingTokenizer(const Tokenizer& tokenizer, TextPosition position,
                     SpecialTokens special = SpecialTokens::kParse, size_t first_byte = 0);
  // Appends to `ids` what can be told for sure. `chunk` may end anywhere, even inside a UTF-8 character.
  // INVALID_ARGUMENT on invalid UTF-8 (offset in the stream), with the ids of all text before it in `ids`;
  // the stream is then unusable and keeps returning that error.
  absl::Status Push(std::string_view chunk, std::vector<TokenId>& ids);
  // Appends the rest; errors as of Push. Call it once, last.
  absl::Status Finish(std::vector<TokenId>& ids);

 private:
  absl::Status Append(std::string_view slice);
  void EncodeValidText(std::vector<TokenId>& ids);
  absl::Status Encode(size_t bytes, std::vector<TokenId>& ids);
  absl::StatusOr<size_t> FindCut();
  absl::StatusOr<size_t> FindCutAtLineBreak(size_t limit);
  absl::StatusOr<size_t> FindCutAtSpace(size_t limit);
  absl::StatusOr<bool> IsSafeCut(size_t offset);
  absl::StatusOr<bool> IsSafeCut(size_t begin, size_t offset);
  absl::StatusOr<bool> HasBegun(size_t bytes);
  absl::StatusOr<size_t> SafeCutInSpaces(size_t offset);
  absl::StatusOr<std::vector<TokenId>> EncodeToJudge(size_t begin, size_t end);

  const Tokenizer& tokenizer_;
  const SpecialTokens special_;
  TextPosition position_;
  std::string pending_;
  size_t checked_bytes_ = 0;         // of pending_: known to be whole, valid characters
  size_t searched_bytes_ = 0;        // of pending_: hold no line break where it could be cut
  size_t consumed_bytes_;            // of the stream: before pending_
  const size_t kept_judging_bytes_;  // of judging_bytes_, for a long line
  size_t judging_bytes_;             // may be encoded to judge cuts
  absl::Status status_;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_TOKENIZER_H_
