#include "engine/weight_store.h"

#include <utility>

#include "engine/checkpoint/fingerprint_memo.h"
#include "engine/checkpoint/hugging_face.h"

namespace memgate {
namespace {

using Outcome = WeightCacheEvent::Outcome;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

WeightCacheKey KeyOf(const std::string& fingerprint, WeightFormat format) {
  return {fingerprint, std::string(WeightFormatName(format)), PackedLayout(format)};
}

}  // namespace

WeightStore::WeightStore(WeightCacheOptions options)
    : options_(std::move(options)), cache_(options_.folder, options_.max_bytes) {}

absl::StatusOr<std::string> WeightStore::FingerprintOf(const TensorSource& tensors, absl::Time now) const {
  if (options_.folder.empty()) return Fingerprint(tensors);
  const absl::Time begin = absl::Now();
  auto known = RecallFingerprint(tensors, cache_, now);
  if (!known.ok()) return known.status();
  const absl::Duration took = absl::Now() - begin;
  if (known->remembered) {
    options_.report({"fingerprint", Outcome::kHit, "", took});
  } else {
    options_.report({"fingerprint", Outcome::kMiss, "computed from the model's files", took});
    if (!known->stored.ok()) {
      options_.report({"fingerprint", Outcome::kNotWritten, Text(known->stored), absl::ZeroDuration()});
    }
  }
  return std::move(known->value);
}

absl::StatusOr<ModelWeights> WeightStore::Load(const std::string& fingerprint, const ModelConfig& config,
                                               const TensorSource& tensors, WeightFormat format,
                                               absl::FunctionRef<void(int, int)> progress) const {
  if (options_.folder.empty() || PackedLayout(format).empty()) {
    return LoadWeights(config, tensors, format, progress);
  }
  const absl::Time begin = absl::Now();
  const WeightCacheKey key = KeyOf(fingerprint, format);
  auto cached = cache_.Open(key);
  absl::Status miss = cached.status();
  if (cached.ok()) {
    auto weights = LoadWeights(config, tensors, format, progress, *std::move(cached));
    if (weights.ok()) {
      options_.report({"weights", Outcome::kHit, "", absl::Now() - begin});
      return weights;
    }
    // Sound, but not what this build looks for: of no use to the next start either.
    miss = weights.status();
    miss.Update(cache_.Discard(key));
  }
  options_.report({"weights", Outcome::kMiss, Text(miss), absl::Now() - begin});
  return LoadWeights(config, tensors, format, progress);
}

bool WeightStore::Wants(const ModelWeights& weights) const {
  return !options_.folder.empty() && !PackedLayout(weights.format).empty() && !weights.mapped.has_value();
}

void WeightStore::Write(const std::string& fingerprint, const ModelWeights& weights,
                        std::stop_token stop) const {
  const absl::Time begin = absl::Now();
  const absl::Status written =
      cache_.Write(KeyOf(fingerprint, weights.format), PackedBlobs(weights), std::move(stop));
  const absl::Duration took = absl::Now() - begin;
  if (written.ok()) {
    options_.report({"weights", Outcome::kWritten, "", took});
  } else {
    options_.report({"weights", Outcome::kNotWritten, Text(written), took});
  }
}

}  // namespace memgate
