// Times turns against a server, on the client's clock.
#ifndef MEMGATE_TESTS_BENCH_TURN_TIMING_H_
#define MEMGATE_TESTS_BENCH_TURN_TIMING_H_

#include <cstdint>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/memgate_client.h"

namespace memgate::bench {

// One answer of a fixed number of tokens: greedy, end tokens do not end it.
struct TimedTurn {
  v1::RouteInfo route;
  absl::Duration to_first_token;   // from the call to the message with the first token
  absl::Time first, last;          // when the first and the last token arrived
  int64_t tokens = 0;              // generated
  int64_t tokens_after_first = 0;  // those that arrived after the message with the first token
  int64_t resident_bytes = 0;      // of the server at the first token; 0 where its process is not known

  // 0 if all tokens came in one message.
  double decode_tokens_per_s() const;
};

// Not thread-safe, but several may use one client at a time. The client must outlive it.
class TurnTimer {
 public:
  // Token ids are drawn from [0, vocabulary_size). `server_pid` may be 0.
  TurnTimer(Client& client, int vocabulary_size, uint64_t seed, int server_pid)
      : client_(client), vocabulary_size_(vocabulary_size), random_(seed), server_pid_(server_pid) {}

  // A turn of `prompt_tokens` random tokens (0: none) and `max_tokens` generated ones in `session`, or
  // without one on the exact path if `session` is empty. Errors: those of the call; INTERNAL if fewer tokens
  // came.
  absl::StatusOr<TimedTurn> Run(const std::string& session, int prompt_tokens, int max_tokens);

 private:
  Client& client_;
  const int vocabulary_size_;
  std::mt19937_64 random_;
  const int server_pid_;
};

}  // namespace memgate::bench

#endif  // MEMGATE_TESTS_BENCH_TURN_TIMING_H_
