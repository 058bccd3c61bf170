// A loadable model folder with random weights, small enough to run in a test.
#ifndef MEMGATE_TESTS_SUPPORT_TINY_MODEL_H_
#define MEMGATE_TESTS_SUPPORT_TINY_MODEL_H_

#include <cstdint>
#include <string>

namespace memgate {

enum class TinyArchitecture { kLlama, kMistral, kQwen2, kQwen3, kPhi3, kSmolLm3, kGemma2, kGemma3 };
inline constexpr TinyArchitecture kTinyArchitectures[] = {
    TinyArchitecture::kLlama,  TinyArchitecture::kMistral, TinyArchitecture::kQwen2,
    TinyArchitecture::kQwen3,  TinyArchitecture::kPhi3,    TinyArchitecture::kSmolLm3,
    TinyArchitecture::kGemma2, TinyArchitecture::kGemma3};

// As test names spell it: "llama", "gemma2".
std::string TinyArchitectureName(TinyArchitecture architecture);

enum class TinyMemory { kNone, kMemgate, kInfini, kInfiniDelta };

// Token ids of the tiny tokenizer: 0..255 are the bytes themselves, then the special tokens.
inline constexpr int32_t kTinyEndOfText = 256;  // "<|endoftext|>", the tokenizer's eos
inline constexpr int32_t kTinySystem = 257;     // "<|system|>"
inline constexpr int32_t kTinyUser = 258;       // "<|user|>"
inline constexpr int32_t kTinyAssistant = 259;  // "<|assistant|>"
inline constexpr int32_t kTinyEndOfTurn = 260;  // "<|end|>"
inline constexpr int kTinyVocabSize = 261;

struct TinyModelOptions {
  // Every second layer of SmolLM3 does not rotate; the first of two of the Gemmas has the sliding window.
  TinyArchitecture architecture = TinyArchitecture::kLlama;
  int layers = 2;     // L
  int hidden = 32;    // C
  int heads = 4;      // H
  int kv_heads = 2;   // G
  int head_dim = 8;   // D
  int ffn = 64;       // F
  bool tied = false;  // the embedding is the output matrix
  bool llama3_rope = false;
  double rotated_part = 1.0;  // of every head; less only of Phi-3
  int64_t max_position = 4096;
  // Of the base model, in tokens; 0 = none, and 9 for the Gemmas, which always have one.
  int64_t sliding_window = 0;
  uint64_t seed = 1;
  // End token of generation_config.json; -1 = none: answers still end at <|endoftext|> and <|end|>.
  int32_t eos_token_id = kTinyEndOfTurn;
  bool chat_template = true;
  int vocab_size = kTinyVocabSize;  // another one wants another tokenizer in the folder

  // memory.json and memory.safetensors with random weights, and the geometry they claim. Unit: tokens.
  TinyMemory memory = TinyMemory::kNone;
  int32_t memory_sinks = 2;
  int32_t memory_window = 16;
  int32_t memory_segment = 8;
  int32_t memory_salient = 6;  // written as 0 for the infini kinds
};

// Writes config.json, generation_config.json, model.safetensors (F32), tokenizer.json (byte-level BPE without
// merges: one token per byte), tokenizer_config.json and, if asked for, the memory module into `folder`,
// which is created if it does not exist. The same options give the same bytes on every machine. Returns
// `folder`. Aborts the test program if the file system refuses.
std::string WriteTinyModel(const std::string& folder, const TinyModelOptions& options = {});

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_TINY_MODEL_H_
