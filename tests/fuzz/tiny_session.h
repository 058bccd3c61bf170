// The smallest models that sessions of the fuzz targets can have.
#ifndef MEMGATE_TESTS_FUZZ_TINY_SESSION_H_
#define MEMGATE_TESTS_FUZZ_TINY_SESSION_H_

#include "engine/checkpoint/model_config.h"
#include "engine/memory/memory_kind.h"
#include "engine/session/layer_ropes.h"
#include "engine/session/session_state.h"

namespace memgate {

inline const ModelConfig& TinyConfig() {
  static const ModelConfig config = [] {
    ModelConfig tiny;
    tiny.num_layers = 1;
    tiny.hidden_size = 4;
    tiny.num_heads = 2;
    tiny.num_kv_heads = 1;
    tiny.head_dim = 4;
    tiny.intermediate_size = 4;
    tiny.vocab_size = 8;
    return tiny;
  }();
  return config;
}

// Two layers, of which the first sees the last three tokens only.
inline const ModelConfig& TinyWindowedConfig() {
  static const ModelConfig config = [] {
    ModelConfig tiny = TinyConfig();
    tiny.num_layers = 2;
    tiny.layers = {LayerConfig{.window = 3}, LayerConfig{}};
    return tiny;
  }();
  return config;
}

// `kind` must outlive the sessions.
inline SessionContext TinyContext(const MemoryKind& kind, KvFormat kv_format = KvFormat::kF32) {
  static const LayerRopes ropes(TinyConfig());
  return {&TinyConfig(), &kind, &ropes, kv_format};
}

}  // namespace memgate

#endif  // MEMGATE_TESTS_FUZZ_TINY_SESSION_H_
