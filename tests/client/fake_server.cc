#include "tests/client/fake_server.h"

#include <grpcpp/server_builder.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace memgate {

FakeServer::FakeServer() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::InferenceService::Service*>(this));
  builder.RegisterService(static_cast<v1::SessionService::Service*>(this));
  builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() { server_->Shutdown(); }

std::string FakeServer::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeServer::Note(grpc::ServerContext* context) {
  const auto found = context->client_metadata().find("authorization");
  authorization = found == context->client_metadata().end()
                      ? ""
                      : std::string(found->second.data(), found->second.size());
}

grpc::Status FakeServer::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                  grpc::ServerWriter<v1::GenerateResponse>* writer) {
  Note(context);
  generate_request = *request;
  for (const v1::GenerateResponse& response : generated) writer->Write(response);
  // Write fails as soon as the call is cancelled.
  v1::GenerateResponse empty;
  empty.mutable_delta();
  while (generate_until_cancelled && writer->Write(empty)) {
  }
  return generate_status;
}

grpc::Status FakeServer::Ingest(grpc::ServerContext* context,
                                grpc::ServerReaderWriter<v1::IngestProgress, v1::IngestRequest>* stream) {
  Note(context);
  v1::IngestRequest request;
  v1::IngestProgress progress;
  for (int read = 0; ingest_messages_read == 0 || read < ingest_messages_read; ++read) {
    if (!stream->Read(&request)) break;
    if (read == 0) first_ingest_request = request;
    last_ingest_request = request;
    ingested += request.text();
    progress.set_ingested_bytes(static_cast<int64_t>(ingested.size()));
    stream->Write(progress);
  }
  if (ingest_status.ok()) {
    progress.MergeFrom(ingest_result);
    progress.set_done(true);
    stream->Write(progress);
  }
  return ingest_status;
}

grpc::Status FakeServer::CreateSession(grpc::ServerContext* context, const v1::CreateSessionRequest* request,
                                       v1::Session* response) {
  Note(context);
  *response = request->session();
  response->set_name(
      absl::StrCat("sessions/", request->session_id().empty() ? "random" : request->session_id()));
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetSession(grpc::ServerContext*, const v1::GetSessionRequest* request,
                                    v1::Session* response) {
  response->set_name(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetSessionMemory(grpc::ServerContext*, const v1::GetSessionMemoryRequest* request,
                                          v1::SessionMemory* response) {
  memory_request = *request;
  *response = memory;
  return memory_status;
}

grpc::Status FakeServer::ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest* request,
                                      v1::ListSessionsResponse* response) {
  int begin = 0;
  (void)absl::SimpleAtoi(request->page_token(), &begin);
  const int end = std::min<int>(begin + 2, static_cast<int>(sessions.size()));
  for (int i = begin; i < end; ++i) *response->add_sessions() = sessions[i];
  if (end < static_cast<int>(sessions.size())) response->set_next_page_token(absl::StrCat(end));
  return grpc::Status::OK;
}

grpc::Status FakeServer::DeleteSession(grpc::ServerContext*, const v1::DeleteSessionRequest* request,
                                       google::protobuf::Empty*) {
  deleted.push_back(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeServer::ExportSession(grpc::ServerContext*, const v1::ExportSessionRequest*,
                                       grpc::ServerWriter<v1::ExportSessionResponse>* writer) {
  v1::ExportSessionResponse response;
  for (size_t begin = 0; begin < snapshot.size(); begin += 3) {
    response.set_chunk(snapshot.substr(begin, 3));
    writer->Write(response);
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::ImportSession(grpc::ServerContext*,
                                       grpc::ServerReader<v1::ImportSessionRequest>* reader,
                                       v1::Session* response) {
  v1::ImportSessionRequest request;
  for (bool first = true; reader->Read(&request); first = false) {
    if (first) imported_id = request.session_id();
    imported += request.chunk();
  }
  response->set_name(absl::StrCat("sessions/", imported_id));
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListModels(grpc::ServerContext* context, const v1::ListModelsRequest*,
                                    v1::ListModelsResponse* response) {
  Note(context);
  response->add_models()->set_name("models/fake");
  return grpc::Status::OK;
}

}  // namespace memgate
