#include "tests/eval/task_runner.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/message_json.h"

namespace memgate::eval {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kChunkBytes = 64 * 1024;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(250);

template <typename Message>
absl::StatusOr<Message> ReadMessage(const json& object) {
  Message message;
  const auto status = google::protobuf::util::JsonStringToMessage(object.dump(), &message);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("request: ", status.ToString()));
  return message;
}

// Hands out a text again and again.
TextSource RepeatedText(const std::string& text, int64_t times) {
  const int64_t at_once =
      std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / std::max<size_t>(1, text.size())));
  return [text, at_once, left = times](std::string* chunk) mutable -> absl::StatusOr<bool> {
    if (left <= 0) return false;
    chunk->clear();
    for (int64_t i = std::min(at_once, left); i > 0; --i, --left) chunk->append(text);
    return true;
  };
}

// Bytes [from, to) of a file, or all from `from` on if `to` is negative.
absl::StatusOr<TextSource> FilePart(const std::string& path, int64_t from, int64_t to) {
  auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
  if (!file->seekg(from)) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return [file, path, at = from, to](std::string* chunk) mutable -> absl::StatusOr<bool> {
    const size_t wanted = to < 0 ? kChunkBytes : std::min<size_t>(kChunkBytes, std::max<int64_t>(0, to - at));
    chunk->resize(wanted);
    file->read(chunk->data(), static_cast<std::streamsize>(wanted));
    chunk->resize(static_cast<size_t>(file->gcount()));
    at += file->gcount();
    if (to >= 0 && chunk->size() < wanted)
      return absl::OutOfRangeError(absl::StrCat(path, " ends at byte ", at));
    return !chunk->empty();
  };
}

absl::StatusOr<TextSource> SourceOf(const json& step) {
  if (step.contains("file")) {
    return FilePart(step["file"].get<std::string>(), step.value("from", int64_t{0}),
                    step.value("to", int64_t{-1}));
  }
  if (step.contains("repeat"))
    return RepeatedText(step["repeat"].get<std::string>(), step.at("times").get<int64_t>());
  return RepeatedText(step.at("text").get<std::string>(), 1);
}

