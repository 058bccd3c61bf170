// Engine structs -> API messages.
#ifndef MEMGATE_SERVER_CONVERT_H_
#define MEMGATE_SERVER_CONVERT_H_

#include "absl/time/time.h"
#include "engine/engine.h"
#include "memgate/v1/inference.pb.h"
#include "memgate/v1/model.pb.h"
#include "memgate/v1/session.pb.h"
#include "server/session_registry.h"

namespace memgate {

v1::Path ToProto(Path path);
v1::RouteReason ToProto(RouteReason reason);
v1::TokenAccounting ToProto(const TokenAccounting& accounting);
v1::MemoryShape ToProto(const SessionShape& shape);
v1::RouteInfo ToProto(const TurnStart& start);
v1::TextDelta ToProto(const TurnDelta& delta, const Tokenizer& tokenizer, bool with_logprobs);
// `before_submit` is the time between arrival at the server and Submit.
v1::GenerateDone ToProto(const TurnEnd& end, absl::Duration before_submit);
v1::Model ToProto(const ModelInfo& model);
v1::SessionMemory ToProto(const SessionRecord& record, const SessionInfo& info, const MemoryReport& report,
                          const ModelInfo& model);
v1::Session ToProto(const SessionRecord& record, const SessionInfo& info, const ModelInfo& model);

}  // namespace memgate

#endif  // MEMGATE_SERVER_CONVERT_H_
