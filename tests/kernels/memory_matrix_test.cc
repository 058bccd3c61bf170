#include "engine/kernels/memory_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/kernels/simd_targets.h"
#include "tests/reference/compare.h"
#include "tests/reference/operators.h"

namespace memgate {
namespace {

using reference::RandomFloats;
using reference::RelativeError;
using reference::ToDouble;
using reference::Vector;

constexpr MatrixShape kShapes[] = {{1, 1},   {2, 3},   {7, 5},    {12, 6},  {16, 16},
                                   {33, 20}, {64, 65}, {128, 64}, {40, 131}};
constexpr int64_t kGap = 3;       // between vectors, so that strides differ from sizes
constexpr float kUntouched = -7;  // in the gaps and behind the last vector

// `count` vectors of `size`, kGap floats apart.
struct Vectors {
  Vectors(uint64_t seed, int count, int size)
      : stride(size + kGap), store(RandomFloats(seed, count * stride)) {}
  VectorRun run(int from = 0) const { return {store.data() + from * stride, stride}; }
  float at(int i, int k) const { return store[i * stride + k]; }
  int64_t stride;
  std::vector<float> store;
};

// Uniform in (low, low + width).
std::vector<float> Between(uint64_t seed, int count, float low, float width) {
  std::vector<float> out = RandomFloats(seed, count);
  for (float& x : out) x = low + width * (x + 1) / 2;
  return out;
}

// Cuts the gaps away and checks that they were left alone.
std::vector<float> WithoutGaps(const std::vector<float>& store, int count, int size) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i) {
    for (int c = 0; c < size + kGap; ++c) {
      const float x = store[i * (size + kGap) + c];
      if (c < size) {
        out.push_back(x);
      } else {
        EXPECT_EQ(x, kUntouched) << "wrote past vector " << i;
      }
    }
  }
  return out;
}

TEST(MemoryMatrixTest, ReadEqualsPlainLoops) {
  OnEverySimdTarget([] {
    for (const MatrixShape shape : kShapes) {
      const std::vector<float> matrix = RandomFloats(1, int64_t{shape.features} * shape.columns);
      for (const int count : {1, 2, 3, 4, 5, 18}) {
        const Vectors features(2, count, shape.features);
        Vector expected;
        for (int i = 0; i < count; ++i) {
          for (int c = 0; c < shape.columns; ++c) {
            double sum = 0;
            for (int k = 0; k < shape.features; ++k) {
              sum += double{features.at(i, k)} * matrix[k * shape.columns + c];
            }
            expected.push_back(sum);
          }
        }
        std::vector<float> out(count * (shape.columns + kGap), kUntouched);
        ReadMatrix(matrix.data(), shape, count, features.run(), out.data(), shape.columns + kGap);
        EXPECT_LT(RelativeError(WithoutGaps(out, count, shape.columns), expected), 5e-6)
            << shape.features << "x" << shape.columns << " " << count;
      }
    }
  });
}

TEST(MemoryMatrixTest, AddedAssociationsEqualPlainLoops) {
  OnEverySimdTarget([] {
    for (const MatrixShape shape : kShapes) {
      for (const int tokens : {0, 1, 2, 5, 64}) {
        const Vectors features(1, tokens, shape.features), values(2, tokens, shape.columns);
        std::vector<float> matrix = RandomFloats(3, int64_t{shape.features} * shape.columns);
        Vector expected = ToDouble(matrix);
        for (int t = 0; t < tokens; ++t) {
          for (int k = 0; k < shape.features; ++k) {
            for (int c = 0; c < shape.columns; ++c) {
              expected[k * shape.columns + c] += double{features.at(t, k)} * values.at(t, c);
            }
          }
        }
        matrix.push_back(kUntouched);
        AddAssociations(tokens, features.run(), values.run(), shape, matrix.data());
        EXPECT_EQ(matrix.back(), kUntouched) << "wrote past the matrix";
        matrix.pop_back();
        EXPECT_LT(RelativeError(matrix, expected), 5e-6)
            << shape.features << "x" << shape.columns << " " << tokens;
      }
    }
  });
}

