#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/checkpoint/hugging_face.h"

namespace memgate {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    ok_ = context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }

  void Update(const void* data, size_t bytes) {
    ok_ = ok_ && EVP_DigestUpdate(context_.get(), data, bytes) == 1;
  }

  // "sha256:<hex>".
  absl::StatusOr<std::string> Name() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int bytes = 0;
    if (!ok_ || EVP_DigestFinal_ex(context_.get(), digest, &bytes) != 1) {
      return absl::InternalError("OpenSSL refused to compute SHA-256");
    }
    const std::string text(reinterpret_cast<const char*>(digest), bytes);
    return absl::StrCat("sha256:", absl::BytesToHexString(text));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool ok_;
};

void UpdateTerminated(Sha256& hash, std::string_view text) {
  hash.Update(text.data(), text.size());
  hash.Update("", 1);  // the byte 0
}

template <typename Number>
void UpdateNumber(Sha256& hash, Number number) {
  hash.Update(&number, sizeof(number));  // little-endian, as the host (dtype.cc)
}

// A length tells a list from the one that follows.
template <typename Number>
void UpdateNumbers(Sha256& hash, const std::vector<Number>& numbers) {
  UpdateNumber(hash, static_cast<uint64_t>(numbers.size()));
  for (const Number number : numbers) UpdateNumber(hash, number);
}

void UpdateRope(Sha256& hash, const RopeConfig& rope) {
  UpdateNumber(hash, int32_t{rope.rotates});
  UpdateNumber(hash, int32_t{rope.rotated_dims});
  UpdateNumber(hash, rope.theta);
  UpdateNumber(hash, rope.linear_factor);
  UpdateNumbers(hash, rope.divisors);
  UpdateNumber(hash, int32_t{rope.llama3.has_value()});
  if (const auto& scaling = rope.llama3) {
    UpdateNumbers<double>(hash, {scaling->factor, scaling->low_freq_factor, scaling->high_freq_factor});
    UpdateNumber(hash, scaling->original_max_position);
  }
  UpdateNumber(hash, int32_t{rope.longrope.has_value()});
  if (const auto& scaling = rope.longrope) {
    // As GGUF files hold them; the last bit of a double may depend on the machine's logarithm.
    UpdateNumbers<float>(hash, {scaling->short_factors.begin(), scaling->short_factors.end()});
    UpdateNumbers<float>(hash, {scaling->long_factors.begin(), scaling->long_factors.end()});
    UpdateNumber(hash, scaling->original_max_position);
    UpdateNumber(hash, static_cast<float>(scaling->attention_factor));
  }
}

// The bytes of all rows, in order.
void UpdateValues(Sha256& hash, const TensorView& view) {
  if (view.paired_rows == 0) return hash.Update(view.data, view.bytes);
  for (int64_t row = 0; row < view.rows(); ++row) {
    const TensorView part = view.Row(row);
    hash.Update(part.data, part.bytes);
  }
}

}  // namespace

absl::StatusOr<std::string> Fingerprint(const TensorSource& tensors,
                                        absl::Span<const std::pair<std::string, std::string>> settings) {
  Sha256 hash;
  for (const std::string& name : tensors.Names()) {
    const absl::StatusOr<TensorView> view = tensors.Find(name);
    if (!view.ok()) return view.status();
    UpdateTerminated(hash, name);
    UpdateTerminated(hash, DTypeName(view->dtype));
    for (const int64_t size : view->shape) UpdateNumber(hash, static_cast<uint64_t>(size));
    UpdateValues(hash, *view);
  }
  for (const auto& [key, value] : settings) {
    UpdateTerminated(hash, key);
    UpdateTerminated(hash, value);
  }
  return hash.Name();
}

absl::StatusOr<std::string> FingerprintOfNumbers(absl::Span<const absl::Span<const float>> lists) {
  Sha256 hash;
  for (const absl::Span<const float> list : lists) {
    UpdateNumber(hash, static_cast<uint64_t>(list.size()));
    hash.Update(list.data(), list.size() * sizeof(float));
  }
  return hash.Name();
}

absl::StatusOr<std::string> ConfigFingerprint(const ModelConfig& config) {
  Sha256 hash;
  for (const RopeConfig& rope : config.ropes) UpdateRope(hash, rope);
  for (int l = 0; l < config.num_layers; ++l) {
    const LayerConfig layer = config.layer(l);
    UpdateNumber(hash, layer.window);
    UpdateNumber(hash, int32_t{layer.rope});
  }
  for (const int number : {config.num_layers, config.num_heads, config.num_kv_heads, config.head_dim}) {
    UpdateNumber(hash, int32_t{number});
  }
  UpdateNumber(hash, static_cast<int32_t>(config.activation));
  UpdateNumber(hash, config.query_scalar);
  for (const float number : {config.rms_norm_eps, config.embedding_scale, config.attention_softcap}) {
    UpdateNumber(hash, number);
  }
  return hash.Name();
}

}  // namespace memgate
