#include "engine/checkpoint/tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "tests/checkpoint/half_by_definition.h"
#include "tests/support/safetensors_writer.h"

namespace memgate {
namespace {

TensorView ViewOf(DType dtype, std::vector<int64_t> shape, const std::string& data, size_t offset = 0) {
  return {"t", dtype, std::move(shape), AsBytes(data).data() + offset, data.size() - offset};
}

TEST(ToFloatTest, ConvertsEveryHalfExactly) {
  std::string data(65536 * 2, '\0');
  for (int i = 0; i < 65536; ++i) {
    const uint16_t half = static_cast<uint16_t>(i);
    std::memcpy(data.data() + 2 * i, &half, 2);
  }
  std::vector<float> out(65536);
  ToFloat(ViewOf(DType::kF16, {256, 256}, data), absl::MakeSpan(out));
  for (int i = 0; i < 65536; ++i) {
    const double expected = HalfByDefinition(i);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(out[i])) << i;
    } else {
      ASSERT_EQ(out[i], expected) << i;
    }
    ASSERT_EQ(std::signbit(out[i]), i >= 0x8000) << i;
  }
}

TEST(ToFloatTest, BFloat16IsTheUpperHalfOfF32) {
  std::string data(65536 * 2, '\0');
  for (int i = 0; i < 65536; ++i) {
    const uint16_t value = static_cast<uint16_t>(i);
    std::memcpy(data.data() + 2 * i, &value, 2);
  }
  std::vector<float> out(65536);
  ToFloat(ViewOf(DType::kBF16, {65536}, data), absl::MakeSpan(out));
  for (uint32_t i = 0; i < 65536; ++i) ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), i << 16);
  EXPECT_EQ(out[0x3f80], 1.0f);
  EXPECT_EQ(out[0x0001], 0x1p-133f);  // a subnormal
}

TEST(ToFloatTest, KeepsTheBitsOfF32) {
  const std::vector<uint32_t> bits = {0, 0x80000000, 0x3f800000, 1, 0x7f800000, 0x7fc00123, 0xff7fffff};
  std::string data(bits.size() * 4, '\0');
  std::memcpy(data.data(), bits.data(), data.size());
  std::vector<float> out(bits.size());
  ToFloat(ViewOf(DType::kF32, {7}, data), absl::MakeSpan(out));
  EXPECT_EQ(std::memcmp(out.data(), bits.data(), data.size()), 0);
}

TEST(ToFloatTest, ReadsUnalignedData) {
  std::string f32(1, 'x'), f16(1, 'x'), bf16(1, 'x');
  f32 += F32Tensor("t", {2}, {1.5f, -2.0f}).data;
  f16 += std::string("\x00\x3e\x00\xc0", 4);
  bf16 += BF16Tensor("t", {2}, {1.5f, -2.0f}).data;
  for (const TensorView& view : {ViewOf(DType::kF32, {2}, f32, 1), ViewOf(DType::kBF16, {2}, bf16, 1),
                                 ViewOf(DType::kF16, {2}, f16, 1)}) {
    std::vector<float> out(2);
    ToFloat(view, absl::MakeSpan(out));
    EXPECT_EQ(out, (std::vector<float>{1.5f, -2.0f})) << DTypeName(view.dtype);
  }
}

TEST(ToFloatTest, AcceptsEmptyTensors) {
  const TensorView empty{"t", DType::kF32, {0, 7}, nullptr, 0};
  EXPECT_EQ(empty.elements(), 0);
  ToFloat(empty, {});
}

TEST(TensorViewTest, ScalarHasOneElement) {
  EXPECT_EQ((TensorView{"t", DType::kF32, {}, nullptr, 4}).elements(), 1);
  EXPECT_EQ((TensorView{"t", DType::kF32, {3, 1, 5}, nullptr, 60}).elements(), 15);
}

TEST(TensorViewTest, PairedRowsComeInTheOrderOfTheirHalves) {
  // Two heads of six rows; each value is the row's place in the file.
  std::vector<float> stored(12 * 2);
  for (size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<float>(i / 2);
  const std::string data(reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(float));
  TensorView view = ViewOf(DType::kF32, {12, 2}, data);
  view.paired_rows = 3;
  std::vector<float> out(24);
  ToFloat(view, absl::MakeSpan(out));
  const std::vector<float> order = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (int row = 0; row < 12; ++row) {
    EXPECT_EQ(out[2 * row], order[row]) << row;
    EXPECT_EQ(out[2 * row + 1], order[row]) << row;
    std::vector<float> one(2);
    ToFloat(view.Row(row), absl::MakeSpan(one));
    EXPECT_EQ(one[0], order[row]) << row;
  }
}

TEST(DTypeTest, NamesAndSizesFollowSafetensors) {
  EXPECT_EQ(DTypeName(DType::kF32), "F32");
  EXPECT_EQ(DTypeName(DType::kF16), "F16");
  EXPECT_EQ(DTypeName(DType::kBF16), "BF16");
  EXPECT_EQ(DTypeBytes(DType::kF32, 3), 12);
  EXPECT_EQ(DTypeBytes(DType::kF16, 3), 6);
  EXPECT_EQ(DTypeBytes(DType::kBF16, 3), 6);
}

// Holds one tensor "w" of shape [2, 3].
class OneTensor : public TensorSource {
 public:
  absl::StatusOr<TensorView> Find(std::string_view name) const override {
    if (name != "w") return absl::NotFoundError("no such tensor");
    return TensorView{"w", DType::kF32, {2, 3}, nullptr, 24};
  }
  bool Has(std::string_view name) const override { return name == "w"; }
  std::vector<std::string> Names() const override { return {"w"}; }
};

TEST(FindShapedTest, ReturnsATensorOfTheExpectedShape) {
  const absl::StatusOr<TensorView> view = FindShaped(OneTensor(), "w", {2, 3});
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->name, "w");
}

TEST(FindShapedTest, NamesTensorAndBothShapes) {
  const absl::Status status = FindShaped(OneTensor(), "w", {3, 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "tensor \"w\" has shape [2, 3], expected [3, 2]");
  EXPECT_FALSE(FindShaped(OneTensor(), "w", {6}).ok());
  EXPECT_FALSE(FindShaped(OneTensor(), "w", {2, 3, 1}).ok());
}

TEST(FindShapedTest, PassesOnThatATensorIsMissing) {
  EXPECT_EQ(FindShaped(OneTensor(), "v", {2, 3}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace memgate
