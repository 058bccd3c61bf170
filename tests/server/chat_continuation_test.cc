// Turns of chats as a session takes them in, held against the whole conversation, token for token.
#include "server/chat_continuation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "engine/text/unicode.h"
#include "server/generate_request.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "tests/text/shared_data.h"
#include "tests/text/tiny_tokenizers.h"

namespace memgate {
namespace {

using nlohmann::json;
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
// Keeps that of the latest answer.
constexpr char kLatestReasoning[] =
    "{%- set ns = namespace(last=-1) %}"
    "{%- for m in messages %}{% if m.role == 'assistant' %}{% set ns.last = loop.index0 %}{% endif %}{% "
    "endfor %}"
    "{%- for m in messages %}{%- set text = m.content if loop.index0 == ns.last else "
    "m.content.split('</think>')[-1] %}"
    "{{- '<|' + m.role + '|>' + text + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kTrimming[] =
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content | trim + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kOpensReasoning[] =
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|><think>' }}{% endif %}";
// Opens an answer with an empty thought where the system message asks for none, and keeps it.
constexpr char kSwitched[] =
    "{%- set thought = '<think></think>' if '/no_think' in messages[0].content else '' %}"
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + (thought if m.role == 'assistant' else '') + "
    "m.content + "
    "'<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' + thought }}{% endif %}";
constexpr char kTools[] =
    "{{- '<|system|>' }}{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{{ '<|end|>' }}"
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
// Puts the system message into the latest one.
constexpr char kMovesSystem[] =
    "{%- for m in messages if m.role != 'system' %}"
    "{{- '<|' + m.role + '|>' }}{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}"
    "{% endif %}{{ m.content + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kDated[] =
    "{{- '<|system|>' + strftime_now('%d %b %Y') + '<|end|>' }}"
    "{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
constexpr char kRefusesAssistants[] =
    "{%- for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ "
    "m.content }}{% endfor %}";
// As Llama 2 has it: a begin token before every question, a blank before every end token.
constexpr char kRepeatsBegin[] =
    "{%- for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content | trim + ' "
    "[/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}";
// As Phi-3 has it: a line break behind every end of a turn.
constexpr char kLineBreaks[] =
    "{%- for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";

constexpr char kWeather[] = R"({"type": "function", "function": {"name": "weather", "description": "",
    "parameters": {"type": "object", "properties": {}}}})";
constexpr char kTime[] = R"({"type": "function", "function": {"name": "time", "description": "",
    "parameters": {"type": "object", "properties": {}}}})";

// The whole conversation as it would be rendered and encoded now.
std::vector<TokenId> Encoded(const Engine& engine, const std::vector<ChatTurn>& turns,
                             const std::vector<std::string>& tools) {
  const auto text = engine.RenderChat(turns, {.tools = tools}, true);
  EXPECT_TRUE(text.ok()) << text.status();
  if (!text.ok()) return {};
  return *EncodeRenderedChat(*text, engine, ConversationState::kEmpty);
}

// What a session holds of a chat, turn by turn, and the conversation as its client knows it.
class HeldChat {
 public:
  explicit HeldChat(const Engine& engine, std::vector<std::string> tools = {})
      : engine_(engine), tools_(std::move(tools)) {}

  // The next messages, which are taken in.
  v1::ChatPrefix Say(const Messages& messages) {
    v1::ChatMessages chat;
    for (const std::string& tool : tools_) chat.add_tools(tool);
    for (const auto& [role, content] : messages) {
      v1::ChatMessage* message = chat.add_messages();
      message->set_role(role);
      message->set_content(content);
    }
    const bool first = turns_.empty() && ids_.empty();
    for (const ChatTurn& turn : ToTurns(chat.messages())) turns_.push_back(turn);
    if (first) {
      ids_ = Encoded(engine_, turns_, tools_);
      tail_ = BeginChat(chat, engine_);
      return v1::CHAT_PREFIX_UNSPECIFIED;
    }
    auto input = ContinueChat(chat, engine_, tail_);
    EXPECT_TRUE(input.ok()) << input.status();
    if (!input.ok()) return v1::CHAT_PREFIX_UNSPECIFIED;
    if (input->replaces_end) ids_.pop_back();
    ids_.insert(ids_.end(), input->tokens.begin(), input->tokens.end());
    tail_ = std::move(input->tail);
    latest_ = std::move(input->tokens);
    return input->prefix;
  }

