#include "server/convert.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace memgate {
namespace {

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  google::protobuf::Timestamp timestamp;
  const int64_t seconds = absl::ToUnixSeconds(time);  // rounds down, so that nanos are not negative
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return timestamp;
}

google::protobuf::Duration ToDuration(absl::Duration duration) {
  google::protobuf::Duration proto;
  absl::Duration rest;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

v1::SalientSlots ToProto(const SalientReport& report) {
  v1::SalientSlots proto;
  proto.set_used(report.count);
  if (report.count == 0) return proto;
  proto.set_oldest_position(report.oldest_position);
  proto.set_newest_position(report.newest_position);
  proto.set_lowest_score(report.lowest_score);
  proto.set_median_score(report.median_score);
  proto.set_highest_score(report.highest_score);
  proto.mutable_positions()->Assign(report.positions.begin(), report.positions.end());
  return proto;
}

v1::LayerMemory ToProto(const LayerReport& report, int kv_heads) {
  v1::LayerMemory proto;
  proto.mutable_gates()->Assign(report.gates.begin(), report.gates.end());
  for (int g = 0; g < kv_heads; ++g) {
    v1::KvHeadMemory* head = proto.add_kv_heads();
    if (!report.memory_norms.empty()) head->set_memory_norm(report.memory_norms[g]);
    if (!report.salient.empty()) *head->mutable_salient() = ToProto(report.salient[g]);
  }
  return proto;
}

v1::TokenLogprob ToProto(const ScoredToken& token, const Tokenizer& tokenizer) {
  v1::TokenLogprob proto;
  proto.set_token_id(token.id);
  proto.set_logprob(token.logprob);
  proto.set_token_bytes(std::string(tokenizer.TokenBytes(token.id)));
  return proto;
}

}  // namespace

v1::Path ToProto(Path path) { return path == Path::kExact ? v1::PATH_EXACT : v1::PATH_GATED; }

v1::RouteReason ToProto(RouteReason reason) {
  switch (reason) {
    case RouteReason::kFits:
      return v1::ROUTE_REASON_FITS;
    case RouteReason::kExceedsExactLimit:
      return v1::ROUTE_REASON_EXCEEDS_EXACT_LIMIT;
    case RouteReason::kSessionFolded:
      return v1::ROUTE_REASON_SESSION_FOLDED;
    case RouteReason::kClientPreference:
      return v1::ROUTE_REASON_CLIENT_PREFERENCE;
    case RouteReason::kMemoryPressure:
      return v1::ROUTE_REASON_MEMORY_PRESSURE;
  }
  return v1::ROUTE_REASON_UNSPECIFIED;
}

v1::TokenAccounting ToProto(const TokenAccounting& accounting) {
  v1::TokenAccounting proto;
  proto.set_total_tokens(accounting.total);
  proto.set_exact_tokens(accounting.exact);
  proto.set_salient_tokens(accounting.salient);
  proto.set_compressed_tokens(accounting.compressed);
  proto.set_forgotten_tokens(accounting.forgotten);
  return proto;
}

v1::MemoryShape ToProto(const SessionShape& shape) {
  v1::MemoryShape proto;
  proto.set_sink_tokens(shape.sinks);
  proto.set_window_tokens(shape.window);
  proto.set_segment_tokens(shape.segment);
  proto.set_salient_tokens(shape.salient);
  return proto;
}

v1::RouteInfo ToProto(const TurnStart& start) {
  v1::RouteInfo proto;
  proto.set_path(ToProto(start.route.path));
  proto.set_reason(ToProto(start.route.reason));
  proto.set_prompt_tokens(start.prompt_tokens);
  proto.set_exact_limit_tokens(start.exact_limit_tokens);
  proto.set_memory_kind(start.memory_kind);
  *proto.mutable_accounting() = ToProto(start.accounting);
  proto.set_session_bytes(start.session_bytes);
  proto.set_full_kv_bytes(start.full_kv_bytes);
  return proto;
}

v1::TextDelta ToProto(const TurnDelta& delta, const Tokenizer& tokenizer, bool with_logprobs) {
  v1::TextDelta proto;
  proto.set_text(delta.text);
  for (const SampledToken& token : delta.tokens) {
    proto.add_token_ids(token.id);
    if (!with_logprobs) continue;
    v1::TokenLogprobs* logprobs = proto.add_logprobs();
    *logprobs->mutable_chosen() = ToProto(token.chosen, tokenizer);
    for (const ScoredToken& other : token.top) *logprobs->add_top() = ToProto(other, tokenizer);
  }
  return proto;
}

