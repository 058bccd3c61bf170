#include "server/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace memgate {
namespace {

constexpr absl::string_view kHashPrefix = "sha256:";
constexpr size_t kMinKeyBytes = 16;  // shorter ones can be guessed
constexpr size_t kMaxTenantBytes = 63;

bool IsTenantName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxTenantBytes && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

absl::Status LineError(int line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
}

}  // namespace

ApiKeys::Digest ApiKeys::Hash(absl::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

absl::StatusOr<ApiKeys> ApiKeys::Parse(absl::string_view text) {
  ApiKeys keys;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (fields.size() != 2) return LineError(number, "expected \"tenant key\" or \"tenant sha256:<hex>\"");
    if (!IsTenantName(fields[0])) {
      return LineError(number, "a tenant is 1..63 characters of letters, digits, '-', '_' and '.'");
    }
    Entry entry{.tenant = std::string(fields[0])};
    if (absl::StartsWith(fields[1], kHashPrefix)) {
      const absl::string_view hex = fields[1].substr(kHashPrefix.size());
      if (hex.size() != 2 * entry.digest.size() ||
          !std::all_of(hex.begin(), hex.end(), absl::ascii_isxdigit)) {
        return LineError(number, "sha256: needs 64 hexadecimal digits");
      }
      const std::string bytes = absl::HexStringToBytes(hex);
      std::copy(bytes.begin(), bytes.end(), entry.digest.begin());
    } else {
      if (fields[1].size() < kMinKeyBytes) {
        return LineError(number,
                         "the key is shorter than 16 characters; `openssl rand -hex 32` makes a good one");
      }
      entry.digest = Hash(fields[1]);
    }
    for (const Entry& other : keys.entries_) {
      if (other.digest == entry.digest) return LineError(number, "the same key appears on an earlier line");
    }
    keys.entries_.push_back(std::move(entry));
  }
  if (keys.entries_.empty()) return absl::InvalidArgumentError("the file holds no key");
  return keys;
}

absl::StatusOr<ApiKeys> ApiKeys::Load(const std::string& file) {
  std::ifstream in(file);
  if (!in)
    return absl::NotFoundError(absl::StrCat("cannot read API keys from ", file, ": ", std::strerror(errno)));
  std::ostringstream text;
  text << in.rdbuf();
  absl::StatusOr<ApiKeys> keys = Parse(text.str());
  if (!keys.ok()) return absl::InvalidArgumentError(absl::StrCat(file, ": ", keys.status().message()));
  return keys;
}

std::optional<std::string> ApiKeys::TenantOf(absl::string_view key) const {
  const Digest digest = Hash(key);
  const Entry* match = nullptr;
  for (const Entry& entry : entries_) {
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) match = &entry;
  }
  if (match == nullptr) return std::nullopt;
  return match->tenant;
}

std::string KeyFileWarning(const std::string& file) {
  struct stat info;
  if (stat(file.c_str(), &info) != 0 || (info.st_mode & S_IRWXO) == 0) return "";
  return absl::StrCat(file, " can be read by every user of this machine; run chmod o-rwx ", file);
}

}  // namespace memgate
