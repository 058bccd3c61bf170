#include "server/generate_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

constexpr int64_t kLimit = 1000;

class GenerateRequestTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempFolder();
    auto engine = Engine::Load({.model_path = WriteTinyModel(folder_->File("tiny")), .threads = 1});
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = engine->release();
  }
  static void TearDownTestSuite() {
    delete engine_;
    delete folder_;
  }
  static absl::StatusOr<TurnRequest> Read(const v1::GenerateRequest& request, int64_t limit = kLimit) {
    return ReadGenerateRequest(request, engine_->model(), {.max_tokens = limit, .max_format_bytes = 100},
                               4711);
  }

  // An engine whose template is `chat_template` and whose tokenizer puts <|system|> before a text.
  static std::unique_ptr<Engine> LoadWithBeginToken(const std::string& name,
                                                    const std::string& chat_template) {
    const std::string folder = WriteTinyModel(folder_->File(name));
    nlohmann::json config = nlohmann::json::parse(std::ifstream(folder + "/tokenizer_config.json"));
    config["bos_token"] = "<|system|>";
    config["add_bos_token"] = true;
    config["chat_template"] = chat_template;
    std::ofstream(folder + "/tokenizer_config.json") << config.dump();
    auto engine = Engine::Load({.model_path = folder, .threads = 1});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  static inline TempFolder* folder_ = nullptr;
  static inline Engine* engine_ = nullptr;
};

// A chat with a template argument; `request` has a chat.
template <typename Request>
void Argue(Request& request, const std::string& name, const std::string& json) {
  request.mutable_chat()->add_messages()->set_role("user");
  (*request.mutable_chat()->mutable_template_arguments())[name] = json;
}

struct BadRequestCase {
  std::string field;
  std::function<void(v1::GenerateRequest&)> spoil;
};

TEST_F(GenerateRequestTest, NamesTheFieldOfEveryBadInput) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<BadRequestCase> cases = {
      {"max_tokens", [](auto& r) { r.set_max_tokens(0); }},
      {"max_tokens", [](auto& r) { r.set_max_tokens(-5); }},
      {"max_tokens", [](auto& r) { r.set_max_tokens(kLimit + 1); }},
      {"sampling.temperature", [](auto& r) { r.mutable_sampling()->set_temperature(-0.1f); }},
      {"sampling.temperature", [](auto& r) { r.mutable_sampling()->set_temperature(101); }},
      {"sampling.temperature", [&](auto& r) { r.mutable_sampling()->set_temperature(nan); }},
      {"sampling.top_k", [](auto& r) { r.mutable_sampling()->set_top_k(-1); }},
      {"sampling.top_k", [](auto& r) { r.mutable_sampling()->set_top_k(kTinyVocabSize + 1); }},
      {"sampling.top_p", [](auto& r) { r.mutable_sampling()->set_top_p(0); }},
      {"sampling.top_p", [](auto& r) { r.mutable_sampling()->set_top_p(1.5f); }},
      {"sampling.min_p", [](auto& r) { r.mutable_sampling()->set_min_p(2); }},
      {"sampling.repetition_penalty", [](auto& r) { r.mutable_sampling()->set_repetition_penalty(0); }},
      {"sampling.frequency_penalty", [](auto& r) { r.mutable_sampling()->set_frequency_penalty(101); }},
      {"sampling.presence_penalty", [](auto& r) { r.mutable_sampling()->set_presence_penalty(-101); }},
      {"sampling.logit_bias",
       [](auto& r) {
         for (int i = 0; i < 1025; ++i) (*r.mutable_sampling()->mutable_logit_bias())[i] = 1;
       }},
      {"logprobs", [](auto& r) { r.set_logprobs(21); }},
      {"logprobs", [](auto& r) { r.set_logprobs(-1); }},
      {"stop",
       [](auto& r) {
         for (int i = 0; i < 17; ++i) r.add_stop("x");
       }},
      {"stop[0]", [](auto& r) { r.add_stop(""); }},
      {"stop[1]",
       [](auto& r) {
         r.add_stop("x");
         r.add_stop(std::string(257, 'x'));
       }},
      {"path_preference", [](auto& r) { r.set_path_preference(static_cast<v1::PathPreference>(17)); }},
      {"chat.messages", [](auto& r) { r.mutable_chat(); }},
      {"chat.messages",
       [](auto& r) {
         for (int i = 0; i < 4097; ++i) r.mutable_chat()->add_messages()->set_role("user");
       }},
      {"chat.messages[1].role",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->add_messages()->set_role("robot");
       }},
      {"chat.messages[0].tool_calls",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->mutable_messages(0)->add_tool_calls()->set_name("f");
       }},
      {"chat.messages[0].tool_calls[0].name",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("assistant");
         r.mutable_chat()->mutable_messages(0)->add_tool_calls()->set_arguments("{}");
       }},
      {"chat.messages[0].tool_calls",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("assistant");
         for (int i = 0; i < 129; ++i) r.mutable_chat()->mutable_messages(0)->add_tool_calls()->set_name("f");
       }},
      {"chat.messages[0].tool_call_id",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->mutable_messages(0)->set_tool_call_id("1");
       }},
      {"chat.messages[0].reasoning_content",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->mutable_messages(0)->set_reasoning_content("hm");
       }},
      {"chat.template_arguments",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         for (int i = 0; i < 65; ++i) {
           (*r.mutable_chat()->mutable_template_arguments())["x" + std::to_string(i)] = "1";
         }
       }},
      {"chat.template_arguments", [](auto& r) { Argue(r, "", "1"); }},
      {"chat.template_arguments", [](auto& r) { Argue(r, "1x", "1"); }},
      {"chat.template_arguments", [](auto& r) { Argue(r, "a-b", "1"); }},
      {"chat.template_arguments", [](auto& r) { Argue(r, std::string(65, 'x'), "1"); }},
      {"chat.template_arguments", [](auto& r) { Argue(r, "messages", "[]"); }},
      {"chat.template_arguments", [](auto& r) { Argue(r, "bos_token", "\"<s>\""); }},
      {"chat.tools",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         for (int i = 0; i < 129; ++i) r.mutable_chat()->add_tools("{}");
       }},
      {"chat.on_changed_prefix",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->set_on_changed_prefix(static_cast<v1::OnChangedPrefix>(9));
       }},
      {"chat.earlier",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->set_on_changed_prefix(v1::ON_CHANGED_PREFIX_REBUILD);
       }},
      {"chat.earlier[0].role",
       [](auto& r) {
         r.mutable_chat()->add_messages()->set_role("user");
         r.mutable_chat()->add_earlier();
       }},
      {"tokens.ids[1]",
       [](auto& r) {
         r.mutable_tokens()->add_ids(0);
         r.mutable_tokens()->add_ids(kTinyVocabSize);
       }},
      {"tokens.ids[0]", [](auto& r) { r.mutable_tokens()->add_ids(-1); }},
      {"response_format", [](auto& r) { r.mutable_response_format(); }},
      {"response_format.json_object", [](auto& r) { r.mutable_response_format()->set_json_object(false); }},
      {"response_format.json_schema",
       [](auto& r) { r.mutable_response_format()->set_json_schema(std::string(101, ' ')); }},
      {"response_format.grammar",
       [](auto& r) { r.mutable_response_format()->set_grammar(std::string(101, ' ')); }},
  };
  for (const BadRequestCase& bad : cases) {
    v1::GenerateRequest request;
    request.set_prompt("x");
    bad.spoil(request);
    const auto turn = Read(request);
    EXPECT_TRUE(absl::IsInvalidArgument(turn.status())) << bad.field;
    EXPECT_EQ(FieldOf(turn.status()), bad.field) << turn.status();
  }
}

