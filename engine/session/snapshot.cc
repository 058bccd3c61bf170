#include "engine/session/snapshot.h"

#include <openssl/sha.h>

#include <bit>
#include <cstring>

#include "engine/base/strings.h"

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "snapshots are little-endian images");

constexpr std::string_view kMagic = "MGSESS\r\n";
constexpr uint32_t kVersion = 4;
constexpr uint32_t kOldestVersion = 3;  // says nothing about the model's settings
constexpr size_t kChecksumBytes = SHA256_DIGEST_LENGTH;
constexpr uint32_t kMaxStringBytes = 256;
constexpr int64_t kMaxLength = int64_t{1} << 40;  // tokens, and turns

template <typename T>
void PutNumber(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(std::string_view text, std::string& out) {
  PutNumber<uint32_t>(static_cast<uint32_t>(text.size()), out);
  out.append(text);
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Number(T& out) {
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&out, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }

  bool String(std::string& out) {
    uint32_t size = 0;
    if (!Number(size) || size > kMaxStringBytes || size > rest_.size()) return false;
    out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

std::string Checksum(std::string_view bytes) {
  std::string digest(kChecksumBytes, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

}  // namespace

std::string EncodeSnapshot(const SnapshotHeader& header, const SessionState& state) {
  std::string out(kMagic);
  PutNumber(kVersion, out);
  PutString(header.model_fingerprint, out);
  PutString(header.model_settings, out);
  PutString(header.memory_kind, out);
  PutString(header.memory_fingerprint, out);
  PutString(KvFormatName(header.kv_format), out);
  for (int32_t value :
       {header.shape.sinks, header.shape.window, header.shape.segment, header.shape.salient}) {
    PutNumber(value, out);
  }
  PutNumber(header.length, out);
  PutNumber(header.pending_token, out);
  PutNumber(header.turns, out);
  out.reserve(out.size() + SessionState::LiveBytes(state.context(), state.shape(), state.length()) +
              kChecksumBytes);
  state.AppendLive(out);
  return out.append(Checksum(out));
}

absl::StatusOr<SnapshotView> ParseSnapshot(std::string_view bytes) {
  if (!bytes.starts_with(kMagic)) return absl::InvalidArgumentError("not a session snapshot: wrong magic");
  if (bytes.size() < kMagic.size() + sizeof(kVersion) + kChecksumBytes) {
    return absl::InvalidArgumentError("session snapshot cut short");
  }
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  Reader reader(body.substr(kMagic.size()));
  uint32_t version = 0;
  reader.Number(version);
  if (version < kOldestVersion || version > kVersion) {
    return absl::InvalidArgumentError(Concat("session snapshot of version ", version,
                                             "; this build reads versions ", kOldestVersion, " and ",
                                             kVersion));
  }
  if (Checksum(body) != bytes.substr(body.size())) {
    return absl::InvalidArgumentError("session snapshot damaged or cut short: its checksum does not match");
  }
  SnapshotView view;
  SnapshotHeader& header = view.header;
  std::string kv_format;
  if (!reader.String(header.model_fingerprint) ||
      (version > kOldestVersion && !reader.String(header.model_settings)) ||
      !reader.String(header.memory_kind) || !reader.String(header.memory_fingerprint) ||
      !reader.String(kv_format) || !reader.Number(header.shape.sinks) ||
      !reader.Number(header.shape.window) || !reader.Number(header.shape.segment) ||
      !reader.Number(header.shape.salient) || !reader.Number(header.length) ||
      !reader.Number(header.pending_token) || !reader.Number(header.turns)) {
    return absl::InvalidArgumentError("session snapshot header malformed");
  }
  const auto format = ParseKvFormat(kv_format);
  if (!format.ok()) return format.status();
  header.kv_format = *format;
  if (auto s = header.shape.Validate(); !s.ok()) return s;
  if (header.length < 0 || header.length > kMaxLength) {
    return absl::InvalidArgumentError(Concat("session snapshot with impossible length ", header.length));
  }
  if (header.pending_token < kNoToken || header.turns < 0 || header.turns > kMaxLength) {
    return absl::InvalidArgumentError("session snapshot with an impossible token or turn count");
  }
  view.live = reader.rest();
  return view;
}

}  // namespace memgate