  // The model answers in the tokens that the tokenizer cuts `text` into there.
  void Answer(const std::string& text, TokenId end = -1) {
    const std::string before = *engine_.RenderChat(turns_, {.tools = tools_}, true);
    const auto first = *EncodeRenderedChat(before, engine_, ConversationState::kEmpty);
    auto ids = *EncodeRenderedChat(before + text, engine_, ConversationState::kEmpty);
    if (ids.size() >= first.size() && std::equal(first.begin(), first.end(), ids.begin())) {
      ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(first.size()));
    } else {
      ids = *EncodeRenderedChat(text, engine_, ConversationState::kStarted);
    }
    AnswerIds(ids, text, end);
  }
  void AnswerIds(const std::vector<TokenId>& ids, const std::string& text, TokenId end = -1) {
    for (const TokenId id : ids) tail_.Append(id);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    if (end >= 0) ids_.push_back(end);
    tail_.ended = end >= 0;
    turns_.push_back({.role = "assistant", .content = text});
  }

  const std::vector<TokenId>& ids() const { return ids_; }
  std::vector<TokenId> whole() const { return Encoded(engine_, turns_, tools_); }
  // What the latest messages added, as the vocabulary spells it.
  std::string latest() const {
    std::string text;
    for (const TokenId id : latest_) {
      const Tokenizer& tokenizer = engine_.tokenizer();
      text += tokenizer.IsSpecial(id) ? tokenizer.Piece(id) : tokenizer.TokenBytes(id);
    }
    return text;
  }
  ChatTail& tail() { return tail_; }
  void set_tools(std::vector<std::string> tools) { tools_ = std::move(tools); }
  void Hold(const std::vector<TokenId>& ids) { ids_ = ids; }

 private:
  const Engine& engine_;
  std::vector<std::string> tools_;
  std::vector<ChatTurn> turns_;
  std::vector<TokenId> ids_, latest_;
  ChatTail tail_;
};

class ChatContinuationTest : public testing::Test {
 protected:
  // A tiny model with this template and, if one is given, tokenizer.
  std::unique_ptr<Engine> Load(const std::string& chat_template, const json& tokenizer = nullptr,
                               const std::string& config = "{}") {
    const int vocab_size =
        tokenizer.is_null() ? kTinyVocabSize : MakeTokenizer(tokenizer, config)->vocab_size();
    const std::string folder = Write(chat_template, vocab_size);
    if (!tokenizer.is_null()) {
      std::ofstream(folder + "/tokenizer.json") << tokenizer.dump();
      std::ofstream(folder + "/tokenizer_config.json") << config;
    }
    return Open(folder);
  }
  // With a published tokenizer.
  std::unique_ptr<Engine> LoadPublished(const std::string& chat_template, const std::string& name) {
    const std::string from = kData + "/tokenizers/" + name;
    const auto tokenizer = Tokenizer::FromFolder(from);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    const std::string folder = Write(chat_template, (*tokenizer)->vocab_size());
    for (const char* file : {"/tokenizer.json", "/tokenizer_config.json"}) {
      std::ofstream(folder + file) << ReadText(from + file);
    }
    return Open(folder);
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);

