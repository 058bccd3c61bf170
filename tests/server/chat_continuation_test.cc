#include "server/chat_continuation.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"

namespace memgate {
namespace {

using Messages = std::vector<std::pair<std::string, std::string>>;  // role, content

constexpr char kPlain[] =
    "{%- if messages[0].role != 'system' %}{{ '<|system|>Be kind.<|end|>\n' }}{% endif %}"
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
// Strips the reasoning of all but the messages behind the latest question.
constexpr char kReasoning[] =
    "{%- for m in messages %}{%- set text = m.content.split('</think>')[-1] if m.role == 'assistant' else "
    "m.content %}"
    "{{- '<|' + m.role + '|>' + text + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kTrimming[] =
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kOpensReasoning[] =
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|><think>' }}{% endif %}";
constexpr char kRefusesAssistants[] =
    "{%- for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ "
    "m.content }}{% endfor %}";

class ChatContinuationTest : public testing::Test {
 protected:
  std::unique_ptr<Engine> Load(const std::string& chat_template) {
    const std::string folder =
        WriteTinyModel(folder_.File("model" + std::to_string(++models_)), {.chat_template = false});
    std::ofstream(folder + "/chat_template.jinja") << chat_template;
    auto engine = Engine::Load({.model_path = folder, .threads = 1});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  static v1::ChatMessages Chat(const Messages& messages) {
    v1::ChatMessages chat;
    for (const auto& [role, content] : messages) {
      v1::ChatMessage* message = chat.add_messages();
      message->set_role(role);
      message->set_content(content);
    }
    return chat;
  }
  static std::string Render(const Engine& engine, const Messages& messages) {
    std::vector<ChatTurn> turns;
    for (const auto& [role, content] : messages) turns.push_back({role, content});
    const auto text = engine.RenderChat(turns, {}, true);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.ok() ? *text : "";
  }
  static ChatTail Answered(const std::string& answer, int32_t end_token = kTinyEndOfTurn) {
    return {.after_answer = true, .whole = true, .answer = answer, .end_token = end_token};
  }

  TempFolder folder_;

 private:
  int models_ = 0;
};

TEST_F(ChatContinuationTest, TextIsWhatTheTemplateAddsToTheConversation) {
  auto engine = Load(kPlain);
  const Messages first = {{"user", "one"}};
  const Messages all = {{"user", "one"}, {"assistant", "first"}, {"user", "two"}};
  // Ended by its end token, which the session holds.
  auto next = ContinueChat(Chat({{"user", "two"}}), *engine, Answered("first"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(next->text, "\n<|user|>two<|end|>\n<|assistant|>");
  EXPECT_EQ(Render(*engine, first) + "first<|end|>" + next->text, Render(*engine, all));
  // Cut: the template's end of the turn comes with the next one.
  next = ContinueChat(Chat({{"user", "two"}}), *engine, Answered("first", kNoToken));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(Render(*engine, first) + "first" + next->text, Render(*engine, all));
}

TEST_F(ChatContinuationTest, SaysWhereTheTemplateRendersTheAnswerOtherwise) {
  const auto prefix = [&](const Engine& engine, const std::string& answer) {
    const auto next = ContinueChat(Chat({{"user", "two"}}), engine, Answered(answer));
    EXPECT_TRUE(next.ok()) << next.status();
    EXPECT_EQ(next->text, "<|user|>two<|end|><|assistant|>");
    return next->prefix;
  };
  auto reasoning = Load(kReasoning);
  EXPECT_EQ(prefix(*reasoning, "4"), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(prefix(*reasoning, "<think>2 + 2</think>4"), v1::CHAT_PREFIX_CHANGED);
  auto trimming = Load(kTrimming);
  EXPECT_EQ(prefix(*trimming, "4"), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(prefix(*trimming, " 4"), v1::CHAT_PREFIX_CHANGED);
}

TEST_F(ChatContinuationTest, AGenerationPromptThatIsNotRenderedAgainChangesThePrefix) {
  auto engine = Load(kOpensReasoning);
  const auto next = ContinueChat(Chat({{"user", "two"}}), *engine, Answered("hm</think>4"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_CHANGED);
  EXPECT_EQ(next->text, "<|user|>two<|end|><|assistant|><think>");
}

TEST_F(ChatContinuationTest, WhatIsNotKnownIsNotChecked) {
  auto engine = Load(kPlain);
  ChatTail too_long = Answered("");
  too_long.whole = false;
  auto next = ContinueChat(Chat({{"user", "two"}}), *engine, too_long);
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(next->text, "\n<|user|>two<|end|>\n<|assistant|>");
  // After text that was no chat the messages stand by themselves.
  next = ContinueChat(Chat({{"user", "two"}}), *engine, ChatTail());
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(next->text, Render(*engine, {{"user", "two"}}));
}

TEST_F(ChatContinuationTest, AnAnswerThatSpellsASpecialTokenChangesThePrefix) {
  auto engine = Load(kPlain);
  const auto next = ContinueChat(Chat({{"user", "two"}}), *engine, Answered("4<|user|>5"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_CHANGED);
  EXPECT_EQ(next->text, "\n<|user|>two<|end|>\n<|assistant|>");
}

TEST_F(ChatContinuationTest, TemplatesThatRefuseTheStandInGetTheMessagesAlone) {
  auto engine = Load(kRefusesAssistants);
  const auto next = ContinueChat(Chat({{"user", "two"}}), *engine, Answered("first"));
  ASSERT_TRUE(next.ok()) << next.status();
  EXPECT_EQ(next->prefix, v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(next->text, "two");
  EXPECT_FALSE(ContinueChat(Chat({{"assistant", "x"}}), *engine, Answered("first")).ok());
}

// Whenever a published template says that it continues, what is taken in is what it adds.
TEST_F(ChatContinuationTest, PublishedTemplatesContinueAsTheyRender) {
  const std::string folder = MEMGATE_SOURCE_DIR "/../shared/data/chat-templates";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no such folder: " << folder;
  int continued = 0;
  int changed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    std::ostringstream source;
    source << std::ifstream(entry.path()).rdbuf();
    auto engine = Load(source.str());
    if (!engine->RenderChat({{.role = "user", .content = "one"}}, {}, true).ok()) {  // wants tools
      EXPECT_FALSE(ContinueChat(Chat({{"user", "two"}}), *engine, Answered("Four.", kNoToken)).ok());
      continue;
    }
    for (const std::string answer : {"Four.", "<think>\n2 + 2\n</think>\n\nFour.", "Four. "}) {
      const auto next = ContinueChat(Chat({{"user", "And 3 + 3?"}}), *engine, Answered(answer, kNoToken));
      ASSERT_TRUE(next.ok()) << entry.path() << ": " << next.status();
      const std::string before = Render(*engine, {{"user", "What is 2 + 2?"}}) + answer;
      const std::string whole =
          Render(*engine, {{"user", "What is 2 + 2?"}, {"assistant", answer}, {"user", "And 3 + 3?"}});
      EXPECT_EQ(next->prefix == v1::CHAT_PREFIX_CONTINUES, whole.starts_with(before)) << entry.path() << "\n"
                                                                                      << answer;
      if (next->prefix == v1::CHAT_PREFIX_CONTINUES) {
        EXPECT_EQ(before + next->text, whole) << entry.path();
        ++continued;
      } else {
        ++changed;
      }
    }
  }
  EXPECT_GT(continued, 12);
  EXPECT_GT(changed, 0);
}

}  // namespace
}  // namespace memgate
