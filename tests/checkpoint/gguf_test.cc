#include "engine/checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "engine/checkpoint/gguf_metadata.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4_0 = 2;

std::string Zeros(size_t bytes) { return std::string(bytes, '\0'); }

template <typename T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

TEST(ParseGgufTest, FindsMetadataAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    const std::string image = GgufWriter()
                                  .Text("general.architecture", "llama")
                                  .Tensor("a", {2, 3}, kF32, Zeros(24))
                                  .Tensor("b", {4, 32}, kQ4_0, Zeros(72))
                                  .Image(version);
    const auto file = ParseGguf(AsBytes(image));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->version, version);
    EXPECT_EQ(file->metadata.size(), 1u);
    ASSERT_EQ(file->tensors.size(), 2u);
    EXPECT_EQ(file->tensors[0].name, "a");
    EXPECT_EQ(file->tensors[0].dtype, DType::kF32);
    EXPECT_THAT(file->tensors[0].shape, ElementsAre(2, 3));
    EXPECT_EQ(file->tensors[0].bytes, 24u);
    EXPECT_EQ(file->tensors[1].dtype, DType::kQ4_0);
    EXPECT_THAT(file->tensors[1].shape, ElementsAre(4, 32));
    EXPECT_EQ(file->tensors[1].bytes, 4u * 18);
    EXPECT_EQ(file->tensors[1].begin, file->tensors[0].begin + 32);
    EXPECT_EQ(file->tensors[1].begin + file->tensors[1].bytes, image.size());
  }
}

TEST(ParseGgufTest, KeepsToTheAlignmentThatTheFileNames) {
  const std::string image = GgufWriter()
                                .U32("general.alignment", 64)
                                .Alignment(64)
                                .Tensor("a", {1}, kF32, Zeros(4))
                                .Tensor("b", {1}, kF32, Zeros(4))
                                .Image();
  const auto file = ParseGguf(AsBytes(image));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors[0].begin % 64, 0u);
  EXPECT_EQ(file->tensors[1].begin, file->tensors[0].begin + 64);
}

TEST(ParseGgufTest, EveryReadableTypeHasItsNumber) {
  for (int i = 0; i <= static_cast<int>(DType::kIQ4_XS); ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string image =
        GgufWriter().Tensor("t", {1, 256}, GgufTensorType(dtype), Zeros(DTypeBytes(dtype, 256))).Image();
    const auto file = ParseGguf(AsBytes(image));
    ASSERT_TRUE(file.ok()) << DTypeName(dtype) << file.status();
    EXPECT_EQ(file->tensors[0].dtype, dtype);
    EXPECT_EQ(file->tensors[0].type_name, DTypeName(dtype));
  }
}

TEST(ParseGgufTest, NamesTypesThatItDoesNotRead) {
  const std::string image = GgufWriter()
                                .TensorAt("a", {256}, 19, 0)
                                .TensorAt("b", {256}, 34, 0)
                                .TensorAt("c", {32}, 39, 0)
                                .TensorAt("d", {32}, 77, 0)
                                .Image();
  const auto file = ParseGguf(AsBytes(image));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::string> names;
  for (const GgufTensor& tensor : file->tensors) {
    EXPECT_FALSE(tensor.dtype.has_value());
    names.push_back(tensor.type_name);
  }
  EXPECT_THAT(names, ElementsAre("IQ1_S", "TQ1_0", "MXFP4", "type 77"));
}

TEST(ParseGgufTest, NoByteCanBeMissing) {
  const std::string image = GgufWriter()
                                .Text("general.architecture", "llama")
                                .Texts("tokenizer.ggml.tokens", {"a", "bc", ""})
                                .F32s("tokenizer.ggml.scores", {1, 2, 3})
                                .Tensor("a", {2, 3}, kF32, Zeros(24))
                                .Image();
  ASSERT_TRUE(ParseGguf(AsBytes(image)).ok());
  for (size_t size = 0; size < image.size(); ++size) {
    const auto file = ParseGguf(AsBytes(image).subspan(0, size));
    ASSERT_FALSE(file.ok()) << size;
    ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << size << file.status();
  }
}

struct Malformed {
  const char* name;
  std::function<std::string()> image;
  const char* message;
};