TEST_F(GenerateRequestTest, LogitBiasOutsideTheVocabularyNamesItsField) {
  v1::GenerateRequest request;
  (*request.mutable_sampling()->mutable_logit_bias())[kTinyVocabSize] = 1;
  const auto turn = Read(request);
  EXPECT_TRUE(absl::IsInvalidArgument(turn.status()));
  EXPECT_THAT(std::string(FieldOf(turn.status())), testing::StartsWith("sampling.logit_bias"));
}

TEST_F(GenerateRequestTest, FillsInTheDefaultsOfTheApi) {
  const auto turn = Read({});
  ASSERT_TRUE(turn.ok());
  EXPECT_EQ(turn->max_new_tokens, 256);
  EXPECT_EQ(turn->sampling.seed, 4711u);
  EXPECT_EQ(turn->sampling.logprobs, -1);
  EXPECT_EQ(turn->sampling.top_p, 1);
  EXPECT_EQ(turn->preference, PathPreference::kAuto);
  EXPECT_EQ(Read({}, 10)->max_new_tokens, 10) << "the server's limit also bounds the default";
}

TEST_F(GenerateRequestTest, ModelDefaultsApplyUnlessTheRequestSetsAValue) {
  ModelInfo model = engine_->model();
  model.generation.temperature = 0.7f;
  model.generation.top_k = 20;
  v1::GenerateRequest request;
  request.mutable_sampling()->set_temperature(0);
  const auto turn = ReadGenerateRequest(request, model, {.max_tokens = kLimit}, 1);
  ASSERT_TRUE(turn.ok());
  EXPECT_EQ(turn->sampling.temperature, 0) << "an explicit zero is a value";
  EXPECT_EQ(turn->sampling.top_k, 20);
}

TEST_F(GenerateRequestTest, PromptsParseSpecialTokens) {
  v1::GenerateRequest request;
  request.set_prompt("a<|end|>");
  EXPECT_EQ(*EncodeInput(request, *engine_, ConversationState::kStarted),
            (std::vector<TokenId>{'a', kTinyEndOfTurn}));
}

