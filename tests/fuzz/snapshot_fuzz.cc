// Any bytes as a session snapshot, with and without a right checksum: what the parser accepts, a session
// either restores exactly or refuses.
#include <openssl/sha.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory/infini.h"
#include "engine/memory/memgate.h"
#include "engine/session/snapshot.h"
#include "tests/fuzz/tiny_session.h"

namespace memgate {
namespace {

void Restore(const SnapshotView& snapshot) {
  const ModelConfig& config = TinyConfig();
  static const auto window = MakeWindowKind();
  static const auto memgate = MakeMemgateKind(config, {std::vector<float>(4), std::vector<float>(1)});
  static const auto infini = MakeInfiniKind(config, InfiniRule::kLinear, std::nullopt);
  const MemoryKind& kind = snapshot.header.memory_kind == "memgate"  ? *memgate
                           : snapshot.header.memory_kind == "infini" ? *infini
                                                                     : *window;
  if (snapshot.header.shape.salient > 0 && !kind.HasRetention()) return;
  const SessionContext context = TinyContext(kind, snapshot.header.kv_format);
  if (SessionState::Bytes(context, snapshot.header.shape).total() > (1 << 20)) return;
  SessionState session(context, snapshot.header.shape, std::pmr::new_delete_resource());
  if (!session.RestoreLive(snapshot.header.length, snapshot.live).ok()) return;
  std::string again;
  session.AppendLive(again);
  if (again != snapshot.live) std::abort();
  session.Prepare(1);  // folds what hostile state asks to be folded
}

void Parse(std::string_view bytes) {
  const auto snapshot = ParseSnapshot(bytes);
  if (snapshot.ok()) Restore(*snapshot);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  memgate::Parse(bytes);
  // The checksum keeps mutations out of the parser; the second try gives the same bytes a right one.
  constexpr size_t kChecksumBytes = SHA256_DIGEST_LENGTH;
  bytes.resize(bytes.size() - std::min(bytes.size(), kChecksumBytes));
  unsigned char digest[kChecksumBytes];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  bytes.append(reinterpret_cast<const char*>(digest), kChecksumBytes);
  memgate::Parse(bytes);
  return 0;
}
