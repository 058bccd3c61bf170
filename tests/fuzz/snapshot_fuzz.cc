// Any bytes as a session snapshot, with and without a right checksum: what the parser accepts, a session
// either refuses or restores exactly, so that the same bytes come out again, and then goes on. A model
// fingerprint "windowed" asks for the model with a window of its own in one layer.
#include <openssl/sha.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "engine/memory/kind_table.h"
#include "engine/memory/memgate.h"
#include "engine/sampling/sampler.h"
#include "engine/session/memory_report.h"
#include "engine/session/snapshot.h"
#include "tests/fuzz/input_parts.h"
#include "tests/fuzz/tiny_model.h"
#include "tests/fuzz/tiny_session.h"

namespace memgate {
namespace {

constexpr int64_t kMaxSessionBytes = 1 << 20;

// A model and the memory kinds that sessions on it can have.
class Runner {
 public:
  explicit Runner(const ModelConfig& config) : model_(config) {
    for (const MemoryKindRow& row : MemoryKindTable()) {
      if (row.untrained != nullptr) kinds_.emplace(row.name, row.untrained(model_.config()));
    }
    const size_t layers = config.num_layers;
    kinds_.emplace("memgate", MakeMemgateKind(model_.config(), {std::vector<float>(layers * 4, 0.5f),
                                                                std::vector<float>(layers)}));
  }

  void Restore(const SnapshotView& snapshot, std::string_view bytes) {
    const auto kind = kinds_.find(snapshot.header.memory_kind);
    if (kind == kinds_.end()) return;
    const SessionShape& shape = snapshot.header.shape;
    if (shape.salient > 0 && !kind->second->HasRetention()) return;
    const SessionContext context{&model_.config(), kind->second.get(), &model_.ropes(),
                                 snapshot.header.kv_format};
    if (SessionState::Bytes(context, shape).total() > kMaxSessionBytes) return;
    SessionState session(context, shape, std::pmr::new_delete_resource());
    if (!session.RestoreLive(snapshot.header.length, snapshot.live).ok()) return;
    std::string again;
    session.AppendLive(again);
    Require(again == snapshot.live);
    constexpr size_t kVersionAt = 8;
    constexpr char kWrittenVersion = 5;  // earlier ones are read only
    if (bytes[kVersionAt] == kWrittenVersion) Require(EncodeSnapshot(snapshot.header, session) == bytes);
    Continue(session);
  }

 private:
  // Every state is numbers, whatever they are: turns go on, and what is said about them stays in bounds.
  void Continue(SessionState& session) {
    constexpr int32_t kTokens[] = {1, 7, 0, 2, 2, 5, 3, 6, 4, 1, 0, 7};
    Sampler sampler({.temperature = 1}, model_.config().vocab_size);
    const int64_t before = session.length();
    absl::Span<const int32_t> tokens = kTokens;
    while (!tokens.empty()) {
      const auto token = sampler.Sample(model_.Step(session, tokens));
      if (token.ok()) Require(token->id >= 0 && token->id < model_.config().vocab_size);
    }
    Require(session.length() == before + static_cast<int64_t>(std::size(kTokens)) && session.settled());
    const MemoryReport report = ReportMemory(session, 1, RetainedPositions::kList);
    const TokenAccounting& held = report.accounting;
    Require(held.total == held.exact + held.salient + held.compressed + held.forgotten);
    for (const LayerReport& layer : report.layers) {
      for (const SalientReport& slots : layer.salient) Require(slots.newest_position < session.length());
    }
  }

  TinyModel model_;
  std::map<std::string, std::unique_ptr<MemoryKind>, std::less<>> kinds_;
};

void Parse(std::string_view bytes) {
  static Runner plain(TinyConfig()), windowed(TinyWindowedConfig());
  const auto snapshot = ParseSnapshot(bytes);
  if (!snapshot.ok()) return;
  (snapshot->header.model_fingerprint == "windowed" ? windowed : plain).Restore(*snapshot, bytes);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(memgate::AsText(data, size));
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
