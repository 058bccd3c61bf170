// Counters and histograms of what the server does. Labels never hold session names, tenants or other ids.
#ifndef MEMGATE_SERVER_METRICS_H_
#define MEMGATE_SERVER_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/scheduling/turn.h"
#include "memgate/v1/inference.pb.h"

namespace memgate {

// Thread-safe.
class Metrics {
 public:
  Metrics();

  // A finished call. `method` is the RPC's name, `code` that of its status.
  void CountCall(absl::string_view method, absl::string_view code, absl::Duration duration);
  void CountRoute(const RouteDecision& route);
  // A turn that began and whose answer has to have this form. Nothing if it need not have any.
  void CountFormat(v1::ResponseFormat::FormatCase format);
  // A finished turn that generated. `before_submit` is the time from arrival to Submit.
  void CountTurn(const TurnEnd& end, absl::Duration before_submit);
  // Tokens that entered a session without an answer.
  void CountIngested(int64_t tokens);
  void CountExpired(int sessions);

  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }

 private:
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Histogram>& call_seconds_;
  prometheus::Family<prometheus::Counter>& routes_;
  prometheus::Family<prometheus::Counter>& formats_;
  prometheus::Histogram& first_token_seconds_;
  prometheus::Histogram& inter_token_seconds_;
  prometheus::Histogram& queue_seconds_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generated_tokens_;
  prometheus::Counter& ingested_tokens_;
  prometheus::Counter& expired_sessions_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_METRICS_H_
