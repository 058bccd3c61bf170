#include "server/session_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/call.h"
#include "server/convert.h"
#include "server/error.h"
#include "server/session_requests.h"
#include "server/transfer_calls.h"

namespace memgate {
namespace {

v1::Session Describe(const ServiceContext& context, const SessionRecord& record) {
  return ToProto(record, context.engine.Describe(*record.session), context.engine.model());
}

// Copies a record into `response`, or passes the error on.
absl::Status Respond(const ServiceContext& context, const absl::StatusOr<SessionRecord>& record,
                     v1::Session* response) {
  if (!record.ok()) return record.status();
  *response = Describe(context, *record);
  return absl::OkStatus();
}

// The engine names fields as in MemoryShape; in this request they lie deeper.
absl::Status WithRequestField(const absl::Status& status) {
  return FieldOf(status) == "max_session_bytes" ? status
         : FieldOf(status) == "memory_kind"     ? WithFieldPrefix(status, "session.")
                                                : WithFieldPrefix(status, "session.shape.");
}

// Answers wait outside the byte budget until they are read, so they must stay small.
constexpr int64_t kMaxListedPositions = 1 << 16;

absl::Status CheckPositionCount(const SessionShape& shape, const ModelConfig& config) {
  const int64_t count = int64_t{config.num_layers} * config.num_kv_heads * shape.salient;
  if (count <= kMaxListedPositions) return absl::OkStatus();
  return FieldError("retained_positions", absl::StrCat("the session has ", count,
                                                       " salient slots in all layers and heads; at most ",
                                                       kMaxListedPositions, " positions are listed"));
}

}  // namespace

grpc::ServerUnaryReactor* SessionService::CreateSession(grpc::CallbackServerContext* rpc,
                                                        const v1::CreateSessionRequest* request,
                                                        v1::Session* response) {
  return RunUnary(context_, "CreateSession", rpc, [&](Call& call) -> absl::Status {
    if (auto s = CheckSessionId("session_id", request->session_id()); !s.ok()) return s;
    if (auto s = CheckRequestId(request->request_id()); !s.ok()) return s;
    auto settings = ReadSettings(request->session(), context_.limits.default_ttl);
    if (!settings.ok()) return settings.status();
    auto options = ReadSessionOptions(*request);
    if (!options.ok()) return options.status();
    if (auto plan = context_.engine.PlanSession(*options); !plan.ok()) return WithRequestField(plan.status());
    if (auto s = call.CheckAcceptsNewState(); !s.ok()) return s;
    return Respond(
        context_,
        context_.sessions.Create(call.tenant(), request->session_id(), *settings, request->request_id(),
                                 [&] { return context_.engine.CreateSession(*options); }),
        response);
  });
}

grpc::ServerUnaryReactor* SessionService::GetSession(grpc::CallbackServerContext* rpc,
                                                     const v1::GetSessionRequest* request,
                                                     v1::Session* response) {
  return RunUnary(context_, "GetSession", rpc, [&](Call& call) {
    auto id = ParseSessionName("name", request->name());
    if (!id.ok()) return id.status();
    return Respond(context_, context_.sessions.Get(call.tenant(), *id), response);
  });
}

grpc::ServerUnaryReactor* SessionService::GetSessionMemory(grpc::CallbackServerContext* rpc,
                                                           const v1::GetSessionMemoryRequest* request,
                                                           v1::SessionMemory* response) {
  return RunUnary(context_, "GetSessionMemory", rpc, [&](Call& call) {
    auto id = ParseSessionName("name", request->name());
    if (!id.ok()) return id.status();
    // Looking at a session is no use of it, so its lease comes from the engine and not from the registry.
    auto record = context_.sessions.Get(call.tenant(), *id);
    if (!record.ok()) return record.status();
    if (request->retained_positions()) {
      const SessionShape shape = context_.engine.Describe(*record->session).shape;
      if (auto s = CheckPositionCount(shape, context_.engine.model().config); !s.ok()) return s;
    }
    auto lease = context_.engine.Acquire(record->session);
    if (!lease.ok()) return lease.status();
    const MemoryReport report = context_.engine.ReportMemory(
        **lease, request->retained_positions() ? RetainedPositions::kList : RetainedPositions::kOmit);
    lease->reset();
    *response = ToProto(*record, context_.engine.Describe(*record->session), report, context_.engine.model());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* SessionService::ListSessions(grpc::CallbackServerContext* rpc,
                                                       const v1::ListSessionsRequest* request,
                                                       v1::ListSessionsResponse* response) {
  return RunUnary(context_, "ListSessions", rpc, [&](Call& call) {
    auto page = ReadPage(*request);
    if (!page.ok()) return page.status();
    // One more than asked for tells whether another page follows.
    auto records = context_.sessions.List(call.tenant(), page->after, page->size + 1);
    if (static_cast<int>(records.size()) > page->size) {
      records.pop_back();
      response->set_next_page_token(PageToken(records.back().id));
    }
    for (const SessionRecord& record : records) *response->add_sessions() = Describe(context_, record);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* SessionService::UpdateSession(grpc::CallbackServerContext* rpc,
                                                        const v1::UpdateSessionRequest* request,
                                                        v1::Session* response) {
  return RunUnary(context_, "UpdateSession", rpc, [&](Call& call) {
    auto id = ParseSessionName("session.name", request->session().name());
    if (!id.ok()) return id.status();
    auto update = ReadUpdate(*request, context_.limits.default_ttl);
    if (!update.ok()) return update.status();
    return Respond(context_,
                   context_.sessions.Update(call.tenant(), *id, update->ttl, std::move(update->labels)),
                   response);
  });
}

grpc::ServerUnaryReactor* SessionService::DeleteSession(grpc::CallbackServerContext* rpc,
                                                        const v1::DeleteSessionRequest* request,
                                                        google::protobuf::Empty*) {
  return RunUnary(context_, "DeleteSession", rpc, [&](Call& call) {
    auto id = ParseSessionName("name", request->name());
    if (!id.ok()) return id.status();
    return context_.sessions.Delete(call.tenant(), *id);
  });
}

grpc::ServerUnaryReactor* SessionService::ForkSession(grpc::CallbackServerContext* rpc,
                                                      const v1::ForkSessionRequest* request,
                                                      v1::Session* response) {
  return RunUnary(context_, "ForkSession", rpc, [&](Call& call) {
    auto id = ParseSessionName("name", request->name());
    if (!id.ok()) return id.status();
    if (auto s = CheckSessionId("session_id", request->session_id()); !s.ok()) return s;
    if (auto s = call.CheckAcceptsNewState(); !s.ok()) return s;
    auto use = context_.sessions.Begin(call.tenant(), *id);
    if (!use.ok()) return use.status();
    return Respond(context_,
                   context_.sessions.Create(call.tenant(), request->session_id(), (*use)->settings(), "",
                                            [&] { return context_.engine.Fork(*(*use)->lease()); }),
                   response);
  });
}

grpc::ServerUnaryReactor* SessionService::ResetSession(grpc::CallbackServerContext* rpc,
                                                       const v1::ResetSessionRequest* request,
                                                       v1::Session* response) {
  return RunUnary(context_, "ResetSession", rpc, [&](Call& call) {
    auto id = ParseSessionName("name", request->name());
    if (!id.ok()) return id.status();
    auto use = context_.sessions.Begin(call.tenant(), *id);
    if (!use.ok()) return use.status();
    context_.engine.Reset(*(*use)->lease());
    use->reset();
    return Respond(context_, context_.sessions.Get(call.tenant(), *id), response);
  });
}

grpc::ServerWriteReactor<v1::ExportSessionResponse>* SessionService::ExportSession(
    grpc::CallbackServerContext* rpc, const v1::ExportSessionRequest* request) {
  return ExportCall::Start(context_, *rpc, *request);
}

grpc::ServerReadReactor<v1::ImportSessionRequest>* SessionService::ImportSession(
    grpc::CallbackServerContext* rpc, v1::Session* response) {
  return ImportCall::Start(context_, *rpc, response);
}

}  // namespace memgate
