#include "engine/text/token_table.h"

#include <algorithm>
#include <cstdint>

namespace memgate {
namespace {

constexpr int64_t kMaxIdGap = 65536;

}  // namespace

absl::Status TokenTable::Add(std::string_view piece, TokenId id) {
  const auto [by_id, new_id] = names_.try_emplace(id, piece);
  if (!new_id && by_id->second != piece) {
    return absl::InvalidArgumentError(
        Concat("id ", id, " belongs to both ", Quoted(by_id->second), " and ", Quoted(piece)));
  }
  const auto [by_name, new_name] = ids_.try_emplace(piece, id);
  if (!new_name && by_name->second != id) {
    return absl::InvalidArgumentError(Concat(Quoted(piece), " has two ids, ", by_name->second, " and ", id));
  }
  largest_ = std::max(largest_, id);
  return absl::OkStatus();
}

absl::Status TokenTable::CheckDensity() const {
  if (ids_.empty()) return absl::InvalidArgumentError("the vocabulary is empty");
  if (largest_ >= static_cast<int64_t>(ids_.size()) + kMaxIdGap) {
    return absl::InvalidArgumentError(Concat("id ", largest_, " is too large for ", ids_.size(), " pieces"));
  }
  return absl::OkStatus();
}

std::optional<TokenId> TokenTable::Find(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace memgate
