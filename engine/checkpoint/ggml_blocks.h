// The block-quantised types of GGUF files, decoded block by block.
#ifndef MEMGATE_ENGINE_CHECKPOINT_GGML_BLOCKS_H_
#define MEMGATE_ENGINE_CHECKPOINT_GGML_BLOCKS_H_

#include <cstdint>

namespace memgate {

// The format of the scales inside the blocks. Every half is exact in f32.
float HalfToFloat(uint16_t half);

// Each block type: how many elements it holds, in how many bytes, and their values. Bytes need not be
// aligned. The arithmetic is exact but for one rounding (see DecodeElements): a scale has 11 significant
// bits, its multiplier and an element at most 13 together, and 24 fit into a float.
struct BlockQ8_0 {
  static constexpr int kElements = 32, kBytes = 34;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ4_0 {
  static constexpr int kElements = 32, kBytes = 18;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ4_1 {
  static constexpr int kElements = 32, kBytes = 20;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ5_0 {
  static constexpr int kElements = 32, kBytes = 22;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ5_1 {
  static constexpr int kElements = 32, kBytes = 24;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ2_K {
  static constexpr int kElements = 256, kBytes = 84;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ3_K {
  static constexpr int kElements = 256, kBytes = 110;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ4_K {
  static constexpr int kElements = 256, kBytes = 144;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ5_K {
  static constexpr int kElements = 256, kBytes = 176;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockQ6_K {
  static constexpr int kElements = 256, kBytes = 210;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockIQ4_NL {
  static constexpr int kElements = 32, kBytes = 18;
  static void Decode(const uint8_t* block, float* out);
};
struct BlockIQ4_XS {
  static constexpr int kElements = 256, kBytes = 136;
  static void Decode(const uint8_t* block, float* out);
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_CHECKPOINT_GGML_BLOCKS_H_
