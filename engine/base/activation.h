// What a gated feed-forward layer applies to its gate.
#ifndef MEMGATE_ENGINE_BASE_ACTIVATION_H_
#define MEMGATE_ENGINE_BASE_ACTIVATION_H_

namespace memgate {

enum class Activation {
  kSilu,      // x / (1 + e^-x) (SwiGLU, arXiv 2002.05202)
  kGeluTanh,  // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (arXiv 1606.08415)
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_BASE_ACTIVATION_H_
