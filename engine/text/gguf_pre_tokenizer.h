// The pre-tokenisers that GGUF files name in tokenizer.ggml.pre.
#ifndef MEMGATE_ENGINE_TEXT_GGUF_PRE_TOKENIZER_H_
#define MEMGATE_ENGINE_TEXT_GGUF_PRE_TOKENIZER_H_

#include <string_view>
#include <vector>

namespace memgate {

// What the name stands for. The file says nothing else about it: patterns and flags are those of the
// tokenizer.json that models of this family are published with.
struct GgufPreTokenizer {
  std::vector<std::string_view> patterns;  // applied one after the other; each match is a piece of its own
  bool composes = false;                   // NFC before splitting
  bool ignore_merges = false;              // see ModelSpec
  bool add_bos = false;                    // unless the file says tokenizer.ggml.add_bos_token
};

// Null for an unknown name; an empty one means "default".
const GgufPreTokenizer* FindGgufPreTokenizer(std::string_view name);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_GGUF_PRE_TOKENIZER_H_
