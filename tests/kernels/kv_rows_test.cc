#include "engine/kernels/kv_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"

namespace memgate {
namespace {

using reference::RandomFloats;

constexpr int kDims[] = {1, 2, 3, 6, 8, 15, 16, 17, 20, 33, 64, 80, 128};
constexpr std::byte kUntouched{0x5A};

// Rows of a store of its own, with untouched bytes behind the last one.
struct Store {
  Store(KvFormat format, int dim, int64_t rows)
      : bytes(rows * KvRowBytes(format, dim) + 8, kUntouched), rows(format, dim, bytes.data()) {}
  std::vector<std::byte> bytes;
  KvRows rows;
};

std::vector<float> RoundTrip(KvFormat format, const std::vector<float>& x) {
  const int dim = static_cast<int>(x.size());
  Store store(format, dim, 1);
  store.rows.Store(0, x.data());
  for (size_t i = KvRowBytes(format, dim); i < store.bytes.size(); ++i) EXPECT_EQ(store.bytes[i], kUntouched);
  std::vector<float> out(dim);
  store.rows.Load(0, 1, out.data());
  return out;
}

// The nearest number with `bits` bits of significand, on a tie the even one.
double Nearest(double x, int bits) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent, -125) - bits);  // below 2^-126 steps stay equal
  return std::nearbyint(x / unit) * unit;
}

TEST(KvRowsTest, NamesAreThoseOfTheOption) {
  for (const KvFormat format : kKvFormats) EXPECT_EQ(*ParseKvFormat(KvFormatName(format)), format);
  const absl::Status status = ParseKvFormat("int4").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "unknown KV format 'int4'; known: f32, bf16, int8");
}

TEST(KvRowsTest, RowsTakeTheBytesAnnounced) {
  EXPECT_EQ(KvRowBytes(KvFormat::kF32, 64), 256);
  EXPECT_EQ(KvRowBytes(KvFormat::kBf16, 64), 128);
  EXPECT_EQ(KvRowBytes(KvFormat::kInt8, 64), 68);
}

TEST(KvRowsTest, FloatsComeBackAsTheyWere) {
  OnEverySimdTarget([] {
    for (const int dim : kDims) {
      const std::vector<float> x = RandomFloats(1, dim);
      EXPECT_EQ(RoundTrip(KvFormat::kF32, x), x) << dim;
    }
  });
}

TEST(KvRowsTest, Bf16IsTheNearestNumberOfEightBits) {
  OnEverySimdTarget([] {
    for (const int dim : kDims) {
      std::vector<float> x = RandomFloats(2, dim);
      for (int i = 0; i < dim; ++i)
        x[i] = std::ldexp(x[i], 3 * i - 140);  // from below the smallest normal number
      const std::vector<float> out = RoundTrip(KvFormat::kBf16, x);
      for (int i = 0; i < dim; ++i) EXPECT_EQ(out[i], Nearest(x[i], 8)) << x[i];
    }
  });
}

TEST(KvRowsTest, Bf16RoundsTiesToEvenAndKeepsWhatIsNoNumber) {
  OnEverySimdTarget([] {
    const float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> x = {0x1.01p0f, 0x1.03p0f, -0x1.01p0f, 0x1.010002p0f,  0.0f,
                                  -0.0f,     infinity,  -infinity,  0x1.fffffep127f};
    const std::vector<float> expected = {0x1.00p0f, 0x1.04p0f, -0x1.00p0f, 0x1.02p0f, 0.0f,
                                         -0.0f,     infinity,  -infinity,  infinity};
    EXPECT_EQ(RoundTrip(KvFormat::kBf16, x), expected);
    for (const uint32_t bits : {0x7F800001u, 0x7FFFFFFFu, 0xFFFFFFFFu, 0xFF800001u}) {
      float nan;
      std::memcpy(&nan, &bits, sizeof(nan));
      for (const float out : RoundTrip(KvFormat::kBf16, std::vector<float>(17, nan)))
        EXPECT_TRUE(std::isnan(out));
    }
  });
}