TEST_F(GenerateRequestTest, TokenIdsAreTakenAsTheyAre) {
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(kTinyEndOfText);
  request.mutable_tokens()->add_ids(7);
  EXPECT_EQ(*EncodeInput(request, *engine_, ConversationState::kEmpty),
            (std::vector<TokenId>{kTinyEndOfText, 7}));
}

TEST_F(GenerateRequestTest, OnlyAStartedConversationGoesOnWithoutInput) {
  EXPECT_EQ(FieldOf(EncodeInput(v1::GenerateRequest(), *engine_, ConversationState::kEmpty).status()),
            "input");
  EXPECT_TRUE(EncodeInput(v1::GenerateRequest(), *engine_, ConversationState::kStarted)->empty());
}

TEST_F(GenerateRequestTest, CountsWhatGenerateWouldTakeIn) {
  v1::CountTokensRequest count;
  v1::GenerateRequest generate;
  for (auto* chat : {count.mutable_chat(), generate.mutable_chat()}) {
    auto* message = chat->add_messages();
    message->set_role("user");
    message->set_content("hello");
  }
  const auto counted = EncodeInput(count, *engine_);
  ASSERT_TRUE(counted.ok()) << counted.status();
  EXPECT_EQ(*counted, *EncodeInput(generate, *engine_, ConversationState::kEmpty));
  EXPECT_GT(counted->size(), 5u);
  EXPECT_EQ(FieldOf(EncodeInput(v1::CountTokensRequest(), *engine_).status()), "input");
}

TEST_F(GenerateRequestTest, ToolsAndCallsReachTheTemplateOrAreRefused) {
  v1::CountTokensRequest request;
  request.mutable_chat()->add_tools(R"({"type": "function", "function": {"name": "f"}})");
  auto* call = request.mutable_chat()->add_messages();
  call->set_role("assistant");
  call->add_tool_calls()->set_name("f");
  call->mutable_tool_calls(0)->set_arguments(R"({"x": 1})");
  auto* answer = request.mutable_chat()->add_messages();
  answer->set_role("tool");
  answer->set_name("f");
  answer->set_content("hello");
  EXPECT_TRUE(EncodeInput(request, *engine_).ok()) << EncodeInput(request, *engine_).status();

  call->mutable_tool_calls(0)->set_arguments("{x: 1}");
  absl::Status status = EncodeInput(request, *engine_).status();
  EXPECT_EQ(FieldOf(status), "chat");
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("message 0: tool call 0: arguments: not valid JSON at byte 2"));
  call->mutable_tool_calls(0)->set_arguments("{}");
  request.mutable_chat()->add_tools("");
  status = EncodeInput(request, *engine_).status();
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("tool 1: not valid JSON"));
}

TEST_F(GenerateRequestTest, ARenderedChatHasTheTokensThatItsTemplateWrites) {
  v1::GenerateRequest prompt;
  prompt.set_prompt("a");
  v1::GenerateRequest chat;
  auto* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("a");
  v1::CountTokensRequest count;
  *count.mutable_chat() = chat.chat();
  const auto without = LoadWithBeginToken("without", "{{ messages[0].content }}");
  EXPECT_EQ(*EncodeInput(prompt, *without, ConversationState::kEmpty),
            (std::vector<TokenId>{kTinySystem, 'a'}));
  EXPECT_EQ(*EncodeInput(chat, *without, ConversationState::kEmpty), (std::vector<TokenId>{'a'}));
  EXPECT_EQ(*EncodeInput(count, *without), (std::vector<TokenId>{'a'}));
  const auto with = LoadWithBeginToken("with", "{{ bos_token + messages[0].content }}");
  EXPECT_EQ(*EncodeInput(chat, *with, ConversationState::kEmpty), (std::vector<TokenId>{kTinySystem, 'a'}));
  EXPECT_EQ(*EncodeInput(count, *with), (std::vector<TokenId>{kTinySystem, 'a'}));
}

TEST_F(GenerateRequestTest, TemplateArgumentsAndReasoningReachTheTemplateOrAreRefused) {
  const auto engine = LoadWithBeginToken(
      "arguments", "{% if think is false %}n{% endif %}{{ messages[0].reasoning_content }}");
  v1::CountTokensRequest request;
  auto* message = request.mutable_chat()->add_messages();
  message->set_role("assistant");
  message->set_content("a");
  EXPECT_EQ(*EncodeInput(request, *engine), std::vector<TokenId>());
  message->set_reasoning_content("r");
  EXPECT_EQ(*EncodeInput(request, *engine), (std::vector<TokenId>{'r'}));
  auto& arguments = *request.mutable_chat()->mutable_template_arguments();
  arguments["think"] = "false";
  arguments["nobody_reads_this"] = "{}";
  EXPECT_EQ(*EncodeInput(request, *engine), (std::vector<TokenId>{'n', 'r'}));
  arguments["think"] = "maybe";
  const absl::Status status = EncodeInput(request, *engine).status();
  EXPECT_EQ(FieldOf(status), "chat");
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("template argument \"think\": not valid JSON at byte 1"));
}

}  // namespace
}  // namespace memgate