// The rule by definition.
void WriteByDefinition(const Vectors& phi, const Vectors& values, const std::vector<float>& decays,
                       const std::vector<float>& strengths, int tokens, MatrixShape shape, Vector& matrix) {
  for (int t = 0; t < tokens; ++t) {
    for (double& m : matrix) m *= decays[t];
    for (int c = 0; c < shape.columns; ++c) {
      double stored = 0;
      for (int k = 0; k < shape.features; ++k) stored += phi.at(t, k) * matrix[k * shape.columns + c];
      const double update = strengths[t] * (values.at(t, c) - stored);
      for (int k = 0; k < shape.features; ++k) matrix[k * shape.columns + c] += phi.at(t, k) * update;
    }
  }
}

// Feature vectors of length at most 1, for which the rule is stable.
Vectors ShortVectors(uint64_t seed, int count, int size) {
  Vectors out(seed, count, size);
  for (float& x : out.store) x /= std::sqrt(static_cast<float>(size));
  return out;
}

TEST(MemoryMatrixTest, WrittenDeltasEqualTheDefinition) {
  OnEverySimdTarget([] {
    for (const MatrixShape shape : kShapes) {
      for (const int tokens : {1, 2, 7, 64}) {
        const Vectors phi = ShortVectors(1, tokens, shape.features), values(2, tokens, shape.columns);
        const std::vector<float> decays = Between(4, tokens, 0.3f, 0.7f);
        const std::vector<float> strengths = Between(5, tokens, 0.0f, 1.0f);
        const std::vector<float> ones(tokens, 1.0f);
        const std::vector<float> start = RandomFloats(7, int64_t{shape.features} * shape.columns);

        for (const bool plain : {false, true}) {
          Vector expected = ToDouble(start);
          WriteByDefinition(phi, values, plain ? ones : decays, plain ? ones : strengths, tokens, shape,
                            expected);
          DeltaWrites writes{.tokens = tokens, .features = phi.run(), .values = values.run()};
          if (!plain) {
            writes.decays = decays.data();
            writes.strengths = strengths.data();
          }
          std::vector<float> matrix = start;
          matrix.push_back(kUntouched);
          WriteDeltas(writes, shape, matrix.data());
          EXPECT_EQ(matrix.back(), kUntouched) << "wrote past the matrix";
          matrix.pop_back();
          EXPECT_LT(RelativeError(matrix, expected), 1e-5)
              << shape.features << "x" << shape.columns << " " << tokens;
        }
      }
    }
  });
}

// Vectors that are worked on together have no say in each other's results.
TEST(MemoryMatrixTest, CountsChangeNoBit) {
  OnEverySimdTarget([] {
    const MatrixShape shape{37, 43};
    const int count = 11;
    const int64_t floats = shape.features * shape.columns;
    const std::vector<float> start = RandomFloats(1, floats);
    const Vectors phi = ShortVectors(2, count, shape.features), values(3, count, shape.columns);
    const std::vector<float> decays = Between(4, count, 0.3f, 0.7f);
    const std::vector<float> strengths = Between(5, count, 0.0f, 1.0f);

    std::vector<float> read(count * shape.columns), associations = start, deltas = start;
    ReadMatrix(start.data(), shape, count, phi.run(), read.data(), shape.columns);
    AddAssociations(count, phi.run(), values.run(), shape, associations.data());
    WriteDeltas({.tokens = count,
                 .features = phi.run(),
                 .values = values.run(),
                 .decays = decays.data(),
                 .strengths = strengths.data()},
                shape, deltas.data());

    std::vector<float> read_alone(shape.columns), associations_alone = start, deltas_alone = start;
    for (int i = 0; i < count; ++i) {
      ReadMatrix(start.data(), shape, 1, phi.run(i), read_alone.data(), shape.columns);
      EXPECT_TRUE(std::equal(read_alone.begin(), read_alone.end(), read.begin() + i * shape.columns)) << i;
      AddAssociations(1, phi.run(i), values.run(i), shape, associations_alone.data());
      WriteDeltas({.tokens = 1,
                   .features = phi.run(i),
                   .values = values.run(i),
                   .decays = &decays[i],
                   .strengths = &strengths[i]},
                  shape, deltas_alone.data());
    }
    EXPECT_EQ(associations_alone, associations);
    EXPECT_EQ(deltas_alone, deltas);
  });
}

}  // namespace
}  // namespace memgate