 private:
  std::string Write(const std::string& chat_template, int vocab_size) {
    const std::string folder =
        WriteTinyModel(folder_.File("model" + std::to_string(++models_)), {.layers = 1,
                                                                           .hidden = 8,
                                                                           .heads = 1,
                                                                           .kv_heads = 1,
                                                                           .ffn = 8,
                                                                           .tied = true,
                                                                           .eos_token_id = -1,
                                                                           .chat_template = false,
                                                                           .vocab_size = vocab_size});
    std::ofstream(folder + "/chat_template.jinja") << chat_template;
    return folder;
  }
  std::unique_ptr<Engine> Open(const std::string& folder) {
    auto engine = Engine::Load({.model_path = folder, .threads = 1, .clock = [this] { return now_; }});
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *std::move(engine) : nullptr;
  }

  TempFolder folder_;
  int models_ = 0;
};

json WithToken(json tokenizer, TokenId id, const char* content, bool rstrip) {
  tokenizer["added_tokens"].push_back({{"id", id},
                                       {"content", content},
                                       {"special", true},
                                       {"lstrip", false},
                                       {"rstrip", rstrip},
                                       {"single_word", false},
                                       {"normalized", false}});
  return tokenizer;
}

constexpr char kSentencePieceConfig[] = R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true})";

