// One turn of a conversation: what is asked, what happens, how it ends.
#ifndef MEMGATE_ENGINE_SCHEDULING_TURN_H_
#define MEMGATE_ENGINE_SCHEDULING_TURN_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/routing/router.h"
#include "engine/sampling/sampler.h"
#include "engine/session/chat_tail.h"
#include "engine/session/shape.h"
#include "engine/text/tokenizer.h"

namespace memgate {

class Session;          // state of one conversation; engine/scheduling/session.h
class SessionLease;     // the right to run turns on a session; engine/scheduling/session.h
class TokenConstraint;  // which tokens an answer may consist of; engine/structured/token_constraint.h
class Turn;             // one running request; engine/scheduling/turn_state.h

enum class TurnMode { kGenerate, kIngest };
enum class FinishReason { kStop, kLength, kCut };

// How likely a text is to the model.
struct TextScore {
  int64_t tokens = 0;      // that were scored
  double logprob_sum = 0;  // of their natural log-probabilities, each given all before it in the session
};

struct TurnRequest {
  // The lease of a named session, or null for an ephemeral turn (kGenerate only).
  std::shared_ptr<SessionLease> lease;
  TurnMode mode = TurnMode::kGenerate;
  std::vector<TokenId> tokens;  // input; may be empty only if the session has a pending token: always
                                // once it holds tokens, except after a turn that broke off in its input
  int64_t max_new_tokens = 256;
  SamplingParams sampling;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool rebuilds = false;  // the session forgets what it holds when the turn begins; a refused turn leaves it
  // The session's pending token ended an answer, and is dropped: the input says how the answer ends. Only
  // with input, and after such an answer (ChatTail).
  bool replaces_end = false;
  // The input are chat messages: what the session is to know of its chat, to which the answer is added.
  // Absent: a turn without input goes on with the answer before it, and any other input is no chat.
  std::optional<ChatTail> chat;
  // kGenerate only: the form of the answer, from Engine::Constrain; null = any. Not with ignore_eos.
  std::shared_ptr<TokenConstraint> constraint;
  // kIngest only: what the scores of `tokens` are added to; absent = they are not scored. Only a token with
  // nothing before it has no score: the first of an empty session, or of one without a pending token. A step
  // scores at most as many tokens as there may be active turns.
  std::optional<TextScore> score;
  PathPreference preference = PathPreference::kAuto;
  absl::Time deadline = absl::InfiniteFuture();
};

struct TurnStart {
  RouteDecision route;
  int64_t prompt_tokens = 0;
  int64_t exact_limit_tokens = 0;
  std::string memory_kind;
  TokenAccounting accounting;  // once the prompt is in
  int64_t session_bytes = 0;
  int64_t full_kv_bytes = 0;
};

struct TurnDelta {
  std::string text;  // whole UTF-8 characters
  std::vector<SampledToken> tokens;
};

struct TurnProgress {
  int64_t processed_tokens = 0;  // of this turn's input
  TokenAccounting accounting;
  TextScore score;  // the request's and that of what was taken in; nothing if not asked for
};

struct TurnEnd {
  // OK, CANCELLED, DEADLINE_EXCEEDED, or what went wrong.
  absl::Status status;
  FinishReason reason = FinishReason::kStop;
  std::string matched_stop;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t folded_tokens = 0;
  TokenAccounting accounting;
  TextScore score;  // as in TurnProgress
  absl::Duration queue_time, prefill_time, decode_time, time_to_first_token;
  std::vector<absl::Duration> inter_token;  // one per generated token after the first
};

// Receives the events of one turn, in order, on the engine's thread: must return quickly and never block.
// OnStart comes once unless the turn is refused; OnEnd always comes exactly once and is the last call.
class TurnObserver {
 public:
  virtual ~TurnObserver() = default;
  virtual void OnStart(const TurnStart& start) = 0;
  virtual void OnProgress(const TurnProgress& progress) = 0;  // after each prefill part
  virtual void OnDelta(const TurnDelta& delta) = 0;
  virtual void OnEnd(const TurnEnd& end) = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_SCHEDULING_TURN_H_
