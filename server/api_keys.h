// API keys: which tenant a bearer key belongs to.
#ifndef MEMGATE_SERVER_API_KEYS_H_
#define MEMGATE_SERVER_API_KEYS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace memgate {

// Immutable. Only SHA-256 digests are kept, never keys.
class ApiKeys {
 public:
  // One key per line: `tenant sha256:<64 hex digits>` or `tenant <key>`; empty lines and lines that begin
  // with # are skipped. A tenant may have several keys; a key may appear once. INVALID_ARGUMENT names the
  // line but never shows a key.
  static absl::StatusOr<ApiKeys> Parse(absl::string_view text);
  // Parse on a file. NOT_FOUND or PERMISSION_DENIED name the file.
  static absl::StatusOr<ApiKeys> Load(const std::string& file);

  // The tenant of `key`, or nothing. Takes the same time whichever entry matches, or none.
  std::optional<std::string> TenantOf(absl::string_view key) const;

  size_t size() const { return entries_.size(); }

 private:
  using Digest = std::array<uint8_t, 32>;
  struct Entry {
    std::string tenant;
    Digest digest;
  };
  static Digest Hash(absl::string_view key);

  std::vector<Entry> entries_;
};

// A warning if others than the owner and its group may read `file`, else empty.
std::string KeyFileWarning(const std::string& file);

}  // namespace memgate

#endif  // MEMGATE_SERVER_API_KEYS_H_