const Malformed kMalformed[] = {
    {"Magic", [] { return "GGML" + GgufWriter().Image().substr(4); }, "not a GGUF file"},
    {"DuplicateKey", [] { return GgufWriter().U32("a", 1).U32("a", 2).Image(); }, "key \"a\": appears twice"},
    {"EmptyKey", [] { return GgufWriter().U32("", 1).Image(); }, "keys have 1 to 1024 bytes"},
    {"LongKey", [] { return GgufWriter().U32(std::string(1025, 'k'), 1).Image(); },
     "keys have 1 to 1024 bytes"},
    {"ValueType", [] { return GgufWriter().Raw("a", 13, Zeros(8)).Image(); }, "key \"a\": has type 13"},
    {"NestedArray", [] { return GgufWriter().Raw("a", 9, Raw(9u) + Raw(uint64_t{1}) + Zeros(64)).Image(); },
     "key \"a\": arrays of arrays"},
    {"ArrayCount", [] { return GgufWriter().Raw("a", 9, Raw(4u) + Raw(~uint64_t{0} / 4 + 2)).Image(); },
     "key \"a\": the file ends within it"},
    {"StringArrayCount", [] { return GgufWriter().Raw("a", 9, Raw(8u) + Raw(~uint64_t{0})).Image(); },
     "key \"a\": the file ends within it"},
    {"StringLength", [] { return GgufWriter().Raw("a", 8, Raw(~uint64_t{0})).Image(); },
     "key \"a\": the file ends within it"},
    {"KeyCount",
     [] {
       std::string image = GgufWriter().Image();
       std::memset(image.data() + 16, 0xff, 8);
       return image;
     },
     "claims 18446744073709551615 keys and 0 tensors"},
    {"TensorCount",
     [] {
       std::string image = GgufWriter().Image();
       image[10] = 1;  // 65,536 tensors
       return image;
     },
     "the list of tensors: the file ends within it"},
    {"DuplicateTensor",
     [] { return GgufWriter().Tensor("t", {1}, kF32, Zeros(4)).Tensor("t", {1}, kF32, Zeros(4)).Image(); },
     "tensor \"t\": appears twice"},
    {"EmptyName", [] { return GgufWriter().Tensor("", {1}, kF32, Zeros(4)).Image(); },
     "names have 1 to 1024 bytes"},
    {"NoDimension", [] { return GgufWriter().Tensor("t", {}, kF32, Zeros(4)).Image(); },
     "tensor \"t\": has 0 dimensions"},
    {"FiveDimensions",
     [] {
       return GgufWriter().Tensor("t", {1, 1, 1, 1, 1}, kF32, Zeros(4)).Image();
     },
     "tensor \"t\": has 5 dimensions"},
    {"ZeroSize",
     [] {
       return GgufWriter().Tensor("t", {0, 4}, kF32, "").Image();
     },
     "tensor \"t\": a size of 0 is"},
    {"NegativeSize", [] { return GgufWriter().Tensor("t", {-1}, kF32, "").Image(); },
     "tensor \"t\": a size of -1 is"},
    {"HugeShape",
     [] {
       return GgufWriter().Tensor("t", {int64_t{1} << 32, int64_t{1} << 32}, kF32, "").Image();
     },
     "tensor \"t\": a size of 4294967296 is negative, zero or too large"},
    {"PartialBlock",
     [] {
       return GgufWriter().Tensor("t", {2, 48}, kQ4_0, Zeros(54)).Image();
     },
     "tensor \"t\": rows of 48 elements are no whole blocks of 32, which Q4_0 needs"},
    {"PastTheEnd", [] { return GgufWriter().Tensor("t", {9}, kF32, Zeros(32)).Image(); },
     "tensor \"t\": 36 bytes at offset 0 do not lie within the 32 bytes of data"},
    {"OffsetPastTheEnd", [] { return GgufWriter().TensorAt("t", {1}, kF32, ~uint64_t{31}).Image(); },
     "tensor \"t\": 4 bytes at offset"},
    {"Unaligned",
     [] { return GgufWriter().Tensor("a", {16}, kF32, Zeros(64)).TensorAt("b", {1}, kF32, 4).Image(); },
     "tensor \"b\": offset 4 is no multiple of 32"},
    {"Overlap",
     [] { return GgufWriter().Tensor("a", {16}, kF32, Zeros(64)).TensorAt("b", {1}, kF32, 32).Image(); },
     "tensor \"b\": overlaps tensor \"a\""},
    {"AlignmentValue", [] { return GgufWriter().U32("general.alignment", 24).Image(); },
     "key \"general.alignment\": 24 is no power of two"},
    {"AlignmentZero", [] { return GgufWriter().U32("general.alignment", 0).Image(); },
     "key \"general.alignment\": 0 is no power of two"},
    {"AlignmentType", [] { return GgufWriter().Text("general.alignment", "32").Image(); },
     "key \"general.alignment\": must be a u32"},
};

