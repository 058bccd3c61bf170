#include "tests/text/sentencepiece_reference.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <cstdio>

namespace memgate {
namespace {

class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& sentences) : sentences_(sentences) {}
  bool done() const override { return at_ == sentences_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return sentences_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& sentences_;
  size_t at_ = 0;
};

}  // namespace

std::string TrainSentencePiece(const std::unordered_map<std::string, std::string>& options,
                               const std::vector<std::string>& sentences) {
  Sentences iterator(sentences);
  std::string model;
  const sentencepiece::util::Status status =
      sentencepiece::SentencePieceTrainer::Train(options, &iterator, &model);
  if (status.ok()) return model;
  std::fprintf(stderr, "SentencePiece: %s\n", status.ToString().c_str());
  return {};
}

struct SentencePieceReference::Library {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceReference::SentencePieceReference(const std::string& model)
    : library_(std::make_unique<Library>()) {
  library_->processor.LoadFromSerializedProto(model).IgnoreError();
}
SentencePieceReference::~SentencePieceReference() = default;

bool SentencePieceReference::ok() const { return library_->processor.status().ok(); }

std::vector<int> SentencePieceReference::Encode(const std::string& text) const {
  return library_->processor.EncodeAsIds(text);
}

std::string SentencePieceReference::Decode(const std::vector<int>& ids) const {
  return library_->processor.DecodeIds(ids);
}

}  // namespace memgate
