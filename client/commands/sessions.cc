#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/session_memory.h"
#include "client/commands/text.h"
#include "client/message_json.h"
#include "client/rpc_status.h"

namespace memgate {
namespace {

constexpr int kHistogramColumns = 64;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string LocalTime(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", ToTime(time), absl::LocalTimeZone());
}

std::string Describe(const v1::Session& session) {
  const v1::MemoryShape& shape = session.shape();
  std::string text = absl::StrCat(
      session.name(), " on ", session.model(), "\n  memory   ", session.memory_kind(), ": ",
      shape.sink_tokens(), " sinks, window ", shape.window_tokens(), ", segment ", shape.segment_tokens(),
      ", ", shape.salient_tokens(), " salient\n  holds    ", DescribeTokens(session.accounting()),
      "\n  bytes    ", HumanBytes(session.session_bytes()), ", keys and values ", session.kv_format(),
      ", full KV cache ", HumanBytes(session.full_kv_bytes()), "\n  turns    ", session.turns(),
      session.busy() ? ", one running" : "", "; ", Grouped(session.memory_writes()),
      " memory writes\n  created  ", LocalTime(session.create_time()), ", last used ",
      LocalTime(session.last_used_time()));
  if (session.has_expire_time()) absl::StrAppend(&text, ", expires ", LocalTime(session.expire_time()));
  for (const auto& [key, value] : session.labels()) absl::StrAppend(&text, "\n  label    ", key, "=", value);
  return text + "\n";
}

absl::Status Print(const Invocation& invocation, const absl::StatusOr<v1::Session>& session) {
  if (!session.ok()) return session.status();
  if (invocation.json) {
    invocation.PrintJson(ToJson(*session));
  } else {
    invocation.terminal.out << Describe(*session);
  }
  return absl::OkStatus();
}

// {"name": ..., field: value}: the result of calls that return no session.
void PrintOutcome(const Invocation& invocation, const std::string& session, const char* field,
                  nlohmann::ordered_json value, const std::string& sentence) {
  if (invocation.json) {
    invocation.PrintJson({{"name", SessionName(session)}, {field, std::move(value)}});
  } else {
    invocation.terminal.out << SessionName(session) << " " << sentence << "\n";
  }
}

absl::StatusOr<v1::CreateSessionRequest> ReadCreateRequest(const Arguments& arguments) {
  v1::CreateSessionRequest request;
  request.set_session_id(SessionId(arguments.Text("id")));
  request.set_request_id(arguments.Text("request-id"));
  v1::Session& session = *request.mutable_session();
  session.set_memory_kind(arguments.Text("kind"));
  v1::MemoryShape& shape = *session.mutable_shape();
  OptionReader read(arguments);
  read.Int32("sinks", [&](int32_t v) { shape.set_sink_tokens(v); });
  read.Int32("window", [&](int32_t v) { shape.set_window_tokens(v); });
  read.Int32("segment", [&](int32_t v) { shape.set_segment_tokens(v); });
  read.Int32("salient", [&](int32_t v) { shape.set_salient_tokens(v); });
  read.Bytes("max-bytes", [&](int64_t v) { request.set_max_session_bytes(v); });
  read.Time("ttl", [&](absl::Duration ttl) {
    session.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    session.mutable_ttl()->set_nanos(
        static_cast<int32_t>(absl::ToInt64Nanoseconds(ttl - absl::Seconds(absl::ToInt64Seconds(ttl)))));
  });
  if (!read.status().ok()) return read.status();
  for (const std::string& label : arguments.All("label")) {
    const std::vector<std::string> parts = absl::StrSplit(label, absl::MaxSplits('=', 1));
    if (parts.size() != 2) return UsageError(absl::StrCat("--label takes KEY=VALUE, not \"", label, "\""));
    (*session.mutable_labels())[parts[0]] = parts[1];
  }
  return request;
}

absl::Status RunCreate(const Invocation& invocation) {
  if (absl::Status status = invocation.NoPositionals(); !status.ok()) return status;
  const auto request = ReadCreateRequest(invocation.arguments);
  if (!request.ok()) return request.status();
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  return Print(invocation, (*client)->CreateSession(*request));
}

absl::Status RunList(const Invocation& invocation) {
  if (absl::Status status = invocation.NoPositionals(); !status.ok()) return status;
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const auto sessions = (*client)->ListSessions();
  if (!sessions.ok()) return sessions.status();
  if (invocation.json) {
    for (const v1::Session& session : *sessions) invocation.PrintJson(ToJson(session));
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {
      {"session", "memory", "tokens", "bytes", "full KV", "turns", "last used"}};
  for (const v1::Session& session : *sessions) {
    rows.push_back({SessionId(session.name()), session.memory_kind(),
                    Grouped(session.accounting().total_tokens()), HumanBytes(session.session_bytes()),
                    HumanBytes(session.full_kv_bytes()), Grouped(session.turns()),
                    LocalTime(session.last_used_time())});
  }
  invocation.terminal.out << (sessions->empty() ? "no sessions\n" : Table(rows));
  return absl::OkStatus();
}

// Commands that take one session and return it.
template <absl::StatusOr<v1::Session> (*Call)(Client&, const Arguments&, const std::string&)>
absl::Status RunOnSession(const Invocation& invocation) {
  const auto name = invocation.Positional("session");
  if (!name.ok()) return name.status();
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  return Print(invocation, Call(**client, invocation.arguments, *name));
}

absl::StatusOr<v1::Session> Reset(Client& client, const Arguments&, const std::string& name) {
  return client.ResetSession(name);
}

absl::StatusOr<v1::Session> Fork(Client& client, const Arguments& arguments, const std::string& name) {
  return client.ForkSession(name, arguments.Text("id"));
}

// What a session's memory holds, or why the session can be shown only without it.
struct ShownMemory {
  std::optional<v1::SessionMemory> memory;
  std::string_view missing;
};

absl::StatusOr<ShownMemory> ReadMemory(Client& client, const std::string& name, bool list_positions) {
  v1::GetSessionMemoryRequest request;
  request.set_name(name);
  request.set_retained_positions(list_positions);
  auto memory = client.GetSessionMemory(request);
  if (memory.ok()) return ShownMemory{*std::move(memory), ""};
  if (ErrorReason(memory.status()) == "SESSION_BUSY") {
    return ShownMemory{std::nullopt, "a turn runs on the session; ask for its memory again when it is over"};
  }
  if (absl::IsUnimplemented(memory.status())) {
    return ShownMemory{std::nullopt,
                       "this server does not tell what a memory holds (GetSessionMemory is missing)"};
  }
  return memory.status();
}

absl::Status RunShow(const Invocation& invocation) {
  const auto name = invocation.Positional("session");
  if (!name.ok()) return name.status();
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const auto session = (*client)->GetSession(*name);
  if (!session.ok()) return session.status();
  const Terminal& terminal = invocation.terminal;
  const bool list = invocation.arguments.Has("positions");
  const bool draw = terminal.out_is_terminal && !invocation.json;
  const auto shown = ReadMemory(**client, *name, list || draw);
  if (!shown.ok()) return shown.status();
  const std::optional<v1::SessionMemory>& memory = shown->memory;
  if (invocation.json) {
    nlohmann::ordered_json json = ToJson(*session);
    json["memory"] = memory.has_value() ? ToJson(*memory) : nlohmann::ordered_json();
    invocation.PrintJson(json);
    return absl::OkStatus();
  }
  terminal.out << Describe(*session) << "\n";
  if (!memory.has_value()) {
    terminal.out << shown->missing << "\n";
    return absl::OkStatus();
  }
  terminal.out << DescribeMemory(*memory);
  const std::string histogram = draw ? PositionHistogram(*memory, kHistogramColumns) : "";
  if (!histogram.empty()) terminal.out << "\nretained positions, all KV heads together\n" << histogram;
  if (list) terminal.out << "\n" << ListPositions(*memory);
  return absl::OkStatus();
}

absl::Status RunRemove(const Invocation& invocation) {
  const auto& names = invocation.arguments.positional();
  if (names.empty()) return UsageError("give the sessions to delete");
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  for (const std::string& name : names) {
    if (absl::Status status = (*client)->DeleteSession(name); !status.ok()) return status;
    PrintOutcome(invocation, name, "deleted", true, "deleted");
  }
  return absl::OkStatus();
}

// Writes beside the target and renames, so that a broken export never leaves half a snapshot under its name.
absl::StatusOr<int64_t> ExportTo(Client& client, const std::string& name, const std::string& path) {
  const std::string partial = absl::StrCat(path, ".partial");
  // Snapshots hold conversations: only their owner may read them.
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return absl::FailedPreconditionError(absl::StrCat("cannot write ", partial));
  int64_t bytes = 0;
  absl::Status status = client.ExportSession(name, [&](absl::string_view chunk) {
    while (!chunk.empty()) {
      const ssize_t written = write(fd, chunk.data(), chunk.size());
      if (written < 0) return absl::DataLossError(absl::StrCat("cannot write ", partial));
      chunk.remove_prefix(written);
      bytes += written;
    }
    return absl::OkStatus();
  });
  // A snapshot may be the only copy of a session that is about to be deleted.
  const bool stored = status.ok() && fsync(fd) == 0;
  if (close(fd) != 0 || !stored || rename(partial.c_str(), path.c_str()) != 0) {
    unlink(partial.c_str());
    return status.ok() ? absl::DataLossError(absl::StrCat("cannot write ", path)) : status;
  }
  return bytes;
}

absl::Status RunExport(const Invocation& invocation) {
  const auto& words = invocation.arguments.positional();
  if (words.size() != 2) return UsageError("give a session and the file to write");
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const auto bytes = ExportTo(**client, words[0], words[1]);
  if (!bytes.ok()) return bytes.status();
  PrintOutcome(invocation, words[0], "exported_bytes", *bytes,
               absl::StrCat("exported to ", words[1], ", ", HumanBytes(*bytes)));
  return absl::OkStatus();
}

absl::Status RunImport(const Invocation& invocation) {
  const auto path = invocation.Positional("file");
  if (!path.ok()) return path.status();
  std::ifstream in(*path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", *path));
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  constexpr size_t kReadBytes = 1 << 20;
  return Print(invocation,
               (*client)->ImportSession(invocation.arguments.Text("id"),
                                        [&](std::string* chunk) -> absl::StatusOr<bool> {
                                          chunk->resize(kReadBytes);
                                          in.read(chunk->data(), kReadBytes);
                                          chunk->resize(in.gcount());
                                          if (in.bad()) {
                                            return absl::DataLossError(absl::StrCat("cannot read ", *path));
                                          }
                                          return !chunk->empty();
                                        }));
}

}  // namespace

std::vector<Command> SessionCommands() {
  const OptionSpec id = {"id", "NAME", "name of the new session (default: a random one)"};
  return {
      {"sessions create",
       "",
       "Create a session",
       {id,
        {"kind", "KIND", "memory kind: memgate, infini, window (default: the model's)"},
        {"sinks", "N", "first tokens that are always kept"},
        {"window", "N", "recent tokens that are kept exactly"},
        {"segment", "N", "tokens folded into memory at once"},
        {"salient", "N", "older tokens that are kept exactly"},
        {"max-bytes", "SIZE", "choose the largest window that fits, e.g. 12MB"},
        {"ttl", "TIME", "delete it after this time without use, e.g. 30m"},
        {"label", "KEY=VALUE", "a label; may be repeated"},
        {"request-id", "ID", "repeat a call safely"}},
       RunCreate},
      {"sessions list", "", "List sessions", {}, RunList},
      {"sessions show",
       "SESSION",
       "Show one session and what its memory holds",
       {{"positions", "", "list the positions of the tokens in salient slots"}},
       RunShow},
      {"sessions rm", "SESSION...", "Delete sessions", {}, RunRemove},
      {"sessions reset", "SESSION", "Empty a session", {}, RunOnSession<Reset>},
      {"sessions fork", "SESSION", "Copy a session", {id}, RunOnSession<Fork>},
      {"sessions export", "SESSION FILE", "Write a session to a file", {}, RunExport},
      {"sessions import", "FILE", "Create a session from such a file", {id}, RunImport},
  };
}

}  // namespace memgate
