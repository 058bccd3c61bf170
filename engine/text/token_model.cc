#include "engine/text/token_model.h"

#include "engine/text/bpe_model.h"

namespace memgate {

absl::StatusOr<std::unique_ptr<TokenModel>> TokenModel::Create(const ModelSpec& spec) {
  return BpeModel::Create(spec);
}

}  // namespace memgate
