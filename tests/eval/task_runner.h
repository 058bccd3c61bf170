// Runs evaluation tasks, which are lists of steps on sessions, against a server.
#ifndef MEMGATE_TESTS_EVAL_TASK_RUNNER_H_
#define MEMGATE_TESTS_EVAL_TASK_RUNNER_H_

#include <atomic>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "client/memgate_client.h"
#include "tests/eval/event_writer.h"
#include "tests/eval/work_pool.h"

namespace memgate::eval {

// A task is {"id": text, "steps": [step, ...]}. Its steps run one after another; sessions are named by labels
// that mean something within the task alone. A step is an object with "do" and:
//
//   create    session: label, request: CreateSessionRequest as JSON
//   reset     session
//   ingest    session, and one of  text: text
//                                  repeat: text, times: N
//                                  file: path, from, to: bytes (to absent = the file's end)
//             score: bool (default false)
//   generate  request: GenerateRequest as JSON, its `session` being a label (absent: an ephemeral request);
//             forked: bool (default false): answer in a copy, which leaves the session as it was
//   branch    session, as: label of the copy, steps: what happens to it, beside the steps that follow
//   measure   session
//   model     nothing
//
// Each step but `branch` and `reset` writes an event {"task", "event": what "do" said, "tag": the step's tag,
// ...} with what the server told: session for create and measure (there also resident_bytes of the server
// process), text, token_ids, logprobs and path for generate, tokens, total_tokens, seconds, scored_tokens and
// logprob_sum for ingest. While tokens go in,
// {"task", "event": "progress", "tokens": taken in since the last}. In the end {"task", "event": "done",
// "seconds"} or
// {"task", "event": "failed", "error"}, after which no event of this task follows.
class TaskRunner {
 public:
  // `server_pid` may be 0: resident_bytes is then absent. All references must outlive the pool's run.
  TaskRunner(Client& client, EventWriter& events, WorkPool& pool, int server_pid)
      : client_(client), events_(events), pool_(pool), server_pid_(server_pid) {}

  // Queues a task.
  void Add(nlohmann::json task);

  // Whether a task failed so far.
  bool failed() const { return failed_; }

 private:
  struct Task;
  struct Part;
  using Event = nlohmann::ordered_json;

  void RunPart(Part& part);
  absl::Status RunStep(Part& part, const nlohmann::json& step);
  absl::Status Create(Part& part, const nlohmann::json& step, Event* event);
  absl::Status Ingest(Part& part, const nlohmann::json& step, Event* event);
  absl::Status Generate(Part& part, const nlohmann::json& step, Event* event);
  absl::Status Measure(Part& part, const nlohmann::json& step, Event* event);
  absl::Status Describe(Event* event);
  absl::Status Branch(Part& part, const nlohmann::json& step);

  Client& client_;
  EventWriter& events_;
  WorkPool& pool_;
  const int server_pid_;
  std::atomic<bool> failed_ = false;
};

}  // namespace memgate::eval

#endif  // MEMGATE_TESTS_EVAL_TASK_RUNNER_H_
