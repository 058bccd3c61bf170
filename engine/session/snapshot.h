// A session as bytes, to move it or to keep it (docs/formats.md).
#ifndef MEMGATE_ENGINE_SESSION_SNAPSHOT_H_
#define MEMGATE_ENGINE_SESSION_SNAPSHOT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/kernels/kv_rows.h"
#include "engine/session/chat_tail.h"
#include "engine/session/session_state.h"
#include "engine/session/shape.h"

namespace memgate {

inline constexpr int32_t kNoToken = -1;

// Everything of a snapshot but the live state.
struct SnapshotHeader {
  std::string model_fingerprint;
  std::string model_settings;  // ConfigFingerprint; empty in snapshots of version 3
  std::string memory_kind;
  std::string memory_fingerprint;  // of the trained module, empty if the kind has none
  KvFormat kv_format = KvFormat::kF32;
  SessionShape shape;
  int64_t length = 0;  // tokens taken in
  int32_t pending_token = kNoToken;
  int64_t turns = 0;
  // Up to version 4, snapshots say nothing of a chat: where an answer was finished, there may have been one.
  ChatTail chat;
};

struct SnapshotView {
  SnapshotHeader header;
  std::string_view live;  // borrows from the parsed bytes
};

std::string EncodeSnapshot(const SnapshotHeader& header, const SessionState& state);

// Checks magic, version, checksum and every field's range. Pure: this is what the fuzzer drives.
// INVALID_ARGUMENT says what is wrong.
absl::StatusOr<SnapshotView> ParseSnapshot(std::string_view bytes);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SESSION_SNAPSHOT_H_
