// An observer that keeps what it hears, and lets a test act inside the events.
#ifndef MEMGATE_TESTS_SUPPORT_TURN_RECORDER_H_
#define MEMGATE_TESTS_SUPPORT_TURN_RECORDER_H_

#include <functional>
#include <string>
#include <vector>

#include "engine/scheduling/turn.h"
#include "tests/support/notification.h"

namespace memgate {

class TurnRecorder : public TurnObserver {
 public:
  void OnStart(const TurnStart& start) override {
    this->start = start;
    ++starts;
    if (on_start) on_start();
  }
  void OnProgress(const TurnProgress& progress) override {
    this->progress.push_back(progress);
    if (on_progress) on_progress();
  }
  void OnDelta(const TurnDelta& delta) override {
    text += delta.text;
    for (const SampledToken& token : delta.tokens) tokens.push_back(token.id);
    if (on_delta) on_delta();
  }
  void OnEnd(const TurnEnd& end) override {
    this->end = end;
    ended.Notify();
  }

  // Blocks until the turn is over, then returns how it ended.
  const TurnEnd& Wait() {
    ended.WaitForNotification();
    return end;
  }

  // Called on the engine's thread.
  std::function<void()> on_start, on_progress, on_delta;

  TurnStart start;
  int starts = 0;
  std::vector<TurnProgress> progress;
  std::string text;
  std::vector<TokenId> tokens;
  TurnEnd end;
  Notification ended;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_TURN_RECORDER_H_
