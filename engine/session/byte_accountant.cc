#include "engine/session/byte_accountant.h"

#include "engine/base/strings.h"

namespace memgate {

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    Release();
    accountant_ = std::exchange(other.accountant_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void Reservation::Release() {
  if (accountant_ != nullptr) accountant_->Return(bytes_);
  accountant_ = nullptr;
  bytes_ = 0;
}

void Reservation::ShrinkTo(int64_t bytes) {
  if (accountant_ == nullptr || bytes >= bytes_) return;
  accountant_->Return(bytes_ - bytes);
  bytes_ = bytes;
}

absl::Status Reservation::ResizeTo(int64_t bytes, std::string_view what) {
  if (bytes <= bytes_) {
    ShrinkTo(bytes);
    return absl::OkStatus();
  }
  if (accountant_ == nullptr) return absl::InternalError(Concat(what, ": bytes of no accountant"));
  absl::StatusOr<Reservation> more = accountant_->Reserve(bytes - bytes_, what);
  if (!more.ok()) return more.status();
  bytes_ += std::exchange(more->bytes_, 0);
  return absl::OkStatus();
}

absl::StatusOr<Reservation> ByteAccountant::Reserve(int64_t bytes, std::string_view what) {
  if (bytes < 0) return absl::InternalError(Concat(what, ": negative number of bytes"));
  MutexLock lock(&mutex_);
  const int64_t left = budget_bytes_ - reserved_bytes_;
  if (bytes > left) {
    return absl::ResourceExhaustedError(Concat(what, " needs ", bytes, " bytes; ", left,
                                               " of the memory budget of ", budget_bytes_, " are left"));
  }
  reserved_bytes_ += bytes;
  return Reservation(this, bytes);
}

int64_t ByteAccountant::reserved_bytes() const {
  MutexLock lock(&mutex_);
  return reserved_bytes_;
}

void ByteAccountant::Return(int64_t bytes) {
  MutexLock lock(&mutex_);
  reserved_bytes_ -= bytes;
}

}  // namespace memgate
