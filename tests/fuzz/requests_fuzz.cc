// Input: a letter that says which request, then the request in protobuf's text format ('k': a file of API
// keys; 's': the name of a session). It is refused with a field's name, or what was read keeps to its limits.
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "memgate/v1/inference.pb.h"
#include "memgate/v1/session.pb.h"
#include "server/api_keys.h"
#include "server/generate_request.h"
#include "server/session_requests.h"
#include "tests/fuzz/input_parts.h"

namespace memgate {
namespace {

class Silent : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
};

template <typename Message>
bool Parse(std::string_view text, Message& message) {
  Silent silent;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&silent);
  parser.SetRecursionLimit(32);
  return parser.ParseFromString(std::string(text), &message);
}

template <typename T>
bool Read(const absl::StatusOr<T>& result) {
  Require(result.ok() || absl::IsInvalidArgument(result.status()));
  return result.ok();
}

void CheckGenerate(const v1::GenerateRequest& request) {
  static const ModelInfo* const model = [] {
    auto* info = new ModelInfo;
    info->config.vocab_size = 8;
    info->generation.top_k = 3;
    return info;
  }();
  const GenerateLimits limits;
  const auto turn = ReadGenerateRequest(request, *model, limits, /*random_seed=*/1);
  if (!Read(turn)) return;
  Require(turn->max_new_tokens >= 1 && turn->max_new_tokens <= limits.max_tokens);
  Require(ValidateSamplingParams(turn->sampling, model->config.vocab_size).ok());
  for (const std::string& stop : turn->stop) Require(!stop.empty());
  if (request.has_tokens()) Require(CheckTokenIds(request.tokens(), model->config.vocab_size).ok());
  Sampler sampler(turn->sampling, model->config.vocab_size);
  std::vector<float> logits = {0, 1, -2, 3, INFINITY, NAN, -4, 2};
  const auto token = sampler.Sample(absl::MakeSpan(logits));
  if (token.ok()) Require(token->id >= 0 && token->id < model->config.vocab_size);
}

void CheckSettings(const v1::Session& session) {
  const auto settings = ReadSettings(session, absl::Hours(1));
  if (Read(settings)) Require(settings->ttl >= absl::ZeroDuration() && settings->labels.size() <= 16);
}

void CheckCreate(const v1::CreateSessionRequest& request) {
  CheckSettings(request.session());
  const auto options = ReadSessionOptions(request);
  if (!Read(options)) return;
  Require(options->max_bytes >= 0);
  for (const auto& tokens : {options->sinks, options->window, options->segment, options->salient}) {
    Require(tokens.value_or(0) >= 0);
  }
}

void CheckList(const v1::ListSessionsRequest& request) {
  const auto page = ReadPage(request);
  if (!Read(page)) return;
  Require(page->size >= 1);
  if (page->after.empty()) return;
  v1::ListSessionsRequest next;
  next.set_page_token(PageToken(page->after));
  const auto again = ReadPage(next);
  Require(again.ok() && again->after == page->after);
}

template <typename Message>
void ParseAndCheck(std::string_view text, void (*check)(const Message&)) {
  Message message;
  if (Parse(text, message)) check(message);
}

}  // namespace
}  // namespace memgate

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace memgate;
  std::string_view rest = AsText(data, size);
  switch (TakeByte(rest)) {
    case 'g':
      ParseAndCheck<v1::GenerateRequest>(rest, &CheckGenerate);
      break;
    case 'c':
      ParseAndCheck<v1::CreateSessionRequest>(rest, &CheckCreate);
      break;
    case 'u':
      ParseAndCheck<v1::UpdateSessionRequest>(rest, [](const v1::UpdateSessionRequest& request) {
        (void)Read(ReadUpdate(request, absl::Hours(1)));
      });
      break;
    case 'l':
      ParseAndCheck<v1::ListSessionsRequest>(rest, &CheckList);
      break;
    case 'k':
      (void)Read(ApiKeys::Parse({rest.data(), rest.size()}));
      break;
    case 's':
      if (const auto id = ParseSessionName("name", {rest.data(), rest.size()}); Read(id)) {
        Require(!id->empty() && CheckSessionId("id", *id).ok());
      }
      break;
  }
  return 0;
}
