#include "client/cancellation.h"

namespace memgate {

void Cancellation::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

ScopedAttach::ScopedAttach(Cancellation* cancellation, grpc::ClientContext* context)
    : cancellation_(cancellation) {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->context_ = context;
  if (cancellation_->cancelled_) context->TryCancel();
}

ScopedAttach::~ScopedAttach() {
  if (cancellation_ == nullptr) return;
  absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->context_ = nullptr;
}

}  // namespace memgate
