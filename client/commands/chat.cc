#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "client/commands/answer.h"
#include "client/commands/chat_options.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/ingest.h"
#include "client/commands/interrupt.h"
#include "client/commands/text.h"
#include "client/message_json.h"
#include "client/rpc_status.h"
#include "client/utf8.h"

namespace memgate {
namespace {

constexpr char kHelp[] =
    "  /add TEXT     let the session remember a line without answering it\n"
    "  /ingest FILE  let the session remember a file\n"
    "  /show         what the session holds\n"
    "  /reset        empty the session\n"
    "  /quit         leave (as Ctrl-D does)\n"
    "  Ctrl-C        stop what is running\n";

// A conversation at the prompt. Without a named session it makes one and deletes it at the end.
class Conversation {
 public:
  // Without `chat` lines are sent as they are; else as messages beside what it holds.
  Conversation(Client& client, const Terminal& terminal, v1::GenerateRequest request,
               std::optional<v1::ChatMessages> chat)
      : client_(client), terminal_(terminal), request_(std::move(request)), chat_(std::move(chat)) {}

  // Reads lines until /quit or the end of input. Errors of single turns are printed, not returned.
  void Run() {
    terminal_.err << terminal_.OnErr(Style::kDim,
                                     absl::StrCat("session ", request_.session(), "; /help for help\n"));
    const ScopedInterrupt on_interrupt([this] { Interrupt(); });
    std::string line;
    while (ReadLine(&line)) {
      if (line.empty()) continue;
      if (line == "/quit" || line == "/exit") return;
      const absl::Status status = line[0] == '/' ? RunSlash(line) : Say(line);
      if (absl::IsCancelled(status)) {
        terminal_.err << terminal_.OnErr(Style::kDim, "stopped\n");
      } else if (!status.ok()) {
        terminal_.err << terminal_.OnErr(Style::kBad, "error: ") << status.message() << "\n";
      }
    }
    if (terminal_.in_is_terminal) terminal_.err << "\n";
  }

 private:
  bool ReadLine(std::string* line) {
    if (terminal_.in_is_terminal) terminal_.err << terminal_.OnErr(Style::kBold, "> ") << std::flush;
    if (!std::getline(terminal_.in, *line)) return false;
    *line = std::string(absl::StripAsciiWhitespace(*line));
    return true;
  }

  absl::Status Say(const std::string& text) {
    if (absl::Status status = CheckUtf8("the line", text); !status.ok()) return status;
    v1::GenerateRequest request = request_;
    if (chat_) {
      *request.mutable_chat() = *chat_;
      v1::ChatMessage* message = request.mutable_chat()->add_messages();
      message->set_role("user");
      message->set_content(text);
    } else {
      request.set_prompt(text);
    }
    Cancellation cancellation;
    const ScopedTurn turn(this, &cancellation);
    return PrintAnswer(client_, request, terminal_, &cancellation);
  }

  absl::Status RunSlash(const std::string& line) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const auto& [command, argument] = parts;
    if (command == "/help") {
      terminal_.err << kHelp;
      return absl::OkStatus();
    }
    if (command == "/show") return Show(client_.GetSession(request_.session()));
    if (command == "/reset") return Show(client_.ResetSession(request_.session()));
    Cancellation cancellation;
    const ScopedTurn turn(this, &cancellation);
    if (command == "/add" && !argument.empty()) {
      return Show(IngestText(client_, request_.session(), absl::StrCat(argument, "\n"), &cancellation));
    }
    if (command == "/ingest" && !argument.empty()) {
      return Show(IngestFile(client_, request_.session(), argument, terminal_, &cancellation));
    }
    return absl::InvalidArgumentError(absl::StrCat("no such command: ", line, "; /help lists them"));
  }

  template <typename Message>
  absl::Status Show(const absl::StatusOr<Message>& result) {
    if (!result.ok()) return result.status();
    terminal_.err << terminal_.OnErr(Style::kDim, DescribeTokens(result->accounting())) << "\n";
    return absl::OkStatus();
  }

  // Marks what Ctrl-C stops.
  class ScopedTurn {
   public:
    ScopedTurn(Conversation* conversation, Cancellation* cancellation) : conversation_(conversation) {
      conversation_->SetTurn(cancellation);
    }
    ~ScopedTurn() { conversation_->SetTurn(nullptr); }

   private:
    Conversation* const conversation_;
  };

  void SetTurn(Cancellation* cancellation) {
    absl::MutexLock lock(&mutex_);
    turn_ = cancellation;
  }

  // Runs on the interrupt thread.
  void Interrupt() {
    absl::MutexLock lock(&mutex_);
    if (turn_ != nullptr) {
      turn_->Cancel();
    } else {
      terminal_.err << "\n/quit or Ctrl-D leaves\n> " << std::flush;
    }
  }

  Client& client_;
  const Terminal& terminal_;
  const v1::GenerateRequest request_;  // what every turn starts from
  const std::optional<v1::ChatMessages> chat_;

  absl::Mutex mutex_;
  Cancellation* turn_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// The named session, made if it does not exist yet; or a new one with a random name.
absl::StatusOr<v1::Session> OpenSession(Client& client, const Arguments& arguments) {
  const std::string id = SessionId(arguments.Text("session"));
  if (!id.empty()) {
    absl::StatusOr<v1::Session> existing = client.GetSession(id);
    if (existing.ok() || !absl::IsNotFound(existing.status())) return existing;
  }
  v1::CreateSessionRequest request;
  request.set_session_id(id);
  request.mutable_session()->set_memory_kind(arguments.Text("kind"));
  return client.CreateSession(request);
}

absl::Status RunChat(const Invocation& invocation) {
  const Arguments& arguments = invocation.arguments;
  if (absl::Status status = invocation.NoPositionals(); !status.ok()) return status;
  if (invocation.json) return UsageError("chat has no --json; generate --json --session NAME does the same");
  v1::GenerateRequest request;
  OptionReader read(arguments);
  read.Int32("max-tokens", [&](int32_t v) { request.set_max_tokens(v); });
  read.Number("temperature", [&](float v) { request.mutable_sampling()->set_temperature(v); });
  read.Uint64("seed", [&](uint64_t v) { request.mutable_sampling()->set_seed(v); });
  if (!read.status().ok()) return read.status();
  std::optional<v1::ChatMessages> chat(std::in_place);
  if (absl::Status status = ReadChatOptions(invocation, &*chat); !status.ok()) return status;

  auto client = Connect(arguments);
  if (!client.ok()) return client.status();
  const auto models = (*client)->ListModels();
  if (!models.ok()) return models.status();
  const auto session = OpenSession(**client, arguments);
  if (!session.ok()) return session.status();
  request.set_session(session->name());

  const bool has_template = !models->empty() && models->front().has_chat_template();
  if (!has_template && !FirstGiven(arguments, TemplateOptions())) chat.reset();
  Conversation(**client, invocation.terminal, request, std::move(chat)).Run();
  return arguments.Has("session") ? absl::OkStatus() : (*client)->DeleteSession(session->name());
}

}  // namespace

Command ChatCommand() {
  const std::vector<OptionSpec> own = {
      {"session", "NAME", "use and keep this session (default: one that is deleted at the end)"},
      {"kind", "KIND", "memory kind of a new session"},
      {"max-tokens", "N", "generate at most N tokens per answer (default 256)"},
      {"temperature", "X", "0 = always the likeliest token (default: the model's)"},
      {"seed", "N", "repeat random answers"}};
  return {"chat", "", "Talk to the model; the session remembers between turns",
          Joined({own, TemplateOptions()}), RunChat};
}

}  // namespace memgate