class MalformedGgufTest : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedGgufTest, IsRefusedWithTheReason) {
  const std::string image = GetParam().image();
  const auto file = ParseGguf(AsBytes(image));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Images, MalformedGgufTest, testing::ValuesIn(kMalformed),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ParseGgufTest, RefusesOtherVersionsAndByteOrders) {
  for (const uint32_t version : {0u, 1u, 4u}) {
    const std::string image = GgufWriter().Image(version);
    const auto file = ParseGguf(AsBytes(image));
    EXPECT_EQ(file.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("GGUF version " + std::to_string(version)));
  }
  const std::string image = GgufWriter().Image(3u << 24);
  EXPECT_THAT(std::string(ParseGguf(AsBytes(image)).status().message()), HasSubstr("big-endian"));
}

class GgufMetadataTest : public testing::Test {
 protected:
  GgufMetadata Read(const GgufWriter& writer) {
    image_ = writer.Image();
    auto file = ParseGguf(AsBytes(image_));
    EXPECT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    return GgufMetadata(file_);
  }

  std::string image_;
  GgufFile file_;
};

TEST_F(GgufMetadataTest, ReadsEveryType) {
  GgufMetadata metadata = Read(GgufWriter()
                                   .Raw("u8", 0, Raw(uint8_t{200}))
                                   .Raw("i8", 1, Raw(int8_t{-3}))
                                   .Raw("u16", 2, Raw(uint16_t{65535}))
                                   .Raw("i16", 3, Raw(int16_t{-300}))
                                   .U32("u32", 4'000'000'000)
                                   .I32("i32", -70'000)
                                   .U64("u64", uint64_t{1} << 40)
                                   .Raw("i64", 11, Raw(int64_t{-1} << 40))
                                   .F32("f32", 0.1f)
                                   .F64("f64", 0.1)
                                   .Bool("yes", true)
                                   .Text("text", "h\xc3\xa9")
                                   .Texts("texts", {"a", "", "bc"})
                                   .F32s("floats", {1.5f, -2})
                                   .I32s("ints", {1, -1})
                                   .Raw("bytes", 9, Raw(0u) + Raw(uint64_t{3}) + std::string("a\0b", 3)));
  constexpr int64_t kAny = int64_t{1} << 62;
  EXPECT_EQ(metadata.Int("u8", -kAny, kAny), 200);
  EXPECT_EQ(metadata.Int("i8", -kAny, kAny), -3);
  EXPECT_EQ(metadata.Int("u16", -kAny, kAny), 65535);
  EXPECT_EQ(metadata.Int("i16", -kAny, kAny), -300);
  EXPECT_EQ(metadata.Int("u32", -kAny, kAny), 4'000'000'000);
  EXPECT_EQ(metadata.Int("i32", -kAny, kAny), -70'000);
  EXPECT_EQ(metadata.Int("u64", -kAny, kAny), int64_t{1} << 40);
  EXPECT_EQ(metadata.Int("i64", -kAny, kAny), int64_t{-1} << 40);
  EXPECT_EQ(metadata.Number("f32"), double{0.1f});
  EXPECT_EQ(metadata.Number("f64"), 0.1);
  EXPECT_EQ(metadata.Number("u8"), 200);
  EXPECT_EQ(metadata.Bool("yes"), true);
  EXPECT_EQ(metadata.String("text"), "h\xc3\xa9");
  EXPECT_THAT(metadata.Strings("texts", 3), ElementsAre("a", "", "bc"));
  EXPECT_THAT(metadata.Floats("floats", 2), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(metadata.Ints("ints", 2), ElementsAre(1, -1));
  EXPECT_EQ(metadata.Bytes("bytes", 3), std::string("a\0b", 3));
  EXPECT_EQ(metadata.Int("absent", 0, 1), std::nullopt);
  EXPECT_TRUE(metadata.Strings("absent", 3).empty());
  EXPECT_TRUE(metadata.status().ok()) << metadata.status();
}

TEST_F(GgufMetadataTest, RefusesOtherTypesAndValuesByKey) {
  const GgufWriter writer = GgufWriter()
                                .U32("number", 7)
                                .U64("large", ~uint64_t{0})
                                .F32("nan", __builtin_nanf(""))
                                .Text("text", "7")
                                .Raw("odd", 7, Raw(uint8_t{2}))
                                .Texts("texts", {"a", "b"})
                                .F32s("floats", {1, 2});
  const auto refusal = [&](const std::function<void(GgufMetadata&)>& read) {
    GgufMetadata metadata = Read(writer);
    read(metadata);
    EXPECT_EQ(metadata.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(metadata.status().message());
  };
  EXPECT_THAT(refusal([](auto& m) { m.Int("number", 8, 9); }),
              HasSubstr("key \"number\": must be an integer"));
  EXPECT_THAT(refusal([](auto& m) { m.Int("large", 0, 9); }), HasSubstr("key \"large\": must be an integer"));
  EXPECT_THAT(refusal([](auto& m) { m.Int("text", 0, 9); }), HasSubstr("key \"text\": must be an integer"));
  EXPECT_THAT(refusal([](auto& m) { m.Int("texts", 0, 9); }), HasSubstr("key \"texts\": must be an integer"));
  EXPECT_THAT(refusal([](auto& m) { m.Number("nan"); }), HasSubstr("key \"nan\": must be a finite number"));
  EXPECT_THAT(refusal([](auto& m) { m.Number("floats"); }), HasSubstr("key \"floats\": must be a finite"));
  EXPECT_THAT(refusal([](auto& m) { m.Bool("odd"); }), HasSubstr("key \"odd\": must be true or false"));
  EXPECT_THAT(refusal([](auto& m) { m.Bool("number"); }), HasSubstr("key \"number\": must be true or false"));
  EXPECT_THAT(refusal([](auto& m) { m.String("texts"); }), HasSubstr("key \"texts\": must be a string"));
  EXPECT_THAT(refusal([](auto& m) { m.Strings("text", 9); }), HasSubstr("key \"text\": must be an array"));
  EXPECT_THAT(refusal([](auto& m) { m.Strings("floats", 9); }), HasSubstr("must be an array of strings"));
  EXPECT_THAT(refusal([](auto& m) { m.Strings("texts", 1); }), HasSubstr("has 2 elements, at most 1"));
  EXPECT_THAT(refusal([](auto& m) { m.Floats("texts", 9); }), HasSubstr("must be an array of 32-bit floats"));
  EXPECT_THAT(refusal([](auto& m) { m.Ints("floats", 9); }),
              HasSubstr("must be an array of 32-bit integers"));
  EXPECT_THAT(refusal([](auto& m) { m.Bytes("floats", 9); }), HasSubstr("must be an array of bytes"));
  EXPECT_THAT(refusal([](auto& m) { m.Bytes("floats", 1); }), HasSubstr("has 2 elements, at most 1"));
}

TEST_F(GgufMetadataTest, TakesAValuePerLayerWhereAllAreEqual) {
  GgufMetadata metadata = Read(GgufWriter().I32s("same", {4, 4, 4}).I32s("mixed", {4, 4, 2}));
  EXPECT_EQ(metadata.Int("same", 0, 9), 4);
  EXPECT_TRUE(metadata.status().ok());
  EXPECT_EQ(metadata.Int("mixed", 0, 9), std::nullopt);
  EXPECT_EQ(metadata.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(metadata.status().message()), HasSubstr("key \"mixed\": values that differ"));
}

}  // namespace
}  // namespace memgate
