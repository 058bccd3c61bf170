// Two threads meet: whoever comes second goes on with the work.
#ifndef MEMGATE_SERVER_RENDEZVOUS_H_
#define MEMGATE_SERVER_RENDEZVOUS_H_

#include <atomic>

namespace memgate {

// A turn may end before the call that submitted it returns. What follows the end must wait for both, or a
// later turn could be mistaken for the earlier one. Reusable: the second arrival makes it fresh again.
class Rendezvous {
 public:
  // True for the second of two arrivals, which sees everything that the first one did before.
  bool ArriveSecond() {
    if (!arrived_.exchange(true, std::memory_order_acq_rel)) return false;
    arrived_.store(false, std::memory_order_release);
    return true;
  }

 private:
  std::atomic<bool> arrived_{false};
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_RENDEZVOUS_H_
