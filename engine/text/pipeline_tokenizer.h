// The Tokenizer that runs a text through added tokens, normaliser, pre-tokeniser and model; see tokenizer.h
// for the contract.
#ifndef MEMGATE_ENGINE_TEXT_PIPELINE_TOKENIZER_H_
#define MEMGATE_ENGINE_TEXT_PIPELINE_TOKENIZER_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/added_tokens.h"
#include "engine/text/text_normalizer.h"
#include "engine/text/text_splitter.h"
#include "engine/text/token_model.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_spec.h"

namespace memgate {

class PipelineTokenizer : public Tokenizer {
 public:
  // Errors as of TokenModel::Create, TextNormalizer::Compile and TextSplitter::Compile; the caller adds which
  // file it is.
  static absl::StatusOr<std::unique_ptr<PipelineTokenizer>> Create(TokenizerSpec spec);

  absl::StatusOr<std::vector<TokenId>> Encode(std::string_view text, TextPosition position,
                                              SpecialTokens special) const override;
  std::string_view TokenBytes(TokenId id) const override { return bytes_.At(id); }
  std::string_view Piece(TokenId id) const override { return pieces_.At(id); }
  bool StripsLeadingSpace() const override { return spec_.strips_leading_space; }
  bool ReachesAcrossSpaces() const override;
  int vocab_size() const override { return vocab_size_; }
  bool IsSpecial(TokenId id) const override { return spec_.special.contains(id); }
  std::optional<TokenId> bos_id() const override { return spec_.bos_id; }
  std::optional<TokenId> eos_id() const override { return spec_.eos_id; }
  const std::vector<TokenId>& end_ids() const override { return spec_.end_ids; }
  const std::map<std::string, std::string>& chat_templates() const override { return spec_.chat_templates; }

 private:
  // Strings by token id, in one allocation.
  class StringTable {
   public:
    explicit StringTable(const std::vector<std::string>& strings);
    StringTable() = default;
    std::string_view At(TokenId id) const {
      if (id < 0 || static_cast<size_t>(id) + 1 >= offsets_.size()) return {};
      return std::string_view(data_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
    }

   private:
    std::string data_;
    std::vector<size_t> offsets_;  // [number of strings + 1]
  };

  // `continues`: the text goes on from earlier tokens, so nothing is put before it.
  // `starts_text`: it is the start of the text given to Encode.
  struct Place {
    bool continues = false;
    bool starts_text = false;
  };
  // The pieces of a text on its way through the pre-tokeniser, and the strings that rewritten ones point
  // into.
  struct Pieces;

  explicit PipelineTokenizer(TokenizerSpec spec) : spec_(std::move(spec)) {}
  absl::Status CompilePreTokenizer();
  absl::StatusOr<std::string> PatternOf(const AddedToken& token, MatchWork& work) const;
  absl::Status BuildMatchers();
  void BuildTables();
  std::string BytesOf(std::string_view piece) const;
  absl::Status EncodeAsWritten(std::string_view text, Place place, SpecialTokens special, MatchWork& work,
                               std::vector<TokenId>& ids) const;
  absl::Status EncodeNormalized(std::string_view text, Place place, MatchWork& work,
                                std::vector<TokenId>& ids) const;
  absl::Status EncodeWords(std::string_view text, std::vector<TokenId>& ids) const;

  TokenizerSpec spec_;  // without what the members below are made of, once they are
  std::unique_ptr<TokenModel> model_;
  TextNormalizer normalizer_;
  std::vector<std::variant<TextSplitter, MetaspaceRule, PrefixSpaceRule>> pre_tokenizer_;
  AddedTokenMatcher as_written_;
  AddedTokenMatcher in_normalized_;
  StringTable bytes_;
  StringTable pieces_;
  int vocab_size_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_PIPELINE_TOKENIZER_H_
