#include "engine/checkpoint/fingerprint_memo.h"

#include <openssl/sha.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/hugging_face.h"
#include "engine/checkpoint/mapped_file.h"

namespace memgate {
namespace {

constexpr absl::Duration kLeastAge = absl::Seconds(2);  // the coarsest stamps in use are those of FAT
constexpr char kBlob[] = "fingerprint";
constexpr std::string_view kPrefix = "sha256:";

std::string HexDigest(const std::string& text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return absl::BytesToHexString(digest);
}

WeightCacheKey KeyOf(const std::vector<FileIdentity>& files) {
  std::string text;
  for (const FileIdentity& file : files) {
    text += Concat(file.path, std::string(1, '\0'), file.device, " ", file.inode, " ", file.bytes, " ",
                   file.modified_ns, " ", file.changed_ns, "\n");
  }
  return {Concat("files:", HexDigest(text)), "fingerprint", "v1"};
}

bool LooksLikeFingerprint(std::string_view text) {
  return text.size() == kPrefix.size() + 2 * SHA256_DIGEST_LENGTH && text.starts_with(kPrefix) &&
         text.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

absl::StatusOr<std::string> Recall(const WeightCache& cache, const WeightCacheKey& key) {
  const auto file = cache.Open(key);
  if (!file.ok()) return file.status();
  const auto blob = file->Find(kBlob);
  std::string_view text;
  if (blob.ok()) text = {reinterpret_cast<const char*>(blob->data()), blob->size()};
  if (!LooksLikeFingerprint(text)) return absl::DataLossError(Concat(cache.Path(key), ": no fingerprint"));
  return std::string(text);
}

// Whether a change of a file from now on would show in its identity.
absl::Status CheckSettled(const std::vector<FileIdentity>& files, absl::Time now) {
  if (files.empty()) return absl::FailedPreconditionError("the tensors come from no file");
  for (const FileIdentity& file : files) {
    const absl::Time changed = absl::FromUnixNanos(std::max(file.modified_ns, file.changed_ns));
    if (changed + kLeastAge > now) {
      return absl::FailedPreconditionError(Concat(file.path, ": changed only just now"));
    }
  }
  return absl::OkStatus();
}

absl::Status Store(const TensorSource& tensors, const WeightCacheKey& key, const std::string& fingerprint,
                   const WeightCache& cache) {
  if (auto s = CheckUnchanged(tensors); !s.ok()) return s;
  const absl::Span<const std::byte> bytes(reinterpret_cast<const std::byte*>(fingerprint.data()),
                                          fingerprint.size());
  return cache.Write(key, {{kBlob, bytes}}, {}, absl::ZeroDuration()).status();
}

}  // namespace

absl::Status CheckUnchanged(const TensorSource& tensors) {
  for (const FileIdentity& file : tensors.Files()) {
    if (IdentifyFile(file.path) != file) {
      return absl::FailedPreconditionError(Concat(file.path, ": changed while it was read"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<KnownFingerprint> RecallFingerprint(const TensorSource& tensors, const WeightCache& cache,
                                                   absl::Time now) {
  const std::vector<FileIdentity> files = tensors.Files();
  const WeightCacheKey key = KeyOf(files);
  const absl::Status settled = CheckSettled(files, now);
  const auto recalled = settled.ok() ? Recall(cache, key) : settled;
  if (recalled.ok()) return KnownFingerprint{*recalled};
  auto fingerprint = Fingerprint(tensors);
  if (!fingerprint.ok()) return fingerprint.status();
  if (!settled.ok()) return KnownFingerprint{*std::move(fingerprint), settled, settled};
  // A file may be sound and hold no fingerprint; a sound one would not be written again.
  absl::Status stored = absl::IsDataLoss(recalled.status()) ? cache.Discard(key) : absl::OkStatus();
  if (stored.ok()) stored = Store(tensors, key, *fingerprint, cache);
  return KnownFingerprint{*std::move(fingerprint), recalled.status(), stored};
}

}  // namespace memgate
