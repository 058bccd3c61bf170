#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

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

  absl::StatusOr<std::string> Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int bytes = 0;
    if (!ok_ || EVP_DigestFinal_ex(context_.get(), digest, &bytes) != 1) {
      return absl::InternalError("OpenSSL refused to compute SHA-256");
    }
    return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest), bytes));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool ok_;
};

void UpdateTerminated(Sha256& hash, std::string_view text) {
  hash.Update(text.data(), text.size());
  hash.Update("", 1);  // the byte 0
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
    for (const int64_t size : view->shape) {
      const uint64_t dimension = static_cast<uint64_t>(size);
      hash.Update(&dimension, sizeof(dimension));  // little-endian, as the host (tensor.cc)
    }
    UpdateValues(hash, *view);
  }
  for (const auto& [key, value] : settings) {
    UpdateTerminated(hash, key);
    UpdateTerminated(hash, value);
  }
  const absl::StatusOr<std::string> hex = hash.Hex();
  if (!hex.ok()) return hex.status();
  return absl::StrCat("sha256:", *hex);
}

}  // namespace memgate
