#include "engine/kernels/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/kernels/usable_cores.h"
#include "hwy/cache_control.h"

namespace memgate {
namespace {

// Between two parallel loops of a forward pass lie some 10 microseconds; a thread that sleeps takes some 50
// to come back.
constexpr std::chrono::microseconds kSpinTime(50);
constexpr int kPausesPerClock = 32;
constexpr size_t kCacheLineBytes = 64;

// One call of ParallelFor, on its caller's stack.
struct Loop {
  int64_t count;
  int workers;
  absl::FunctionRef<void(int64_t, int64_t, int)> body;

  // An exception ends the process here, not somewhere behind a loop that is still running.
  void Run(int worker) const noexcept {
    body(count * worker / workers, count * (worker + 1) / workers, worker);
  }
};

struct Range {
  uint32_t begin, end;
};

// What is left of a thread's items in a balanced loop. Their owner takes from the front, the others from the
// back, a quarter of what is left each time: few takes, and short parts when the loop ends.
class alignas(kCacheLineBytes) Share {
 public:
  // REQUIRES: nobody takes meanwhile. Memory order: the loop is posted after it.
  void Fill(Range range) { left_.store(Pack(range), std::memory_order_relaxed); }

  // An empty range where nothing is left. Memory order: a part is nothing but a number.
  Range Take(bool from_front) {
    for (uint64_t left = left_.load(std::memory_order_relaxed);;) {
      const auto [begin, end] = Unpack(left);
      const uint32_t part = end - begin - (end - begin) * uint64_t{3} / 4;
      const uint32_t middle = from_front ? begin + part : end - part;
      const Range front = {begin, middle}, back = {middle, end};
      const uint64_t rest = Pack(from_front ? back : front);
      if (left_.compare_exchange_weak(left, rest, std::memory_order_relaxed)) {
        return from_front ? front : back;
      }
    }
  }

 private:
  static uint64_t Pack(Range range) { return uint64_t{range.begin} << 32 | range.end; }
  static Range Unpack(uint64_t left) {
    return {static_cast<uint32_t>(left >> 32), static_cast<uint32_t>(left)};
  }

  std::atomic<uint64_t> left_{0};
};

// One thread and the range that it is to run. Its owner posts a range, runs one of its own and then calls
// Finish: a range that the thread has not begun by then, because it slept or because another program has its
// core, the owner takes back and runs itself.
class alignas(kCacheLineBytes) Worker {
 public:
  Worker(int number, bool spins) : number_(number), spins_(spins), thread_([this] { Serve(); }) {}
  ~Worker() {
    Enter(State::kStopping);
    thread_.join();
  }

  void Post(const Loop& loop) {
    loop_ = &loop;
    Enter(State::kPosted);
  }

  void Finish() {
    if (Move(State::kPosted, State::kIdle)) return loop_->Run(number_);
    AwaitChangeFrom(State::kRunning);
  }

 private:
  // kIdle -> kPosted (owner) -> kRunning -> kIdle (thread), or kPosted -> kIdle (owner takes the range back);
  // kIdle -> kStopping (owner).
  enum class State : uint32_t { kIdle, kPosted, kRunning, kStopping };

  void Serve() {
    for (;;) {
      AwaitChangeFrom(State::kIdle);
      if (Move(State::kPosted, State::kRunning)) {
        loop_->Run(number_);
        Enter(State::kIdle);
      } else if (state_.load(std::memory_order_relaxed) == State::kStopping) {
        return;
      }
    }
  }

  // Sequentially consistent, so that a waiter either sees the new state or is seen by notify_one.
  void Enter(State state) {
    state_.store(state);
    state_.notify_one();
  }
  // Both sides may try to leave kPosted; one succeeds.
  bool Move(State from, State to) { return state_.compare_exchange_strong(from, to); }

  void AwaitChangeFrom(State state) const {
    const auto changed = [&] { return state_.load(std::memory_order_acquire) != state; };
    if (spins_) {
      const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
      do {
        for (int i = 0; i < kPausesPerClock; ++i) {
          if (changed()) return;
          hwy::Pause();
        }
      } while (std::chrono::steady_clock::now() < deadline);
    }
    while (!changed()) state_.wait(state, std::memory_order_acquire);
  }

  const int number_;
  const bool spins_;
  const Loop* loop_ = nullptr;  // written in kIdle by the owner
  std::atomic<State> state_{State::kIdle};
  std::thread thread_;  // last: it uses the others
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads) : shares_(threads) {
    // Threads that share cores would spin in each other's way.
    const bool spins = threads <= UsableCores();
    try {
      for (int number = 1; number < threads; ++number) {
        workers_.push_back(std::make_unique<Worker>(number, spins));
      }
    } catch (const std::system_error&) {
      // The system has no more threads for us; those that there are do the work.
    }
  }

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  bool running() const { return running_; }
  Share& share(int thread) { return shares_[thread]; }

  void Run(const Loop& loop) {
    running_ = true;
    for (int i = 0; i + 1 < loop.workers; ++i) workers_[i]->Post(loop);
    loop.Run(0);
    for (int i = 0; i + 1 < loop.workers; ++i) workers_[i]->Finish();
    running_ = false;
  }

 private:
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Share> shares_;  // one per thread
  bool running_ = false;
};

// Of this thread; none where it works alone.
thread_local std::unique_ptr<ThreadPool> pool;

// Threads that a loop of so many items is worth, 1 from within a loop.
int Workers(int64_t count, int64_t least_items) {
  if (pool == nullptr || pool->running()) return 1;
  return static_cast<int>(std::clamp<int64_t>(count / least_items, 1, pool->threads()));
}

}  // namespace

void SetComputeThreads(int threads) {
  if (threads <= 0) threads = UsableCores();
  if (threads == ComputeThreads()) return;
  pool.reset();
  if (threads > 1) pool = std::make_unique<ThreadPool>(threads);
}

int ComputeThreads() { return pool ? pool->threads() : 1; }

void ParallelFor(int64_t count, int64_t least_items, absl::FunctionRef<void(int64_t, int64_t, int)> body) {
  const int workers = Workers(count, least_items);
  if (workers > 1) {
    pool->Run({.count = count, .workers = workers, .body = body});
  } else if (count > 0) {
    body(0, count, 0);
  }
}

void ParallelForBalanced(int64_t count, int64_t least_items,
                         absl::FunctionRef<void(int64_t, int64_t, int)> body) {
  const int workers = Workers(count, least_items);
  if (workers == 1 || count > std::numeric_limits<uint32_t>::max()) {
    return ParallelFor(count, least_items, body);
  }
  for (int64_t w = 0; w < workers; ++w) {
    const int64_t begin = count * w / workers, end = count * (w + 1) / workers;
    pool->share(w).Fill({static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
  }
  ThreadPool& shares = *pool;  // of the caller; `pool` is another one on the other threads
  ParallelFor(workers, 1, [&](int64_t, int64_t, int worker) {
    for (int i = 0; i < workers; ++i) {
      Share& share = shares.share((worker + i) % workers);
      for (Range part = share.Take(i == 0); part.begin < part.end; part = share.Take(i == 0)) {
        body(part.begin, part.end, worker);
      }
    }
  });
}

}  // namespace memgate
