// Hugging Face folders as GGUF files, for tests that expect the same of both.
#ifndef MEMGATE_TESTS_SUPPORT_GGUF_MODEL_H_
#define MEMGATE_TESTS_SUPPORT_GGUF_MODEL_H_

#include <string>

#include "engine/checkpoint/dtype.h"
#include "tests/support/gguf_writer.h"

namespace memgate {

// The model in `folder` (F32, byte-level BPE), with its tokenizer and chat template, as a converter would
// write it: queries and keys of llama models in pairs of rows, Llama 3's RoPE as divisors, matrices of type
// `matrices` (ggml_encoder.h) and everything else F32. Aborts the test program if the folder does not load.
GgufWriter GgufOfFolder(const std::string& folder, DType matrices = DType::kF32);

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_GGUF_MODEL_H_