// The resident set of a process.
absl::StatusOr<int64_t> ResidentBytes(int pid) {
  std::ifstream status(absl::StrCat("/proc/", pid, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return absl::NotFoundError(absl::StrCat("process ", pid, " tells no VmRSS"));
}

}  // namespace

// Shared by the parts of a task. Its end is written when the last part has let go of it.
struct TaskRunner::Task {
  Task(TaskRunner& runner, std::string id) : runner(runner), id(std::move(id)), start(absl::Now()) {}

  ~Task() {
    const absl::MutexLock lock(&mutex);
    if (!failed) {
      runner.events_.Write(
          {{"task", id}, {"event", "done"}, {"seconds", absl::ToDoubleSeconds(absl::Now() - start)}});
    }
  }

  void Write(const Event& event) {
    const absl::MutexLock lock(&mutex);
    if (!failed) runner.events_.Write(event);
  }

  void Fail(absl::string_view error) {
    const absl::MutexLock lock(&mutex);
    if (failed) return;
    failed = true;
    runner.failed_ = true;
    runner.events_.Write({{"task", id}, {"event", "failed"}, {"error", error}});
  }

  bool HasFailed() {
    const absl::MutexLock lock(&mutex);
    return failed;
  }

  TaskRunner& runner;
  const std::string id;
  const absl::Time start;
  absl::Mutex mutex;
  bool failed ABSL_GUARDED_BY(mutex) = false;
};

// A list of steps and the sessions that they own, which end with it.
struct TaskRunner::Part {
  Part(std::shared_ptr<Task> task, json steps) : task(std::move(task)), steps(std::move(steps)) {}
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  ~Part() {
    for (const auto& [label, name] : sessions) (void)task->runner.client_.DeleteSession(name);
  }

  absl::StatusOr<std::string> SessionOf(const json& object) const {
    const auto found = sessions.find(object.at("session").get<std::string>());
    if (found == sessions.end())
      return absl::NotFoundError(absl::StrCat("no session ", object["session"].dump()));
    return found->second;
  }

  const std::shared_ptr<Task> task;
  const json steps;
  std::map<std::string, std::string> sessions;  // label -> name on the server
};

void TaskRunner::Add(json task) {
  pool_.AddLast([this, task = std::move(task)] {
    auto shared = std::make_shared<Task>(*this, task.value("id", ""));
    Part part(std::move(shared), task.value("steps", json::array()));
    RunPart(part);
  });
}

void TaskRunner::RunPart(Part& part) {
  for (const json& step : part.steps) {
    if (part.task->HasFailed()) return;
    absl::Status status;
    try {
      status = RunStep(part, step);
    } catch (const json::exception& error) {  // a field is missing or of the wrong type
      status = absl::InvalidArgumentError(error.what());
    }
    if (!status.ok()) {
      std::string shown = step.dump(-1, ' ', false, json::error_handler_t::replace);
      if (shown.size() > 200) shown = absl::StrCat(shown.substr(0, 200), "...");
      return part.task->Fail(absl::StrCat(absl::StatusCodeToString(status.code()), ": ",
                                          absl::string_view(status.message()), " in step ", shown));
    }
  }
}

absl::Status TaskRunner::RunStep(Part& part, const json& step) {
  const std::string what = step.at("do").get<std::string>();
  if (what == "branch") return Branch(part, step);
  if (what == "reset") {
    const auto session = part.SessionOf(step);
    return session.ok() ? client_.ResetSession(*session).status() : session.status();
  }
  Event event = {{"task", part.task->id}, {"event", what}};
  if (step.contains("tag")) event["tag"] = step["tag"];
  const absl::Status status = what == "create"     ? Create(part, step, &event)
                              : what == "ingest"   ? Ingest(part, step, &event)
                              : what == "generate" ? Generate(part, step, &event)
                              : what == "measure"  ? Measure(part, step, &event)
                              : what == "model"    ? Describe(&event)
                                                   : absl::InvalidArgumentError("unknown step");
  if (status.ok()) part.task->Write(event);
  return status;
}

absl::Status TaskRunner::Create(Part& part, const json& step, Event* event) {
  const std::string label = step.at("session").get<std::string>();
  auto request = ReadMessage<v1::CreateSessionRequest>(step.value("request", json::object()));
  if (!request.ok()) return request.status();
  const auto session = client_.CreateSession(*request);
  if (!session.ok()) return session.status();
  part.sessions[label] = session->name();
  (*event)["session"] = ToJson(*session);
  return absl::OkStatus();
}

absl::Status TaskRunner::Ingest(Part& part, const json& step, Event* event) {
  const auto session = part.SessionOf(step);
  if (!session.ok()) return session.status();
  const auto source = SourceOf(step);
  if (!source.ok()) return source.status();
  int64_t reported = 0;
  const absl::Time start = absl::Now();
  absl::Time last = start;
  const auto report = [&](const v1::IngestProgress& progress) {
    if (!progress.done() && absl::Now() - last < kProgressInterval) return;
    last = absl::Now();
    part.task->Write(
        {{"task", part.task->id}, {"event", "progress"}, {"tokens", progress.ingested_tokens() - reported}});
    reported = progress.ingested_tokens();
  };
  const auto last_progress =
      client_.Ingest(*session, *source, report, nullptr, {.score = step.value("score", false)});
  if (!last_progress.ok()) return last_progress.status();
  (*event)["seconds"] = absl::ToDoubleSeconds(absl::Now() - start);
  (*event)["tokens"] = last_progress->ingested_tokens();
  (*event)["total_tokens"] = last_progress->accounting().total_tokens();
  (*event)["path"] = EnumLabel(last_progress->path());
  (*event)["scored_tokens"] = last_progress->scored_tokens();
  (*event)["logprob_sum"] = last_progress->logprob_sum();
  return absl::OkStatus();
}

absl::Status TaskRunner::Generate(Part& part, const json& step, Event* event) {
  auto request = ReadMessage<v1::GenerateRequest>(step.at("request"));
  if (!request.ok()) return request.status();
  std::string copy;
  const absl::Cleanup forget_copy = [&] {
    if (!copy.empty()) (void)client_.DeleteSession(copy);
  };
  if (!request->session().empty()) {
    const auto session = part.SessionOf(step["request"]);
    if (!session.ok()) return session.status();
    request->set_session(*session);
    if (step.value("forked", false)) {
      const auto fork = client_.ForkSession(*session, "");
      if (!fork.ok()) return fork.status();
      copy = fork->name();
      request->set_session(copy);
    }
  }
  std::string text;
  Event ids = Event::array(), logprobs = Event::array();
  GenerateCallbacks callbacks;
  callbacks.on_route = [&](const v1::RouteInfo& route) {
    (*event)["path"] = EnumLabel(route.path());
    (*event)["prompt_tokens"] = route.prompt_tokens();
  };
  callbacks.on_delta = [&](const v1::TextDelta& delta) {
    text += delta.text();
    for (const int32_t id : delta.token_ids()) ids.push_back(id);
    for (const v1::TokenLogprobs& token : delta.logprobs()) {
      logprobs.push_back(token.chosen().logprob());
      for (const v1::TokenLogprob& other : token.top()) logprobs.push_back(other.logprob());
    }
  };
  if (auto status = client_.Generate(*request, callbacks); !status.ok()) return status;
  (*event)["text"] = text;
  (*event)["token_ids"] = ids;
  if (!logprobs.empty()) (*event)["logprobs"] = logprobs;
  return absl::OkStatus();
}

absl::Status TaskRunner::Measure(Part& part, const json& step, Event* event) {
  const auto name = part.SessionOf(step);
  if (!name.ok()) return name.status();
  const auto session = client_.GetSession(*name);
  if (!session.ok()) return session.status();
  (*event)["session"] = ToJson(*session);
  if (server_pid_ == 0) return absl::OkStatus();
  const auto resident = ResidentBytes(server_pid_);
  if (!resident.ok()) return resident.status();
  (*event)["resident_bytes"] = *resident;
  return absl::OkStatus();
}

absl::Status TaskRunner::Describe(Event* event) {
  const auto models = client_.ListModels();
  if (!models.ok()) return models.status();
  if (models->empty()) return absl::NotFoundError("the server has no model");
  (*event)["model"] = ToJson(models->front());
  return absl::OkStatus();
}

absl::Status TaskRunner::Branch(Part& part, const json& step) {
  const auto session = part.SessionOf(step);
  if (!session.ok()) return session.status();
  const std::string label = step.at("as").get<std::string>();
  auto branch = std::make_shared<Part>(part.task, step.at("steps"));
  const auto fork = client_.ForkSession(*session, "");
  if (!fork.ok()) return fork.status();
  branch->sessions[label] = fork->name();
  pool_.AddFirst([this, branch] { RunPart(*branch); });
  return absl::OkStatus();
}

}  // namespace memgate::eval
