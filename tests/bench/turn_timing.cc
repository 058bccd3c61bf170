#include "tests/bench/turn_timing.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace memgate::bench {
namespace {

// 0 if there is no such process.
int64_t ResidentBytes(int pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace

double TimedTurn::decode_tokens_per_s() const {
  return last > first ? static_cast<double>(tokens_after_first) / absl::ToDoubleSeconds(last - first) : 0;
}

absl::StatusOr<TimedTurn> TurnTimer::Run(const std::string& session, int prompt_tokens, int max_tokens) {
  v1::GenerateRequest request;
  request.set_session(session);
  if (session.empty()) request.set_path_preference(v1::PATH_PREFERENCE_EXACT);
  std::uniform_int_distribution<int32_t> id(0, vocabulary_size_ - 1);
  for (int i = 0; i < prompt_tokens; ++i) request.mutable_tokens()->add_ids(id(random_));
  request.set_max_tokens(max_tokens);
  request.set_ignore_eos(true);
  request.mutable_sampling()->set_temperature(0);

  TimedTurn turn;
  GenerateCallbacks callbacks;
  callbacks.on_route = [&](const v1::RouteInfo& route) { turn.route = route; };
  callbacks.on_delta = [&](const v1::TextDelta& delta) {
    if (delta.token_ids().empty()) return;
    turn.last = absl::Now();
    if (turn.tokens == 0) {
      turn.first = turn.last;
      if (server_pid_ != 0) turn.resident_bytes = ResidentBytes(server_pid_);
    } else {
      turn.tokens_after_first += delta.token_ids_size();
    }
    turn.tokens += delta.token_ids_size();
  };
  const absl::Time start = absl::Now();
  if (absl::Status status = client_.Generate(request, callbacks); !status.ok()) return status;
  if (turn.tokens != max_tokens) {
    return absl::InternalError(absl::StrCat("asked for ", max_tokens, " tokens, ", turn.tokens, " came"));
  }
  turn.to_first_token = turn.first - start;
  return turn;
}

}  // namespace memgate::bench
