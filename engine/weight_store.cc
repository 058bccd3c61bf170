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

bool WeightStore::Caches(WeightFormat format) const {
  return !options_.folder.empty() && !PackedLayout(format).empty();
}

void WeightStore::ReportNotWritten(std::string_view what, std::string_view reason,
                                   absl::Duration took) const {
  options_.report({std::string(what), Outcome::kNotWritten, std::string(reason), took});
}

absl::StatusOr<std::string> WeightStore::FingerprintOf(const TensorSource& tensors, WeightFormat format,
                                                       absl::Time now) const {
  if (options_.folder.empty()) return Fingerprint(tensors);
  const absl::Time begin = absl::Now();
  auto known = RecallFingerprint(tensors, cache_, now);
  if (!known.ok()) return known.status();
  const absl::Duration took = absl::Now() - begin;
  if (known->remembered()) {
    options_.report({"fingerprint", Outcome::kHit, "", took});
  } else {
    options_.report({"fingerprint", Outcome::kMiss, Text(known->recalled), took});
    if (!known->stored.ok() && Caches(format)) ReportNotWritten("fingerprint", Text(known->stored));
  }
  return std::move(known->value);
}

absl::StatusOr<ModelWeights> WeightStore::Load(const std::string& fingerprint, const ModelConfig& config,
                                               const TensorSource& tensors, WeightFormat format,
                                               absl::FunctionRef<void(int, int)> progress) const {
  if (!Caches(format)) return LoadWeights(config, tensors, format, progress);
  const absl::Time begin = absl::Now();
  const WeightCacheKey key = KeyOf(fingerprint, format);
  auto cached = cache_.Open(key);
  const bool sound = cached.ok();
  absl::Status miss = cached.status();
  if (sound) {
    auto weights = LoadWeights(config, tensors, format, progress, *std::move(cached));
    if (weights.ok()) {
      options_.report({"weights", Outcome::kHit, "", absl::Now() - begin});
      return weights;
    }
    miss = weights.status();
  }
  options_.report({"weights", Outcome::kMiss, Text(miss), absl::Now() - begin});
  auto packed = LoadWeights(config, tensors, format, progress);
  // Sound, but not what this build looks for: of no use to the next start either. Where packing fails, too,
  // the model is at fault.
  if (sound && packed.ok()) {
    if (auto s = cache_.Discard(key); !s.ok()) ReportNotWritten("weights", Text(s));
  }
  return packed;
}

bool WeightStore::Wants(const ModelWeights& weights) const {
  return Caches(weights.format) && !weights.mapped.has_value();
}

void WeightStore::Write(const std::string& fingerprint, const TensorSource& tensors,
                        const ModelWeights& weights, const std::stop_token& stop) const {
  const absl::Time begin = absl::Now();
  // A remembered fingerprint speaks for the files as they were opened, and they were packed after that.
  if (auto s = CheckUnchanged(tensors); !s.ok()) return ReportNotWritten("weights", Text(s));
  const absl::Duration longest_wait = options_.write == WeightCacheOptions::Write::kBeforeLoaded
                                          ? options_.longest_wait
                                          : absl::InfiniteDuration();
  const auto written =
      cache_.Write(KeyOf(fingerprint, weights.format), PackedBlobs(weights), stop, longest_wait);
  const absl::Duration took = absl::Now() - begin;
  if (!written.ok()) return ReportNotWritten("weights", Text(written.status()), took);
  options_.report({"weights", *written ? Outcome::kWritten : Outcome::kAlreadyWritten, "", took});
}

}  // namespace memgate
