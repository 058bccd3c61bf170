#include "engine/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/text/chat_templates.h"

namespace memgate {
namespace {

using testing::HasSubstr;

using Sources = std::map<std::string, std::string>;

absl::StatusOr<std::string> Render(std::string_view source, const std::vector<ChatTurn>& messages = {},
                                   const ChatRenderOptions& options = {}) {
  const auto compiled = ChatTemplate::Compile(source);
  if (!compiled.ok()) return compiled.status();
  return (*compiled)->Render(messages, options);
}

void ExpectError(std::string_view source, absl::StatusCode code, const std::string& message) {
  const absl::Status status = Render(source).status();
  EXPECT_EQ(status.code(), code) << source << ": " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << source;
}

TEST(ChatTemplateTest, RendersAConversationWithAGenerationPrompt) {
  constexpr std::string_view kSource =
      "{{ bos_token }}\n"
      "{% for turn in messages %}\n"
      "    {% if turn.role == 'system' and not loop.first %}\n"
      "        {{ raise_exception('the system speaks first') }}\n"
      "    {% endif %}\n"
      "[{{ turn['role'] | upper }}] {{ turn.content | trim }}\n"
      "{% endfor %}\n"
      "{% if add_generation_prompt %}\n"
      "[ASSISTANT]\n"
      "{%- endif %}";
  EXPECT_EQ(*Render(kSource, {{"system", "Short."}, {"user", " Hi \n"}}, {true, "<s>", "</s>"}),
            "<s>\n[SYSTEM] Short.\n[USER] Hi\n[ASSISTANT]");
  EXPECT_EQ(*Render(kSource, {{"user", "Hi"}}, {false, "<s>", "</s>"}), "<s>\n[USER] Hi\n");
}

TEST(ChatTemplateTest, NamesTheLineOfASyntaxError) {
  ExpectError("a\nb\n{% if %}x{% endif %}", absl::StatusCode::kInvalidArgument, "line 3");
  ExpectError("{{ 1 }}\n{{ 'open", absl::StatusCode::kInvalidArgument,
              "line 2: string without closing quote");
  ExpectError("\n\n{# open", absl::StatusCode::kInvalidArgument, "line 3: comment");
  ExpectError("{% for x in y %}\n", absl::StatusCode::kInvalidArgument, "\"endfor\"");
  ExpectError("\n{% endif %}", absl::StatusCode::kInvalidArgument, "line 2: unexpected tag \"endif\"");
  ExpectError("{{ a ? b }}", absl::StatusCode::kInvalidArgument, "unexpected character \"?\"");
  ExpectError("{% break %}", absl::StatusCode::kInvalidArgument, "break outside a loop");
}

TEST(ChatTemplateTest, NamesTheLineOfAnUnsupportedConstruct) {
  ExpectError("\n{% include 'x' %}", absl::StatusCode::kUnimplemented, "line 2: tag \"include\"");
  ExpectError("\n\n{{ x | xmlattr }}", absl::StatusCode::kUnimplemented, "line 3: filter \"xmlattr\"");
  ExpectError("{{ x is escaped }}", absl::StatusCode::kUnimplemented, "line 1: test \"escaped\"");
  ExpectError("{% for x in y recursive %}{% endfor %}", absl::StatusCode::kUnimplemented, "recursive");
}

TEST(ChatTemplateTest, NamesTheLineOfARunTimeError) {
  ExpectError("a\n{{ raise_exception('roles must alternate') }}", absl::StatusCode::kInvalidArgument,
              "line 2: roles must alternate");
  ExpectError("\n\n{{ nothing.at_all }}", absl::StatusCode::kInvalidArgument,
              "line 3: 'nothing' is undefined");
  ExpectError("{{ 1 + 'a' }}", absl::StatusCode::kInvalidArgument, "\"+\" does not apply to int and string");
  ExpectError("{{ 9223372036854775807 + 1 }}", absl::StatusCode::kInvalidArgument, "integer out of range");
  ExpectError("{{ no_such_function() }}", absl::StatusCode::kInvalidArgument,
              "'no_such_function' is undefined");
}

TEST(ChatTemplateTest, ErrorsHoldTheBeginningOfALongMessage) {
  const std::string long_message = "é" + std::string(1 << 20, 'x');
  const absl::Status status =
      Render("{{ raise_exception(messages[0].content) }}", {{"user", long_message}}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 1: éxxx"));
  EXPECT_LT(status.message().size(), 1100u);
}

TEST(ChatTemplateTest, BoundsTheWorkOfATemplate) {
  const auto exhausted = absl::StatusCode::kResourceExhausted;
  ExpectError("{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}", exhausted,
              "steps");
  ExpectError(
      "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      exhausted, "more text");
  ExpectError("{{ 'abcdefgh' * 99999999999 }}", exhausted, "too long");
  ExpectError("{{ range(10000000) }}", exhausted, "range");
  ExpectError("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", exhausted, "nested");
  ExpectError("{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}{% endfor %}",
              exhausted, "nested");
  // Each step doubles what printing the list would cost, though not what storing it does.
  ExpectError(
      "{% set ns = namespace(x=['a']) %}{% for i in range(30) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
      exhausted, "larger");
}

TEST(ChatTemplateTest, BoundsTheNestingOfSource) {
  std::string brackets;
  std::string operators = "{{ 1";
  std::string tags;
  brackets.append(10000, '(').append(10000, ')');
  for (int i = 0; i < 10000; ++i) {
    operators += "+1";
    tags += "{% if 1 %}";
  }
  ExpectError("{{" + brackets + "}}", absl::StatusCode::kInvalidArgument, "nested deeper");
  ExpectError(operators + "}}", absl::StatusCode::kInvalidArgument, "nested deeper");
  ExpectError(tags, absl::StatusCode::kInvalidArgument, "nested deeper");
}

TEST(ChatTemplateTest, ANamespaceThatHoldsItselfIsFreed) {
  EXPECT_EQ(*Render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns.self.self is defined }}"), "True");
}

TEST(ChatTemplateTest, FormatsTheGivenTimeInUtc) {
  ChatRenderOptions options;
  options.now_unix_seconds = 86400 * 365;
  EXPECT_EQ(*Render("{{ strftime_now('%Y-%m-%d %H:%M') }}", {}, options), "1971-01-01 00:00");
  EXPECT_EQ(*Render("{{ strftime_now is defined }}"), "False");
  EXPECT_EQ(Render("{{ strftime_now('%Q') }}", {}, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplateTest, RefusesMessagesThatAreNotUtf8) {
  const absl::Status status = Render("{{ messages[0].content | upper }}", {{"user", "ab\xFF"}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("message 0: content: text is not valid UTF-8 at byte 2"));
}

TEST(ChatTemplateTest, ArgumentsCannotStandForWhatTheConversationSays) {
  ChatRenderOptions options{.add_generation_prompt = false, .bos_token = "<s>", .eos_token = ""};
  for (const char* name : {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
    options.variables.arguments[name] = R"("forged")";
  }
  EXPECT_EQ(
      *Render("{{ bos_token }}{{ eos_token }}{{ messages[0].content }}{{ tools }}{{ add_generation_prompt }}",
              {{"user", "hello"}}, options),
      "<s>helloNoneFalse");
}

TEST(ChatTemplateTest, NamesTheArgumentThatIsNoJson) {
  const auto message = [](const char* json) {
    ChatRenderOptions options;
    options.variables.arguments["enable_thinking"] = json;
    const absl::Status status = Render("", {}, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message("False"), HasSubstr("template argument \"enable_thinking\": not valid JSON at byte 1"));
  EXPECT_THAT(message(""), HasSubstr("template argument \"enable_thinking\": not valid JSON"));
  EXPECT_THAT(message(std::string(100, '[').c_str()), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(message("18446744073709551615"), HasSubstr("more than 64 bits"));
}

TEST(ChatTemplatesTest, ToolsAreRenderedWithTheTemplateForThem) {
  const auto text = [](const ChatTemplates& templates, const ChatVariables& variables) {
    const auto chosen = templates.For(variables);
    EXPECT_TRUE(chosen.ok()) << chosen.status();
    return chosen.ok() ? (*chosen)->Render({}, {}).value() : "";
  };
  const ChatTemplates both(Sources{{"default", "plain"}, {"tool_use", "tools"}, {"rag", "{% if"}});
  EXPECT_EQ(text(both, {}), "plain");
  EXPECT_EQ(text(both, {.tools = {"{}"}}), "tools");
  EXPECT_EQ(text(both, {.arguments = {{"documents", "[]"}}}), "plain");
  const ChatTemplates plain(Sources{{"default", "plain"}});
  EXPECT_EQ(text(plain, {.tools = {"{}"}}), "plain");
}

TEST(ChatTemplatesTest, ATemplateThatIsMissingOrWrongIsSoOnlyWhereItIsNeeded) {
  const ChatVariables tools = {.tools = {"{}"}};
  const ChatTemplates only_tools(Sources{{"tool_use", "tools"}});
  EXPECT_TRUE(absl::IsNotFound(only_tools.For({}).status()));
  EXPECT_TRUE(only_tools.For(tools).ok());
  const ChatTemplates broken(Sources{{"default", "plain"}, {"tool_use", "\n{% if"}});
  EXPECT_TRUE(broken.For({}).ok());
  EXPECT_THAT(std::string(broken.For(tools).status().message()), HasSubstr("line 2"));
  EXPECT_TRUE(absl::IsNotFound(ChatTemplates().For(tools).status()));
}

}  // namespace
}  // namespace memgate
