#include "server/generate_request.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/scheduling/session.h"
#include "server/error.h"

namespace memgate {
namespace {

constexpr int64_t kDefaultMaxTokens = 256;
constexpr int kMaxMessages = 4096;
constexpr int kMaxTools = 128;
constexpr int kMaxTemplateArguments = 64;
constexpr size_t kMaxArgumentNameBytes = 64;
// What a template finds under these names comes from the conversation, the request and the model.
constexpr absl::string_view kReservedNames[] = {"messages", "tools", "add_generation_prompt", "bos_token",
                                                "eos_token"};
constexpr int kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr int kMaxLogprobs = 20;

absl::Status CheckMessage(const v1::ChatMessage& message, const std::string& where) {
  const std::string& role = message.role();
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    return FieldError(where + "role", "must be \"system\", \"user\", \"assistant\" or \"tool\"");
  }
  if (message.tool_calls_size() > 0 && role != "assistant") {
    return FieldError(where + "tool_calls", "only an assistant calls tools");
  }
  if (message.tool_calls_size() > kMaxTools) {
    return FieldError(where + "tool_calls",
                      absl::StrCat(message.tool_calls_size(), " calls; at most ", kMaxTools));
  }
  for (int i = 0; i < message.tool_calls_size(); ++i) {
    if (message.tool_calls(i).name().empty()) {
      return FieldError(absl::StrCat(where, "tool_calls[", i, "].name"), "is required");
    }
  }
  if (!message.reasoning_content().empty() && role != "assistant") {
    return FieldError(where + "reasoning_content", "only an assistant's message has one");
  }
  if (role != "tool" && !(message.name().empty() && message.tool_call_id().empty())) {
    return FieldError(where + (message.name().empty() ? "tool_call_id" : "name"),
                      "only a tool's message has one");
  }
  return absl::OkStatus();
}

// A name that a template can spell.
bool IsVariableName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxArgumentNameBytes && !absl::ascii_isdigit(name[0]) &&
         absl::c_all_of(name, [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

absl::Status CheckTemplateArguments(const v1::ChatMessages& chat) {
  constexpr absl::string_view kField = "chat.template_arguments";
  if (chat.template_arguments_size() > kMaxTemplateArguments) {
    return FieldError(
        kField, absl::StrCat(chat.template_arguments_size(), " arguments; at most ", kMaxTemplateArguments));
  }
  for (const auto& [name, json] : chat.template_arguments()) {
    if (!IsVariableName(name)) {
      return FieldError(kField, absl::StrCat("a name has 1..", kMaxArgumentNameBytes,
                                             " letters, digits and _, the first of them no digit"));
    }
    if (absl::c_linear_search(kReservedNames, name)) {
      return FieldError(kField, absl::StrCat("\"", name, "\" is not for requests to set"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckChat(const v1::ChatMessages& chat) {
  if (chat.messages().empty() || chat.messages_size() + chat.earlier_size() > kMaxMessages) {
    return FieldError("chat.messages", absl::StrCat(chat.messages_size() + chat.earlier_size(),
                                                    " messages; expected 1..", kMaxMessages));
  }
  if (!v1::OnChangedPrefix_IsValid(chat.on_changed_prefix())) {
    return FieldError("chat.on_changed_prefix",
                      absl::StrCat(chat.on_changed_prefix(), " is no known choice"));
  }
  if (chat.on_changed_prefix() == v1::ON_CHANGED_PREFIX_REBUILD && chat.earlier().empty()) {
    return FieldError("chat.earlier", "is required to rebuild a session");
  }
  for (int i = 0; i < chat.earlier_size(); ++i) {
    if (auto s = CheckMessage(chat.earlier(i), absl::StrCat("chat.earlier[", i, "].")); !s.ok()) return s;
  }
  for (int i = 0; i < chat.messages_size(); ++i) {
    if (auto s = CheckMessage(chat.messages(i), absl::StrCat("chat.messages[", i, "].")); !s.ok()) return s;
  }
  if (chat.tools_size() > kMaxTools) {
    return FieldError("chat.tools", absl::StrCat(chat.tools_size(), " tools; at most ", kMaxTools));
  }
  return CheckTemplateArguments(chat);
}

absl::Status CheckInput(const v1::GenerateRequest& request, int vocabulary_size) {
  switch (request.input_case()) {
    case v1::GenerateRequest::kChat:
      return CheckChat(request.chat());
    case v1::GenerateRequest::kTokens:
      return CheckTokenIds(request.tokens(), vocabulary_size);
    case v1::GenerateRequest::kPrompt:
    case v1::GenerateRequest::INPUT_NOT_SET:
      return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status CheckStops(const google::protobuf::RepeatedPtrField<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return FieldError("stop", absl::StrCat(stops.size(), " strings; at most ", kMaxStops, " are allowed"));
  }
  for (int i = 0; i < stops.size(); ++i) {
    if (stops[i].empty() || stops[i].size() > kMaxStopBytes) {
      return FieldError(absl::StrCat("stop[", i, "]"),
                        absl::StrCat(stops[i].size(), " bytes; expected 1..", kMaxStopBytes));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFormat(const v1::ResponseFormat& format, int64_t max_bytes) {
  const auto check_size = [max_bytes](absl::string_view field, const std::string& text) {
    if (static_cast<int64_t>(text.size()) <= max_bytes) return absl::OkStatus();
    return FieldError(field, absl::StrCat(text.size(), " bytes; at most ", max_bytes, " are allowed"));
  };
  switch (format.format_case()) {
    case v1::ResponseFormat::kJsonObject:
      if (!format.json_object()) return FieldError("response_format.json_object", "must be true");
      return absl::OkStatus();
    case v1::ResponseFormat::kJsonSchema:
      return check_size("response_format.json_schema", format.json_schema());
    case v1::ResponseFormat::kGrammar:
      return check_size("response_format.grammar", format.grammar());
    case v1::ResponseFormat::FORMAT_NOT_SET:
      return FieldError("response_format", "set json_object, json_schema or grammar");
  }
  return absl::OkStatus();
}

absl::StatusOr<SamplingParams> ReadSampling(const v1::GenerateRequest& request, const ModelInfo& model,
                                            uint64_t random_seed) {
  const v1::SamplingOptions& options = request.sampling();
  const GenerationDefaults& defaults = model.generation;
  SamplingParams params;
  params.temperature = options.has_temperature() ? options.temperature() : defaults.temperature.value_or(0);
  params.top_k = options.has_top_k() ? options.top_k() : defaults.top_k.value_or(0);
  params.top_p = options.has_top_p() ? options.top_p() : defaults.top_p.value_or(1);
  params.min_p = options.min_p();
  params.seed = options.has_seed() ? options.seed() : random_seed;
  params.repetition_penalty = options.has_repetition_penalty() ? options.repetition_penalty()
                                                               : defaults.repetition_penalty.value_or(1);
  params.frequency_penalty = options.frequency_penalty();
  params.presence_penalty = options.presence_penalty();
  params.logit_bias.assign(options.logit_bias().begin(), options.logit_bias().end());
  std::sort(params.logit_bias.begin(), params.logit_bias.end());  // a protobuf map has no order of its own
  if (request.has_logprobs()) {
    if (request.logprobs() < 0 || request.logprobs() > kMaxLogprobs) {
      return FieldError("logprobs", absl::StrCat(request.logprobs(), " is outside 0..", kMaxLogprobs));
    }
    params.logprobs = request.logprobs();
  }
  if (auto s = ValidateSamplingParams(params, model.config.vocab_size); !s.ok()) {
    return WithFieldPrefix(s, "sampling.");
  }
  return params;
}

absl::StatusOr<std::vector<TokenId>> EncodeText(const std::string& text, const Engine& engine,
                                                ConversationState state, absl::string_view field) {
  const TextPosition position =
      state == ConversationState::kEmpty ? TextPosition::kStart : TextPosition::kContinuation;
  auto tokens = engine.tokenizer().Encode(text, position, SpecialTokens::kParse);
  if (absl::IsInvalidArgument(tokens.status())) return FieldError(field, tokens.status().message());
  return tokens;
}

ChatTurn ToTurn(const v1::ChatMessage& message) {
  ChatTurn turn = {.role = message.role(),
                   .content = message.content(),
                   .name = message.name(),
                   .tool_call_id = message.tool_call_id(),
                   .reasoning_content = message.reasoning_content()};
  for (const v1::ToolCall& call : message.tool_calls()) {
    turn.tool_calls.push_back({call.id(), call.name(), call.arguments()});
  }
  return turn;
}

absl::Status ChatError(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) return FieldError("chat", status.message());
  return WithDefaultReason(status, absl::StatusCode::kFailedPrecondition, "NO_CHAT_TEMPLATE");
}

// Of the whole conversation.
absl::StatusOr<std::vector<TokenId>> EncodeChat(const v1::ChatMessages& chat, const Engine& engine) {
  std::vector<ChatTurn> turns = ToTurns(chat.earlier());
  const std::vector<ChatTurn> messages = ToTurns(chat.messages());
  turns.insert(turns.end(), messages.begin(), messages.end());
  absl::StatusOr<std::string> text = engine.RenderChat(turns, ToVariables(chat), true);
  if (!text.ok()) return ChatError(text.status());
  auto tokens = EncodeRenderedChat(*text, engine, ConversationState::kEmpty);
  if (!tokens.ok()) return ChatError(tokens.status());
  return tokens;
}

// Whether the session may hold another text than the template would render.
bool MayBeOther(v1::ChatPrefix prefix) {
  return prefix == v1::CHAT_PREFIX_CHANGED || prefix == v1::CHAT_PREFIX_UNCHECKED;
}

absl::Status PrefixError(v1::ChatPrefix prefix) {
  if (prefix == v1::CHAT_PREFIX_CHANGED) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, "PREFIX_CHANGED",
                           "the chat template renders the conversation otherwise than the session holds it");
  }
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, "PREFIX_UNCHECKED",
                         "it is not known whether the session holds what the chat template renders");
}

}  // namespace

absl::Status CheckTokenIds(const v1::TokenIds& tokens, int vocabulary_size) {
  for (int i = 0; i < tokens.ids_size(); ++i) {
    if (tokens.ids(i) >= 0 && tokens.ids(i) < vocabulary_size) continue;
    return FieldError(absl::StrCat("tokens.ids[", i, "]"),
                      absl::StrCat(tokens.ids(i), " is outside the vocabulary 0..", vocabulary_size - 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<TurnRequest> ReadGenerateRequest(const v1::GenerateRequest& request, const ModelInfo& model,
                                                const GenerateLimits& limits, uint64_t random_seed) {
  if (auto s = CheckInput(request, model.config.vocab_size); !s.ok()) return s;
  if (auto s = CheckStops(request.stop()); !s.ok()) return s;
  if (request.has_response_format()) {
    if (auto s = CheckFormat(request.response_format(), limits.max_format_bytes); !s.ok()) return s;
  }
  TurnRequest turn;
  turn.mode = TurnMode::kGenerate;
  turn.max_new_tokens =
      request.has_max_tokens() ? request.max_tokens() : std::min(kDefaultMaxTokens, limits.max_tokens);
  if (turn.max_new_tokens < 1 || turn.max_new_tokens > limits.max_tokens) {
    return FieldError("max_tokens", absl::StrCat(turn.max_new_tokens, " is outside 1..", limits.max_tokens));
  }
  absl::StatusOr<SamplingParams> sampling = ReadSampling(request, model, random_seed);
  if (!sampling.ok()) return sampling.status();
  turn.sampling = *std::move(sampling);
  turn.stop.assign(request.stop().begin(), request.stop().end());
  turn.ignore_eos = request.ignore_eos();
  switch (request.path_preference()) {
    case v1::PATH_PREFERENCE_UNSPECIFIED:
    case v1::PATH_PREFERENCE_AUTO:
      turn.preference = PathPreference::kAuto;
      break;
    case v1::PATH_PREFERENCE_EXACT:
      turn.preference = PathPreference::kExact;
      break;
    case v1::PATH_PREFERENCE_GATED:
      turn.preference = PathPreference::kGated;
      break;
    default:
      return FieldError("path_preference",
                        absl::StrCat(request.path_preference(), " is not a known preference"));
  }
  return turn;
}

absl::StatusOr<std::shared_ptr<TokenConstraint>> ReadConstraint(const v1::GenerateRequest& request,
                                                                Engine& engine) {
  const v1::ResponseFormat& format = request.response_format();
  OutputFormat wanted;
  absl::string_view field = "response_format.json_object";
  switch (format.format_case()) {
    case v1::ResponseFormat::FORMAT_NOT_SET:
      return std::shared_ptr<TokenConstraint>();
    case v1::ResponseFormat::kJsonObject:
      break;
    case v1::ResponseFormat::kJsonSchema:
      wanted = {OutputFormat::Kind::kJsonSchema, format.json_schema()};
      field = "response_format.json_schema";
      break;
    case v1::ResponseFormat::kGrammar:
      wanted = {OutputFormat::Kind::kGrammar, format.grammar()};
      field = "response_format.grammar";
      break;
  }
  auto constraint = engine.Constrain(wanted);
  if (absl::IsInvalidArgument(constraint.status())) return FieldError(field, constraint.status().message());
  return constraint;
}

absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::GenerateRequest& request, const Engine& engine,
                                                 ConversationState state) {
  absl::StatusOr<std::vector<TokenId>> tokens = std::vector<TokenId>{};
  if (request.has_chat()) {
    tokens = EncodeChat(request.chat(), engine);
  } else if (request.has_tokens()) {
    tokens->assign(request.tokens().ids().begin(), request.tokens().ids().end());
  } else if (!request.prompt().empty()) {
    tokens = EncodeText(request.prompt(), engine, state, "prompt");
  }
  if (tokens.ok() && tokens->empty() && state == ConversationState::kEmpty) {
    return FieldError("input",
                      "is required: set prompt, chat or tokens (only a session that holds tokens may be "
                      "continued without)");
  }
  return tokens;
}

std::vector<ChatTurn> ToTurns(const google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages) {
  std::vector<ChatTurn> turns;
  turns.reserve(messages.size());
  for (const v1::ChatMessage& message : messages) turns.push_back(ToTurn(message));
  return turns;
}

ChatVariables ToVariables(const v1::ChatMessages& chat) {
  ChatVariables variables;
  variables.tools.assign(chat.tools().begin(), chat.tools().end());
  for (const auto& [name, json] : chat.template_arguments()) variables.arguments.emplace(name, json);
  return variables;
}

absl::StatusOr<ChatInput> EncodeChatInput(const v1::ChatMessages& chat, const Engine& engine,
                                          const SessionLease& lease) {
  const bool empty = lease.total_tokens() == 0;
  if (!empty) {
    absl::StatusOr<ChatInput> next = ContinueChat(chat, engine, lease.chat_tail());
    const v1::OnChangedPrefix choice = chat.on_changed_prefix();
    if (next.ok() && !MayBeOther(next->prefix)) return next;
    if (next.ok() && choice == v1::ON_CHANGED_PREFIX_REFUSE) return PrefixError(next->prefix);
    if (choice != v1::ON_CHANGED_PREFIX_REBUILD) return next.ok() ? next : ChatError(next.status());
  }
  auto tokens = EncodeChat(chat, engine);
  if (!tokens.ok()) return tokens.status();
  return ChatInput{.tokens = *std::move(tokens),
                   .prefix = empty ? v1::CHAT_PREFIX_UNSPECIFIED : v1::CHAT_PREFIX_REBUILT,
                   .rebuilds = !empty,
                   .tail = BeginChat(chat, engine)};
}

absl::StatusOr<std::vector<TokenId>> EncodeRenderedChat(const std::string& text, const Engine& engine,
                                                        ConversationState state) {
  const bool starts = state == ConversationState::kEmpty;
  return engine.tokenizer().Encode(text, starts ? TextPosition::kStartAsWritten : TextPosition::kContinuation,
                                   SpecialTokens::kParse);
}

absl::StatusOr<std::vector<TokenId>> EncodeInput(const v1::CountTokensRequest& request,
                                                 const Engine& engine) {
  if (request.has_chat()) {
    if (auto s = CheckChat(request.chat()); !s.ok()) return s;
    return EncodeChat(request.chat(), engine);
  }
  if (request.input_case() == v1::CountTokensRequest::INPUT_NOT_SET) {
    return FieldError("input", "is required: set prompt or chat");
  }
  return EncodeText(request.prompt(), engine, ConversationState::kEmpty, "prompt");
}

}  // namespace memgate
