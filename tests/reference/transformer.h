// A decoder-only transformer in plain loops: one token list, no cache, double precision.
#ifndef MEMGATE_TESTS_REFERENCE_TRANSFORMER_H_
#define MEMGATE_TESTS_REFERENCE_TRANSFORMER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/tensor.h"
#include "tests/reference/gated_rule.h"
#include "tests/reference/operators.h"

namespace memgate::reference {

class Transformer {
 public:
  // Copies every tensor. Aborts if one is missing: the oracle is only given models that load.
  Transformer(const ModelConfig& config, const TensorSource& tensors);

  // Logits at every position, [T, V].
  Rows Logits(absl::Span<const int32_t> tokens, const GatedRule& rule = {}) const;

  const ModelConfig& config() const { return config_; }

 private:
  const Vector& Tensor(const std::string& name) const;
  struct RowsOf {
    int begin, count;
  };
  Vector Project(const std::string& name, const Vector& x) const;
  Vector Part(const std::string& layer, const std::string& fused, const std::string& own, RowsOf rows,
              const Vector& x) const;
  Vector Norm(const std::string& name, const Vector& x) const;
  Vector Head(const Vector& projected, int head, const std::string& norm) const;
  Rows AttentionOutput(int layer, const Rows& inputs, const GatedRule& rule) const;

  const ModelConfig config_;
  std::map<std::string, Vector> tensors_;
};

}  // namespace memgate::reference

#endif  // MEMGATE_TESTS_REFERENCE_TRANSFORMER_H_
