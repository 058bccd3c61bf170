#include "client/commands/answer.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/commands/text.h"
#include "client/message_json.h"

namespace memgate {
namespace {

std::string Words(std::string label) { return absl::StrReplaceAll(label, {{"_", " "}}); }

// What there is to say about how the chat goes on; nothing if it simply does.
const char* PrefixNote(v1::ChatPrefix prefix) {
  switch (prefix) {
    case v1::CHAT_PREFIX_CHANGED:
      return "chat changed: the session holds another text than the template renders\n";
    case v1::CHAT_PREFIX_REBUILT:
      return "chat rebuilt: the session was emptied and holds the chat as the template renders it\n";
    case v1::CHAT_PREFIX_UNCHECKED:
      return "chat unchecked: it is not known whether the session holds what the template renders\n";
    default:
      return "";
  }
}

std::string Summary(const v1::RouteInfo& route, const v1::GenerateDone& done) {
  const v1::Timings& timings = done.timings();
  return absl::StrCat(PrefixNote(route.chat_prefix()), "path ", EnumLabel(route.path()), " (",
                      Words(EnumLabel(route.reason())), "), memory ", route.memory_kind(), "\n",
                      DescribeTokens(done.accounting()), "\nsession ", HumanBytes(route.session_bytes()),
                      ", full KV cache ", HumanBytes(route.full_kv_bytes()),
                      absl::StrFormat("\nfirst token %.1f ms, %.1f tokens/s, %d tokens, ended by %s\n",
                                      timings.time_to_first_token_ms(), timings.decode_tokens_per_s(),
                                      done.usage().completion_tokens(), EnumLabel(done.finish_reason())));
}

}  // namespace

absl::Status PrintAnswer(Client& client, const v1::GenerateRequest& request, const Terminal& terminal,
                         Cancellation* cancellation) {
  v1::RouteInfo route;
  v1::GenerateDone done;
  char last = '\n';
  const GenerateCallbacks callbacks = {.on_route = [&](const v1::RouteInfo& info) { route = info; },
                                       .on_delta =
                                           [&](const v1::TextDelta& delta) {
                                             if (delta.text().empty()) return;
                                             last = delta.text().back();
                                             terminal.out << delta.text() << std::flush;
                                           },
                                       .on_done = [&](const v1::GenerateDone& info) { done = info; }};
  const absl::Status status = client.Generate(request, callbacks, cancellation);
  if (last != '\n') terminal.out << "\n" << std::flush;
  if (status.ok()) terminal.err << terminal.OnErr(Style::kDim, Summary(route, done)) << std::flush;
  return status;
}

}  // namespace memgate