TEST(KvRowsTest, Int8IsWithinHalfAStepOfTheLargestElement) {
  OnEverySimdTarget([] {
    for (const int dim : kDims) {
      for (const float spread : {1e-20f, 1.0f, 3e10f}) {
        std::vector<float> x = RandomFloats(3, dim);
        double largest = 0;
        for (float& v : x) {
          v *= spread;
          largest = std::max(largest, std::abs(double{v}));
        }
        const std::vector<float> out = RoundTrip(KvFormat::kInt8, x);
        for (int i = 0; i < dim; ++i)
          EXPECT_NEAR(out[i], x[i], largest / 127 * 0.50001) << dim << " " << spread;
      }
    }
  });
}

TEST(KvRowsTest, Int8TakesTheNearestStep) {
  OnEverySimdTarget([] {
    // Scale 1: the elements are their own steps; ties go to the even one.
    const std::vector<float> x = {127.0f, -127.0f, 0.0f,  0.4f,    0.6f,  0.5f,
                                  1.5f,   -0.5f,   -1.5f, -63.49f, 100.0f};
    const std::vector<float> expected = {127, -127, 0, 0, 1, 0, 2, 0, -2, -63, 100};
    EXPECT_EQ(RoundTrip(KvFormat::kInt8, x), expected);
  });
}

TEST(KvRowsTest, Int8StoresZerosWhereNoScaleExists) {
  OnEverySimdTarget([] {
    const std::vector<float> zeros(19, 0.0f);
    EXPECT_EQ(RoundTrip(KvFormat::kInt8, zeros), zeros);
    EXPECT_EQ(RoundTrip(KvFormat::kInt8, std::vector<float>(19, 1e-37f)), zeros);
  });
}

TEST(KvRowsTest, Int8RowThatIsNotFiniteReadsAsNoNumbers) {
  OnEverySimdTarget([] {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
      for (const int at : {0, 15, 18}) {
        std::vector<float> x = RandomFloats(4, 19);
        x[at] = bad;
        for (const float out : RoundTrip(KvFormat::kInt8, x))
          EXPECT_TRUE(std::isnan(out)) << bad << " " << at;
      }
    }
  });
}

TEST(KvRowsTest, EveryRowIsReadAndMovedAsItWasStored) {
  OnEverySimdTarget([] {
    const int count = 7;
    for (const KvFormat format : kKvFormats) {
      for (const int dim : kDims) {
        Store store(format, dim, count);
        std::vector<float> alone;
        for (int r = 0; r < count; ++r) {
          const std::vector<float> x = RandomFloats(10 + r, dim);
          store.rows.Store(r, x.data());
          const std::vector<float> row = RoundTrip(format, x);
          alone.insert(alone.end(), row.begin(), row.end());
        }
        std::vector<float> all(count * dim), scratch(count * dim);
        store.rows.Load(0, count, all.data());
        EXPECT_EQ(all, alone);
        const float* floats = store.rows.From(2).Floats(1, count - 3, scratch.data());
        EXPECT_TRUE(std::equal(floats, floats + (count - 3) * dim, all.begin() + 3 * dim));

        store.rows.Move(2, 1, 4);  // overlaps itself
        std::vector<float> moved(count * dim);
        store.rows.Load(0, count, moved.data());
        EXPECT_TRUE(std::equal(moved.begin(), moved.begin() + dim, all.begin()));
        EXPECT_TRUE(std::equal(moved.begin() + dim, moved.begin() + 5 * dim, all.begin() + 2 * dim));
        EXPECT_TRUE(std::equal(moved.begin() + 5 * dim, moved.end(), all.begin() + 5 * dim));
      }
    }
  });
}

// Every target rounds alike, so that a session may move to a machine with another one.
TEST(KvRowsTest, TargetsStoreTheSameBytes) {
  for (const KvFormat format : kKvFormats) {
    std::vector<std::byte> first;
    OnEverySimdTarget([&] {
      Store store(format, 53, 3);
      for (int r = 0; r < 3; ++r) store.rows.Store(r, RandomFloats(20 + r, 53).data());
      if (first.empty()) first = store.bytes;
      EXPECT_EQ(store.bytes, first);
    });
  }
}

}  // namespace
}  // namespace memgate
