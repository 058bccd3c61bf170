// The SentencePiece library itself, to compare with. Without its headers, which do not go together with
// Abseil's.
#ifndef MEMGATE_TESTS_TEXT_SENTENCEPIECE_REFERENCE_H_
#define MEMGATE_TESTS_TEXT_SENTENCEPIECE_REFERENCE_H_

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace memgate {

// The contents of a tokenizer.model trained on `sentences`; empty, with a message on stderr, if that failed.
// `options` are those of spm_train, e.g. {"model_type", "bpe"}.
std::string TrainSentencePiece(const std::unordered_map<std::string, std::string>& options,
                               const std::vector<std::string>& sentences);

class SentencePieceReference {
 public:
  // `model` as TrainSentencePiece or a model folder has it.
  explicit SentencePieceReference(const std::string& model);
  ~SentencePieceReference();

  bool ok() const;
  std::vector<int> Encode(const std::string& text) const;
  std::string Decode(const std::vector<int>& ids) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_TEXT_SENTENCEPIECE_REFERENCE_H_