TEST_F(ChatContinuationTest, HoldsTheTokensOfTheWholeConversationHoweverAnswersEnd) {
  auto engine = Load(kPlain);
  HeldChat chat(*engine);
  EXPECT_EQ(chat.Say({{"user", "one"}}), v1::CHAT_PREFIX_UNSPECIFIED);
  chat.Answer("first", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.latest(), "<|end|>\n<|user|>two<|end|>\n<|assistant|>");
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("cut");
  EXPECT_EQ(chat.Say({{"user", "three"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("another end", kTinyEndOfText);
  EXPECT_EQ(chat.Say({{"user", "four"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "five"}, {"assistant", "given"}, {"user", "six"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
}

TEST_F(ChatContinuationTest, BeginTokensAreRepeatedAndBlanksKeptBeforeEndTokens) {
  auto engine = Load(kRepeatsBegin, TinySentencePieceJson(), kSentencePieceConfig);
  constexpr TokenId kBegin = 1, kEnd = 2;
  HeldChat chat(*engine);
  chat.Say({{"user", "the cat"}});
  for (const char* answer : {" the cat", " a", " the"}) {
    chat.Answer(answer, kEnd);
    EXPECT_EQ(chat.Say({{"user", "cat"}}), v1::CHAT_PREFIX_CONTINUES);
    EXPECT_THAT(chat.latest(), testing::StartsWith(" </s><s>"));
    EXPECT_EQ(chat.ids(), chat.whole());
  }
  EXPECT_EQ(std::count(chat.ids().begin(), chat.ids().end(), kBegin), 4);
  // A model that has learnt the blank writes it itself.
  chat.Answer(" cat ", kEnd);
  EXPECT_EQ(chat.Say({{"user", "cat"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_THAT(chat.latest(), testing::StartsWith("</s><s>"));
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("  cat", kEnd);  // the template trims one of these
  EXPECT_EQ(chat.Say({{"user", "cat"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_NE(chat.ids(), chat.whole());
}

TEST_F(ChatContinuationTest, WhatEndTokensSwallowIsNotTakenIn) {
  const json base = TinySentencePieceJson();
  const auto first = static_cast<TokenId>(base["model"]["vocab"].size());
  const json tokenizer =
      WithToken(WithToken(WithToken(base, first, "<|end|>", true), first + 1, "<|user|>", true), first + 2,
                "<|assistant|>", true);
  auto engine = Load(kLineBreaks, tokenizer, kSentencePieceConfig);
  constexpr TokenId kEndOfText = 2;
  for (const TokenId end : {first, kEndOfText, TokenId{-1}}) {
    HeldChat chat(*engine);
    chat.Say({{"user", "the cat"}});
    for (const char* answer : {" the cat", " a"}) {
      chat.Answer(answer, end);
      EXPECT_EQ(chat.Say({{"user", "cat"}}), v1::CHAT_PREFIX_CONTINUES);
      EXPECT_EQ(chat.latest(), "<|end|><|user|> cat<|end|><|assistant|>") << "without line breaks";
      EXPECT_EQ(chat.ids(), chat.whole());
    }
  }
}

TEST_F(ChatContinuationTest, OtherToolsChangeThePrefixForGood) {
  auto engine = Load(kTools);
  HeldChat chat(*engine, {kWeather});
  chat.Say({{"user", "one"}});
  chat.Answer("first", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
  for (const std::vector<std::string>& tools : {std::vector<std::string>{kWeather, kTime}, {kTime}, {}}) {
    HeldChat other = chat;
    other.Answer("second", kTinyEndOfTurn);
    other.set_tools(tools);
    EXPECT_EQ(other.Say({{"user", "three"}}), v1::CHAT_PREFIX_CHANGED);
    EXPECT_NE(other.ids(), other.whole());
    other.Answer("third", kTinyEndOfTurn);
    EXPECT_EQ(other.Say({{"user", "four"}}), v1::CHAT_PREFIX_CHANGED) << "the session still begins as before";
    EXPECT_NE(other.ids(), other.whole());
  }
  HeldChat late(*engine);
  late.Say({{"user", "one"}});
  late.Answer("first", kTinyEndOfTurn);
  late.set_tools({kWeather});
  EXPECT_EQ(late.Say({{"user", "two"}}), v1::CHAT_PREFIX_CHANGED);
}

TEST_F(ChatContinuationTest, AnswersThatTheTemplateRendersOtherwiseChangeThePrefixForGood) {
  const auto prefix = [](const Engine& engine, const std::string& answer) {
    HeldChat chat(engine);
    chat.Say({{"user", "one"}});
    chat.Answer(answer, kTinyEndOfTurn);
    const v1::ChatPrefix prefix = chat.Say({{"user", "two"}});
    EXPECT_EQ(chat.latest(), "<|end|><|user|>two<|end|><|assistant|>");
    EXPECT_EQ(prefix == v1::CHAT_PREFIX_CONTINUES, chat.ids() == chat.whole());
    chat.Answer("plain", kTinyEndOfTurn);
    EXPECT_EQ(chat.Say({{"user", "three"}}), prefix);
    return prefix;
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
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  chat.Answer("hm</think>4", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_EQ(chat.latest(), "<|end|><|user|>two<|end|><|assistant|><think>");
}

TEST_F(ChatContinuationTest, OlderMessagesThatWillChangeAreNoticedWhenTheyDo) {
  auto engine = Load(kLatestReasoning);
  for (const char* role : {"user", "tool"}) {
    HeldChat chat(*engine);
    chat.Say({{"user", "one"}});
    chat.Answer("<think>2 + 2</think>4", kTinyEndOfTurn);
    EXPECT_EQ(chat.Say({{role, "two"}}), v1::CHAT_PREFIX_CONTINUES) << "that of the latest answer stays";
    EXPECT_EQ(chat.ids(), chat.whole());
    chat.Answer("5", kTinyEndOfTurn);
    EXPECT_EQ(chat.Say({{role, "three"}}), v1::CHAT_PREFIX_CHANGED);
    EXPECT_NE(chat.ids(), chat.whole());
  }
  // Nor is that of an answer that the client sent, in the first turn.
  HeldChat given(*engine);
  given.Say({{"user", "one"}, {"assistant", "<think>2 + 2</think>4"}, {"user", "two"}});
  given.Answer("5", kTinyEndOfTurn);
  EXPECT_EQ(given.Say({{"user", "three"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_NE(given.ids(), given.whole());
}

TEST_F(ChatContinuationTest, TheSystemMessageIsRenderedAsInTheWholeConversation) {
  auto switched = Load(kSwitched);
  for (const char* system : {"Be brief. /no_think", "Be brief."}) {
    HeldChat chat(*switched);
    chat.Say({{"system", system}, {"user", "one"}});
    chat.Answer("first", kTinyEndOfTurn);
    EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CONTINUES);
    EXPECT_EQ(chat.ids(), chat.whole());
  }
  auto moves = Load(kMovesSystem);
  HeldChat chat(*moves);
  chat.Say({{"system", "Be brief."}, {"user", "one"}});
  chat.Answer("first", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_EQ(chat.latest(), "<|end|><|user|>Be brief.two<|end|><|assistant|>");
}

TEST_F(ChatContinuationTest, AnotherDateChangesThePrefix) {
  auto engine = Load(kDated);
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  chat.Answer("first", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("second", kTinyEndOfTurn);
  now_ += absl::Hours(24);
  EXPECT_EQ(chat.Say({{"user", "three"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_NE(chat.ids(), chat.whole());
}

TEST_F(ChatContinuationTest, WhatIsNotKnownIsUncheckedForGood) {
  auto engine = Load(kPlain);
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  chat.Answer("first", kTinyEndOfTurn);
  chat.tail().LoseAnswer();
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(chat.latest(), "<|end|>\n<|user|>two<|end|>\n<|assistant|>");
  chat.Answer("second", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "three"}}), v1::CHAT_PREFIX_UNCHECKED);
  // Something else came between: the messages stand by themselves.
  chat.tail().Interrupt();
  EXPECT_EQ(chat.Say({{"user", "four"}}), v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(chat.latest(), "<|system|>Be kind.<|end|>\n<|user|>four<|end|>\n<|assistant|>");
}

// Special tokens and halves of characters are held by the session, but the client cannot send them back.
TEST_F(ChatContinuationTest, AnswersThatAreNotTheirTextAreUnchecked) {
  auto engine = Load(kPlain);
  for (const TokenId id : {kTinyUser, 0xC3}) {
    HeldChat chat(*engine);
    chat.Say({{"user", "one"}});
    chat.AnswerIds({'a', id}, "a", kTinyEndOfTurn);
    EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_UNCHECKED);
  }
}

TEST_F(ChatContinuationTest, AnAnswerThatSpellsASpecialTokenChangesThePrefix) {
  auto engine = Load(kPlain);
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  const std::string answer = "4<|user|>5";
  chat.AnswerIds({answer.begin(), answer.end()}, answer, kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_NE(chat.ids(), chat.whole());
}

TEST_F(ChatContinuationTest, AnAnswerInOtherTokensThanTheTokenizersIsTheSameText) {
  constexpr char kWords[] =
      "{%- for m in messages %}{{ (':' if m.role == 'assistant' else '') + m.content + '<|end|>' }}{% endfor "
      "%}"
      "{%- if add_generation_prompt %}:{% endif %}";
  auto engine = Load(kWords, TinyByteLevelJson());
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  chat.AnswerIds({'h', 'e', 'l', 'l', 'o'}, "hello", kTinyEnd);
  EXPECT_EQ(chat.Say({{"user", "hello"}}), v1::CHAT_PREFIX_SAME_TEXT);
  EXPECT_EQ(chat.latest(), "<|end|>hello<|end|>:");
  EXPECT_NE(chat.ids(), chat.whole());
  chat.Answer("hello", kTinyEnd);
  EXPECT_EQ(chat.Say({{"user", "hello"}}), v1::CHAT_PREFIX_SAME_TEXT) << "it still holds the other tokens";
}

TEST_F(ChatContinuationTest, AChatMayBeginBehindOtherText) {
  auto engine = Load(kPlain);
  HeldChat chat(*engine);
  chat.Hold({'t', 'e', 'x', 't'});
  EXPECT_EQ(chat.Say({{"user", "one"}}), v1::CHAT_PREFIX_UNSPECIFIED);
  EXPECT_EQ(chat.latest(), "<|system|>Be kind.<|end|>\n<|user|>one<|end|>\n<|assistant|>");
  chat.Answer("first", kTinyEndOfTurn);
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_CONTINUES);
  std::vector<TokenId> behind = {'t', 'e', 'x', 't'};
  for (const TokenId id : chat.whole()) behind.push_back(id);
  EXPECT_EQ(chat.ids(), behind);

  // The client knows of messages that the session does not hold.
  v1::ChatMessages later;
  later.add_earlier()->set_role("user");
  later.add_messages()->set_role("user");
  const auto input = ContinueChat(later, *engine, ChatTail());
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->prefix, v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(input->tail.match, ChatMatch::kUnknown);
}

TEST_F(ChatContinuationTest, TemplatesThatRefuseTheStandInGetTheMessagesAlone) {
  auto engine = Load(kRefusesAssistants);
  HeldChat chat(*engine);
  chat.Say({{"user", "one"}});
  for (const char byte : std::string("first")) chat.tail().Append(byte);
  chat.tail().ended = true;
  EXPECT_EQ(chat.Say({{"user", "two"}}), v1::CHAT_PREFIX_UNCHECKED);
  EXPECT_EQ(chat.latest(), "two");
  v1::ChatMessages assistant;
  assistant.add_messages()->set_role("assistant");
  EXPECT_FALSE(ContinueChat(assistant, *engine, chat.tail()).ok());
}

// Three turns of a conversation: it CONTINUES exactly where the session holds what the template renders.
// Returns how often it did.
int ExpectHonest(const Engine& engine, const Messages& first, const std::vector<std::string>& answers,
                 const std::vector<std::string>& tools, TokenId end) {
  HeldChat chat(engine, tools);
  chat.Say(first);
  int continued = 0;
  for (const std::string& answer : answers) {
    chat.Answer(answer, end);
    const v1::ChatPrefix prefix = chat.Say({{"user", "And 3 + 3?"}});
    EXPECT_NE(prefix, v1::CHAT_PREFIX_UNSPECIFIED);
    EXPECT_EQ(prefix == v1::CHAT_PREFIX_CONTINUES, chat.ids() == chat.whole()) << answer;
    continued += prefix == v1::CHAT_PREFIX_CONTINUES;
  }
  return continued;
}

TEST_F(ChatContinuationTest, PublishedTemplatesContinueAsTheyRender) {
  const std::string folder = kData + "/chat-templates";
  SKIP_WITHOUT(folder);
  const std::string thought = "<think>\n2 + 2\n</think>\n\nFour.";
  int templates = 0, continued = 0, turns = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    SCOPED_TRACE(entry.path().filename());
    auto engine = Load(ReadText(entry.path()));
    ++templates;
    for (const bool system : {false, true}) {
      for (const std::vector<std::string>& tools : {std::vector<std::string>{}, {kWeather}}) {
        Messages first = {{"user", "What is 2 + 2?"}};
        if (system) first.insert(first.begin(), {"system", "Be brief."});
        std::vector<ChatTurn> rendered;
        for (const auto& [role, content] : first) rendered.push_back({.role = role, .content = content});
        if (!engine->RenderChat(rendered, {.tools = tools}, true).ok()) continue;  // refused as a whole
        for (const std::vector<std::string>& answers : {std::vector<std::string>{"Four.", "Six.", "Ten."},
                                                        {thought, "Six.", thought, "Ten."},
                                                        {"Four. "}}) {
          for (const TokenId end : {-1, kTinyEndOfTurn}) {
            continued += ExpectHonest(*engine, first, answers, tools, end);
            turns += static_cast<int>(answers.size());
          }
        }
      }
    }
  }
  EXPECT_EQ(templates, 12);
  EXPECT_GT(continued, turns / 4);
  EXPECT_LT(continued, turns);
}

// Whether a client can send it back as an answer: without special tokens and U+FFFD.
bool IsText(const Engine& engine, const std::string& text) {
  const auto ids = engine.tokenizer().Encode(text, TextPosition::kContinuation);
  return text.find(kReplacementCharacter) == std::string::npos &&
         absl::c_none_of(*ids, [&](TokenId id) { return engine.tokenizer().IsSpecial(id); });
}

struct Published {
  const char* name;
  const char* tokenizer;
  const char* chat_template;  // a file, or the source itself
  const char* end;
};

class PublishedChatTest : public ChatContinuationTest, public testing::WithParamInterface<Published> {};

INSTANTIATE_TEST_SUITE_P(
    Models, PublishedChatTest,
    testing::Values(Published{"Qwen25", "qwen2", "Qwen-Qwen2.5-7B-Instruct.jinja", "<|im_end|>"},
                    Published{"Qwen3", "qwen2", "Qwen-Qwen3-0.6B.jinja", "<|im_end|>"},
                    Published{"Lfm25", "qwen2", "LFM2.5-Instruct.jinja", "<|endoftext|>"},
                    Published{"Phi35", "phi-3-mini", "microsoft-Phi-3.5-mini-instruct.jinja", "<|end|>"},
                    Published{"Phi35OtherEnd", "phi-3-mini", "microsoft-Phi-3.5-mini-instruct.jinja",
                              "<|endoftext|>"},
                    Published{"Nemo", "llama2", "mistralai-Mistral-Nemo-Instruct-2407.jinja", "</s>"},
                    Published{"RepeatsBegin", "llama2", kRepeatsBegin, "</s>"}),
    [](const auto& info) { return info.param.name; });

// With texts of many languages as questions and answers.
TEST_P(PublishedChatTest, HoldsTheTokensOfTheWholeConversation) {
  const Published& model = GetParam();
  const std::string file = kData + "/chat-templates/" + model.chat_template;
  const bool own = std::string(model.chat_template) == kRepeatsBegin;
  SKIP_WITHOUT(kData + "/tokenizers/" + model.tokenizer);
  if (!own) SKIP_WITHOUT(file);
  auto engine = LoadPublished(own ? model.chat_template : ReadText(file), model.tokenizer);
  ASSERT_NE(engine, nullptr);
  TokenId end = 0;
  while (end < engine->tokenizer().vocab_size() && engine->tokenizer().Piece(end) != model.end) ++end;
  ASSERT_LT(end, engine->tokenizer().vocab_size());
  const bool spaced = std::string(model.tokenizer) != "qwen2";  // answers begin with the mark of a space

  int continued = 0, turns = 0;
  const json vectors = ReadJson(kData + "/tokenizers/" + model.tokenizer + "/vectors.json");
  for (size_t i = 0; i + 2 < vectors.size(); i += 7) {
    const auto text = [&](size_t at) { return vectors[at]["text"].get<std::string>(); };
    const std::string space = spaced ? " " : "";
    const std::vector<std::string> answers = {space + text(i), space + text(i + 1)};
    if (!IsText(*engine, answers[0] + answers[1])) continue;
    continued += ExpectHonest(*engine, {{"user", text(i + 2)}}, answers, {}, i % 2 == 0 ? end : -1);
    turns += 2;
  }
  EXPECT_GT(continued, turns / 2);
}

TEST_F(ChatContinuationTest, ToolsOfQwenChangeThePrefixIfTheyComeLate) {
  const std::string file = kData + "/chat-templates/Qwen-Qwen2.5-7B-Instruct.jinja";
  SKIP_WITHOUT(file);
  SKIP_WITHOUT(kData + "/tokenizers/qwen2");
  auto engine = LoadPublished(ReadText(file), "qwen2");
  const TokenId end = engine->tokenizer().Encode("<|im_end|>", TextPosition::kContinuation)->front();
  HeldChat chat(*engine);
  chat.Say({{"user", "Hello"}});
  chat.Answer("Hello!", end);
  EXPECT_EQ(chat.Say({{"user", "How are you?"}}), v1::CHAT_PREFIX_CONTINUES);
  EXPECT_EQ(chat.ids(), chat.whole());
  chat.Answer("Well.", end);
  chat.set_tools({kWeather});
  EXPECT_EQ(chat.Say({{"user", "What is the weather?"}}), v1::CHAT_PREFIX_CHANGED);
  EXPECT_NE(chat.ids(), chat.whole());
}

}  // namespace
}  // namespace memgate
