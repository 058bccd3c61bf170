#include "engine/session/snapshot.h"

#include <openssl/sha.h>

#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/base/strings.h"

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "snapshots are little-endian images");

constexpr std::string_view kMagic = "MGSESS\r\n";
constexpr uint32_t kVersion = 5;
constexpr uint32_t kOldestVersion = 3;
constexpr uint32_t kSettingsVersion = 4;  // the first that names the model's settings
constexpr uint32_t kChatVersion = 5;      // the first that knows of chats
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

  bool String(std::string& out, uint32_t most = kMaxStringBytes) {
    uint32_t size = 0;
    if (!Number(size) || size > most || size > rest_.size()) return false;
    out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  bool Tokens(std::vector<int32_t>& out, size_t most) {
    uint32_t count = 0;
    if (!Number(count) || count > most || count > rest_.size() / sizeof(int32_t)) return false;
    out.resize(count);
    if (count > 0) std::memcpy(out.data(), rest_.data(), count * sizeof(int32_t));
    rest_.remove_prefix(count * sizeof(int32_t));
    return true;
  }

  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// Flags of a chat.
constexpr uint8_t kEnded = 1;
constexpr uint8_t kFadesBeforeUser = 2;
constexpr uint8_t kFadesBeforeTool = 4;
constexpr uint8_t kHasSystem = 8;
constexpr uint8_t kAllFlags = 15;

void PutChat(const ChatTail& chat, std::string& out) {
  PutNumber(static_cast<uint8_t>(chat.state), out);
  PutNumber(static_cast<uint8_t>(chat.match), out);
  PutNumber(
      static_cast<uint8_t>((chat.ended ? kEnded : 0) | (chat.fades_before_user ? kFadesBeforeUser : 0) |
                           (chat.fades_before_tool ? kFadesBeforeTool : 0) | (chat.system ? kHasSystem : 0)),
      out);
  out.append(reinterpret_cast<const char*>(chat.prompt_digest.data()), chat.prompt_digest.size());
  PutString(chat.system.value_or(""), out);
  PutNumber(static_cast<uint32_t>(chat.answer.size()), out);
  for (const int32_t id : chat.answer) PutNumber(id, out);
}

bool ReadChat(Reader& reader, ChatTail& chat) {
  uint8_t state = 0, match = 0, flags = 0;
  std::string system;
  if (!reader.Number(state) || !reader.Number(match) || !reader.Number(flags) ||
      !reader.Number(chat.prompt_digest) ||
      !reader.String(system, static_cast<uint32_t>(ChatTail::kMaxBytes)) ||
      !reader.Tokens(chat.answer, ChatTail::kMaxBytes / sizeof(int32_t))) {
    return false;
  }
  const bool has_system = (flags & kHasSystem) != 0;
  if (state > static_cast<uint8_t>(ChatTail::State::kAnswer) ||
      match > static_cast<uint8_t>(ChatMatch::kChanged) || flags > kAllFlags ||
      (!has_system && !system.empty())) {
    return false;
  }
  chat.state = static_cast<ChatTail::State>(state);
  chat.match = static_cast<ChatMatch>(match);
  chat.ended = (flags & kEnded) != 0;
  chat.fades_before_user = (flags & kFadesBeforeUser) != 0;
  chat.fades_before_tool = (flags & kFadesBeforeTool) != 0;
  if (has_system) chat.system = std::move(system);
  return chat.HeldBytes() <= ChatTail::kMaxBytes && (chat.follows_answer() || !chat.ended) &&
         (chat.state == ChatTail::State::kAnswer || chat.answer.empty());
}

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
  PutChat(header.chat, out);
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
                                             "; this build reads versions ", kOldestVersion, " to ",
                                             kVersion));
  }
  if (Checksum(body) != bytes.substr(body.size())) {
    return absl::InvalidArgumentError("session snapshot damaged or cut short: its checksum does not match");
  }
  SnapshotView view;
  SnapshotHeader& header = view.header;
  std::string kv_format;
  if (!reader.String(header.model_fingerprint) ||
      (version >= kSettingsVersion && !reader.String(header.model_settings)) ||
      !reader.String(header.memory_kind) || !reader.String(header.memory_fingerprint) ||
      !reader.String(kv_format) || !reader.Number(header.shape.sinks) ||
      !reader.Number(header.shape.window) || !reader.Number(header.shape.segment) ||
      !reader.Number(header.shape.salient) || !reader.Number(header.length) ||
      !reader.Number(header.pending_token) || !reader.Number(header.turns) ||
      (version >= kChatVersion && !ReadChat(reader, header.chat))) {
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
  if (header.chat.ended && header.pending_token == kNoToken) {
    return absl::InvalidArgumentError("session snapshot with an answer that no token ended");
  }
  if (version < kChatVersion && header.turns > 0) {
    header.chat.state = ChatTail::State::kOther;
    header.chat.match = ChatMatch::kUnknown;
  }
  view.live = reader.rest();
  return view;
}

}  // namespace memgate