v1::GenerateDone ToProto(const TurnEnd& end, absl::Duration before_submit) {
  v1::GenerateDone proto;
  switch (end.reason) {
    case FinishReason::kStop:
      proto.set_finish_reason(v1::FINISH_REASON_STOP);
      break;
    case FinishReason::kLength:
      proto.set_finish_reason(v1::FINISH_REASON_LENGTH);
      break;
    case FinishReason::kCut:
      proto.set_finish_reason(v1::FINISH_REASON_CUT);
      break;
  }
  proto.set_matched_stop(end.matched_stop);
  proto.mutable_usage()->set_prompt_tokens(end.prompt_tokens);
  proto.mutable_usage()->set_completion_tokens(end.completion_tokens);
  proto.mutable_usage()->set_folded_tokens(end.folded_tokens);
  v1::Timings* timings = proto.mutable_timings();
  timings->set_queue_ms(absl::ToDoubleMilliseconds(end.queue_time));
  timings->set_prefill_ms(absl::ToDoubleMilliseconds(end.prefill_time));
  timings->set_decode_ms(absl::ToDoubleMilliseconds(end.decode_time));
  timings->set_time_to_first_token_ms(absl::ToDoubleMilliseconds(before_submit + end.time_to_first_token));
  if (end.completion_tokens > 1 && end.decode_time > absl::ZeroDuration()) {
    timings->set_decode_tokens_per_s(static_cast<double>(end.completion_tokens - 1) /
                                     absl::ToDoubleSeconds(end.decode_time));
  }
  *proto.mutable_accounting() = ToProto(end.accounting);
  return proto;
}

v1::Model ToProto(const ModelInfo& model) {
  v1::Model proto;
  proto.set_name(absl::StrCat("models/", model.name));
  proto.set_architecture(model.config.architecture);
  proto.set_parameters(model.parameters);
  proto.set_layers(model.config.num_layers);
  proto.set_hidden_size(model.config.hidden_size);
  proto.set_attention_heads(model.config.num_heads);
  proto.set_kv_heads(model.config.num_kv_heads);
  proto.set_head_dim(model.config.head_dim);
  proto.set_vocabulary_size(model.config.vocab_size);
  proto.set_max_position(model.config.max_position);
  proto.set_weight_format(std::string(WeightFormatName(model.weights)));
  proto.set_weight_bytes(model.weight_bytes);
  proto.set_kv_format(std::string(KvFormatName(model.kv_format)));
  proto.set_full_kv_bytes_per_token(model.full_kv_bytes_per_token);
  proto.set_default_memory_kind(model.default_memory_kind);
  for (const MemoryKindInfo& kind : model.memory_kinds) {
    v1::MemoryKindInfo* info = proto.add_memory_kinds();
    info->set_kind(kind.kind);
    info->set_trained(kind.trained);
    *info->mutable_default_shape() = ToProto(kind.default_shape);
    info->set_default_session_bytes(kind.default_session_bytes);
  }
  proto.set_fingerprint(model.fingerprint);
  proto.set_has_chat_template(model.has_chat_template);
  return proto;
}

v1::SessionMemory ToProto(const SessionRecord& record, const SessionInfo& info, const MemoryReport& report,
                          const ModelInfo& model) {
  v1::SessionMemory proto;
  proto.set_name(absl::StrCat("sessions/", record.id));
  proto.set_memory_kind(info.memory_kind);
  *proto.mutable_shape() = ToProto(info.shape);
  proto.set_kv_format(std::string(KvFormatName(info.kv_format)));
  proto.set_session_bytes(info.bytes);
  *proto.mutable_accounting() = ToProto(report.accounting);
  proto.set_memory_writes(report.memory_writes);
  for (const LayerReport& layer : report.layers) {
    *proto.add_layers() = ToProto(layer, model.config.num_kv_heads);
  }
  return proto;
}

v1::Session ToProto(const SessionRecord& record, const SessionInfo& info, const ModelInfo& model) {
  v1::Session proto;
  proto.set_name(absl::StrCat("sessions/", record.id));
  proto.set_model(absl::StrCat("models/", model.name));
  proto.set_memory_kind(info.memory_kind);
  *proto.mutable_shape() = ToProto(info.shape);
  proto.set_kv_format(std::string(KvFormatName(info.kv_format)));
  proto.set_session_bytes(info.bytes);
  proto.set_full_kv_bytes(info.full_kv_bytes);
  *proto.mutable_accounting() = ToProto(info.accounting);
  proto.set_memory_writes(info.memory_writes);
  *proto.mutable_create_time() = ToTimestamp(record.create_time);
  *proto.mutable_last_used_time() = ToTimestamp(record.last_used_time);
  *proto.mutable_ttl() = ToDuration(record.ttl);
  if (record.ttl != absl::ZeroDuration()) *proto.mutable_expire_time() = ToTimestamp(record.expire_time());
  for (const auto& [key, value] : record.labels) (*proto.mutable_labels())[key] = value;
  proto.set_busy(info.busy);
  proto.set_turns(info.turns);
  return proto;
}

}  // namespace memgate
