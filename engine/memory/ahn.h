// Artificial Hippocampus Networks (arXiv 2510.07318): the published GatedDeltaNet and DeltaNet modules.
#ifndef MEMGATE_ENGINE_MEMORY_AHN_H_
#define MEMGATE_ENGINE_MEMORY_AHN_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/memory/memory_kind.h"
#include "engine/memory/module_reading.h"

namespace memgate {

enum class AhnRule { kGatedDeltaNet, kDeltaNet };

// Per query head a state S [D, D]. For a token that leaves, x its layer input, k its key rotated by its true
// position and divided by its length:
//   b = sigmoid(b_proj x);  a = exp(-exp(A_log) softplus(a_proj x + dt_bias)), 1 for DeltaNet
//   S <- a S;  S <- S + k (b (v - S^T k))^T
// For a query that asks, x its own layer input, q rotated and divided by its length:
//   o = S^T q / sqrt(D);  m = RMSNorm(o) * swish(g_proj x);  attention_h += r W_h^T m
// q_proj, if there is one, maps q before it is rotated. r = sigmoid(alpha log(n / window) + beta) with a
// router, n the number of tokens absorbed; else 1.
struct AhnWeights {
  AhnRule rule = AhnRule::kGatedDeltaNet;
  std::vector<float> b_proj;        // [L, H, C]
  std::vector<float> a_proj;        // [L, H, C]; this and the next two are empty for DeltaNet
  std::vector<float> a_log;         // [L, H]
  std::vector<float> dt_bias;       // [L, H]
  std::vector<float> g_proj;        // [L, H, C]
  std::vector<float> o_norm;        // [L, D]
  std::vector<float> o_proj;        // [L, H, D, D], y = x W
  std::vector<float> q_proj;        // [L, H, D, D], y = x W; may be empty
  std::vector<float> router_alpha;  // [L, H]; may be empty, then so is the next
  std::vector<float> router_beta;   // [L, H]
  float sliding_window = 0;         // what the router divides by, tokens
};

// Name: "ahn". Sinks stay at their true positions.
std::unique_ptr<MemoryKind> MakeAhnKind(const ModelConfig& config, AhnWeights weights);

// Whether a config.json is that of a published checkpoint: it names an `_ahn_implementation`.
bool IsPublishedAhnConfig(std::string_view config_json);

// Whether a tensor of this name belongs to a published module, not to the base that it may be merged with.
bool IsPublishedAhnTensor(std::string_view name);

// What config.json says of the module; the geometry is the published one: sliding token by token (P = 1), and
// a query sees `num_attn_sinks` sinks and the last `sliding_window` tokens, itself included (W =
// `sliding_window` - P). base_fingerprint is empty: the format has none. INVALID_ARGUMENT names the key;
// UNIMPLEMENTED what is not supported; FAILED_PRECONDITION which dimension does not fit the base.
absl::StatusOr<MemoryModuleConfig> ParsePublishedAhnConfig(std::string_view config_json,
                                                           const ModelConfig& base);

// Tensors model.layers.{i}.ahn.fn.* and model.layers.{i}.ahn_router.* as published.
absl::StatusOr<MemoryKinds> LoadAhn(const ModuleContents& module);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_MEMORY_AHN_H_
