#include "client/commands/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>
#include <sstream>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_server.h"
#include "tests/support/temp_folder.h"

namespace memgate {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int code;
  std::string out, err;
};

Outcome Invoke(const std::vector<std::string>& words) {
  std::istringstream in;
  std::ostringstream out, err;
  const int code = RunCommandLine(words, Terminal{.in = in, .out = out, .err = err});
  return {code, out.str(), err.str()};
}

TEST(CommandTest, EveryCommandHasHelpAndUniqueOptions) {
  for (const Command& command : Commands()) {
    std::vector<std::string> words = {"help"};
    std::istringstream name(command.name);
    for (std::string word; name >> word;) words.push_back(word);
    const Outcome outcome = Invoke(words);
    EXPECT_EQ(outcome.code, kExitOk) << command.name;
    EXPECT_THAT(outcome.out, HasSubstr("Usage: memgate " + command.name));
    std::set<std::string> seen;
    for (const OptionSpec& option : command.options) {
      EXPECT_TRUE(seen.insert(option.name).second) << command.name << " --" << option.name;
      EXPECT_THAT(outcome.out, HasSubstr("--" + option.name));
    }
  }
}

TEST(CommandTest, WithoutWordsShowsTheOverview) {
  EXPECT_EQ(Invoke({}).code, kExitOk);
  EXPECT_THAT(Invoke({}).out, HasSubstr("sessions create"));
}

TEST(CommandTest, UnknownCommandsSuggestOrListWhatThereIs) {
  const Outcome slip = Invoke({"generat", "hello"});
  EXPECT_EQ(slip.code, kExitUsage);
  EXPECT_THAT(slip.err, HasSubstr("did you mean generate?"));
  const Outcome group = Invoke({"sessions"});
  EXPECT_EQ(group.code, kExitUsage);
  EXPECT_THAT(group.err, HasSubstr("takes one of: create, list, show"));
  EXPECT_THAT(Invoke({"sessions", "destroy"}).err, HasSubstr("unknown command \"sessions destroy\""));
}

TEST(CommandTest, AGroupOfCommandsHasHelp) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"sessions", "--help"},
                                                {"help", "sessions"},
                                                {"--json", "sessions", "--help"}}) {
    const Outcome outcome = Invoke(words);
    EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("sessions export"));
    EXPECT_THAT(outcome.out, Not(HasSubstr("chat")));
  }
  const Outcome option = Invoke({"sessions", "--tls"});
  EXPECT_EQ(option.code, kExitUsage);
  EXPECT_THAT(option.err, HasSubstr("error: memgate sessions takes one of"));
}

TEST(CommandTest, TextThatIsNotUtf8IsWrongUsage) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"generate", "abc\xFF"},
                                                {"generate", "abc\xFF", "--chat"},
                                                {"count", "abc\xFF"}}) {
    const Outcome outcome = Invoke(words);
    EXPECT_EQ(outcome.code, kExitUsage);
    EXPECT_THAT(outcome.err, HasSubstr("is not UTF-8 (byte 3)"));
  }
}

TEST(CommandTest, APromptFileMayBeEmptyButNotAFolder) {
  FakeServer server;
  EXPECT_EQ(Invoke({"generate", "--prompt-file", "/dev/null", "--address", server.address()}).code, kExitOk);
  const Outcome outcome = Invoke({"generate", "--prompt-file", "/", "--address", server.address()});
  EXPECT_EQ(outcome.code, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr("cannot read --prompt-file /"));
}

TEST(CommandTest, StandardInputIsReadForOneThingOnly) {
  for (const char* format : {"--json-schema", "--grammar", "--tools", "--earlier"}) {
    const Outcome outcome = Invoke({"generate", "--prompt-file", "-", format, "-"});
    EXPECT_EQ(outcome.code, kExitUsage);
    EXPECT_THAT(outcome.err, HasSubstr(std::string("--prompt-file and ") + format + " cannot both read"));
  }
}

TEST(CommandTest, AKeyInTheEnvironmentMayEndInANewline) {
  FakeServer server;
  setenv("MEMGATE_API_KEY", "key-of-plant-a-0001\n", 1);
  const Outcome ends = Invoke({"models", "--address", server.address()});
  setenv("MEMGATE_API_KEY", "key\nof-plant-a", 1);
  const Outcome holds = Invoke({"models", "--address", server.address()});
  unsetenv("MEMGATE_API_KEY");
  EXPECT_EQ(ends.code, kExitOk) << ends.err;
  EXPECT_EQ(holds.code, kExitFailed);
  EXPECT_THAT(holds.err, HasSubstr("cannot be sent"));
}

TEST(CommandTest, WrongUsageExitsWith2AndServerErrorsWith1) {
  EXPECT_EQ(Invoke({"generate"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"generate", "a", "b"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"generate", "a", "--path", "sideways"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"generate", "a", "--logit-bias", "5"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"sessions", "create", "extra"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"sessions", "create", "--label", "x"}).code, kExitUsage);
  EXPECT_EQ(Invoke({"models", "--address", "127.0.0.1:1"}).code, kExitFailed);
}

TEST(CommandTest, CommonOptionsMayStandBeforeTheCommand) {
  FakeServer server;
  const Outcome outcome = Invoke({"--json", "--address", server.address(), "models"});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("\"name\":\"models/fake\""));
}

TEST(CommandTest, ErrorsAreObjectsWithJson) {
  const Outcome outcome = Invoke({"generate", "--json"});
  EXPECT_EQ(outcome.code, kExitUsage);
  EXPECT_EQ(outcome.err, "");
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["error"]["code"], "INVALID_ARGUMENT");
}

TEST(CommandTest, CreateSendsShapeTtlAndLabels) {
  FakeServer server;
  const Outcome outcome =
      Invoke({"sessions", "create", "--address", server.address(), "--json", "--id", "plant", "--kind",
              "window", "--window", "128", "--ttl", "1500ms", "--label", "site=north=2"});
  ASSERT_EQ(outcome.code, kExitOk) << outcome.out;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["name"], "sessions/plant");
  EXPECT_EQ(json["memory_kind"], "window");
  EXPECT_EQ(json["shape"]["window_tokens"], 128);
  EXPECT_EQ(json["ttl"], 1.5);
  EXPECT_EQ(json["labels"]["site"], "north=2");
}

// A server with a session that holds one token in a slot.
void HoldOneToken(FakeServer& server) {
  server.memory.mutable_accounting()->set_total_tokens(100);
  v1::SalientSlots* slots = server.memory.add_layers()->add_kv_heads()->mutable_salient();
  slots->set_used(1);
  slots->add_positions(42);
}

TEST(CommandTest, ShowTellsWhatTheMemoryHolds) {
  FakeServer server;
  HoldOneToken(server);
  const Outcome table = Invoke({"sessions", "show", "plant", "--address", server.address()});
  ASSERT_EQ(table.code, kExitOk) << table.err;
  EXPECT_THAT(table.out, HasSubstr("sessions/plant"));
  EXPECT_THAT(table.out, HasSubstr("layer  KV head   slots"));
  EXPECT_THAT(table.out, Not(HasSubstr("KV head 0: 42")));
  EXPECT_EQ(server.memory_request.name(), "sessions/plant");
  EXPECT_FALSE(server.memory_request.retained_positions());
  const Outcome list = Invoke({"sessions", "show", "plant", "--positions", "--address", server.address()});
  EXPECT_THAT(list.out, HasSubstr("layer 0, KV head 0: 42\n"));
  EXPECT_TRUE(server.memory_request.retained_positions());
  const auto json = nlohmann::json::parse(
      Invoke({"sessions", "show", "plant", "--positions", "--json", "--address", server.address()}).out);
  EXPECT_EQ(json["name"], "sessions/plant");
  EXPECT_EQ(json["memory"]["layers"][0]["kv_heads"][0]["salient"]["positions"][0], 42);
}

TEST(CommandTest, ShowDrawsPositionsOnATerminalOnly) {
  FakeServer server;
  HoldOneToken(server);
  const std::vector<std::string> words = {"sessions", "show", "plant", "--address", server.address()};
  std::istringstream in;
  std::ostringstream out, err;
  const Terminal terminal{.in = in, .out = out, .err = err, .out_is_terminal = true};
  ASSERT_EQ(RunCommandLine(words, terminal), kExitOk) << err.str();
  EXPECT_THAT(out.str(), HasSubstr("█"));
  EXPECT_THAT(Invoke(words).out, Not(HasSubstr("█")));
}

TEST(CommandTest, ShowOfABusySessionLeavesItsMemoryOut) {
  FakeServer server;
  google::rpc::ErrorInfo info;
  info.set_reason("SESSION_BUSY");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  server.memory_status = grpc::Status(grpc::StatusCode::ABORTED, "busy", details.SerializeAsString());
  const Outcome text = Invoke({"sessions", "show", "plant", "--address", server.address()});
  ASSERT_EQ(text.code, kExitOk) << text.err;
  EXPECT_THAT(text.out, HasSubstr("a turn runs on the session"));
  const auto json = nlohmann::json::parse(
      Invoke({"sessions", "show", "plant", "--json", "--address", server.address()}).out);
  EXPECT_TRUE(json["memory"].is_null());
  server.memory_status = grpc::Status(grpc::StatusCode::NOT_FOUND, "gone");
  EXPECT_EQ(Invoke({"sessions", "show", "plant", "--address", server.address()}).code, kExitFailed);
}

TEST(CommandTest, ShowOnAServerWithoutMemoryReportsSaysSoAndShowsTheRest) {
  FakeServer server;
  server.memory_status = grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  const Outcome text = Invoke({"sessions", "show", "plant", "--address", server.address()});
  ASSERT_EQ(text.code, kExitOk) << text.err;
  EXPECT_THAT(text.out, HasSubstr("sessions/plant"));
  EXPECT_THAT(text.out, HasSubstr("this server does not tell what a memory holds"));
  const auto json = nlohmann::json::parse(
      Invoke({"sessions", "show", "plant", "--json", "--address", server.address()}).out);
  EXPECT_EQ(json["name"], "sessions/plant");
  EXPECT_TRUE(json["memory"].is_null());
}

TEST(CommandTest, IngestTellsThePerplexityIfAsked) {
  FakeServer server;
  server.ingest_result.set_scored_tokens(2000);
  server.ingest_result.set_logprob_sum(-2000 * std::log(8));
  const auto ingest = [&](std::vector<std::string> options) {
    std::vector<std::string> words = {"ingest", "plant", "/dev/null", "--address", server.address()};
    words.insert(words.end(), options.begin(), options.end());
    return Invoke(words);
  };
  const Outcome text = ingest({"--score"});
  ASSERT_EQ(text.code, kExitOk) << text.err;
  EXPECT_THAT(text.out, HasSubstr("2,000 tokens scored, mean negative log-likelihood 2.0794 nats, "
                                  "perplexity 8.0000"));
  EXPECT_TRUE(server.first_ingest_request.score());
  const auto json = nlohmann::json::parse(ingest({"--score", "--json"}).out);
  EXPECT_EQ(json["scored_tokens"], 2000);
  EXPECT_NEAR(json["perplexity"].get<double>(), 8, 1e-9);
  EXPECT_NEAR(json["mean_nll"].get<double>(), std::log(8), 1e-9);
  EXPECT_FALSE(nlohmann::json::parse(ingest({"--json"}).out).contains("perplexity"));
  EXPECT_THAT(ingest({}).out, Not(HasSubstr("perplexity")));
  EXPECT_FALSE(server.first_ingest_request.score());
}

TEST(CommandTest, IngestWithNothingToScoreSaysSo) {
  FakeServer server;
  const std::vector<std::string> words = {"ingest",    "plant",          "/dev/null",
                                          "--address", server.address(), "--score"};
  EXPECT_THAT(Invoke(words).out, HasSubstr("no token scored"));
}

TEST(CommandTest, GeneratePutsTheAnswerOnOutAndTheAccountOnErr) {
  FakeServer server;
  v1::GenerateResponse route, delta, done;
  route.mutable_route()->set_path(v1::PATH_GATED);
  route.mutable_route()->set_reason(v1::ROUTE_REASON_SESSION_FOLDED);
  route.mutable_route()->set_session_bytes(1'250'000);
  delta.mutable_delta()->set_text("4921");
  done.mutable_done()->mutable_accounting()->set_compressed_tokens(20000);
  server.generated = {route, delta, done};
  const Outcome outcome =
      Invoke({"generate", "hello", "--address", server.address(), "--session", "plant", "--stop", "x",
              "--stop", "y", "--temperature", "0", "--logit-bias", "5=-1.5"});
  EXPECT_EQ(outcome.code, kExitOk);
  EXPECT_EQ(outcome.out, "4921\n");
  EXPECT_THAT(outcome.err, HasSubstr("path gated (session folded)"));
  EXPECT_THAT(outcome.err, HasSubstr("20,000 compressed"));
  EXPECT_THAT(outcome.err, HasSubstr("session 1.25 MB"));
  EXPECT_EQ(server.generate_request.session(), "sessions/plant");
  EXPECT_EQ(server.generate_request.stop_size(), 2);
  EXPECT_TRUE(server.generate_request.sampling().has_temperature());
  EXPECT_FALSE(server.generate_request.sampling().has_top_p());
  EXPECT_EQ(server.generate_request.sampling().logit_bias().at(5), -1.5f);
}

TEST(CommandTest, GenerateSendsChatMessagesOnRequest) {
  FakeServer server;
  Invoke({"generate", "hello", "--system", "be brief", "--address", server.address()});
  ASSERT_EQ(server.generate_request.chat().messages_size(), 2);
  EXPECT_EQ(server.generate_request.chat().messages(0).role(), "system");
  EXPECT_EQ(server.generate_request.chat().messages(1).content(), "hello");
}

TEST(CommandTest, GenerateSendsWhatTheTemplateReads) {
  FakeServer server;
  const TempFolder folder;
  const std::string tools =
      folder.Write("tools.json", R"([{"type": "function", "a": 1}, {"name": "\u00e9"}])");
  const std::string earlier = folder.Write("earlier.json",
                                           R"([{"role": "user", "content": "q"},
          {"role": "assistant", "reasoning_content": "r", "tool_calls": [{"name": "f", "arguments": "{}"}]}])");
  const Outcome outcome = Invoke({"generate", "hello", "--address", server.address(), "--tools", tools,
                                  "--template-argument", "enable_thinking=false", "--template-argument",
                                  "style=\"a=b\"", "--on-changed-prefix", "rebuild", "--earlier", earlier});
  EXPECT_EQ(outcome.code, kExitOk) << outcome.err;
  const v1::ChatMessages& chat = server.generate_request.chat();
  EXPECT_EQ(chat.messages(0).content(), "hello");
  EXPECT_THAT(chat.tools(), testing::ElementsAre(R"({"type":"function","a":1})", R"({"name":"é"})"));
  EXPECT_EQ(chat.template_arguments().at("enable_thinking"), "false");
  EXPECT_EQ(chat.template_arguments().at("style"), "\"a=b\"");
  EXPECT_EQ(chat.on_changed_prefix(), v1::ON_CHANGED_PREFIX_REBUILD);
  ASSERT_EQ(chat.earlier_size(), 2);
  EXPECT_EQ(chat.earlier(1).reasoning_content(), "r");
  EXPECT_EQ(chat.earlier(1).tool_calls(0).name(), "f");
}

TEST(CommandTest, WrongChatOptionsAreWrongUsage) {
  const TempFolder folder;
  const std::string object = folder.Write("object.json", "{}");
  const std::string messages = folder.Write("messages.json", R"([{"role": "user", "text": "q"}])");
  const auto error = [](const std::string& option, const std::string& value) {
    const Outcome outcome = Invoke({"generate", "hello", "--" + option, value});
    EXPECT_EQ(outcome.code, kExitUsage) << option;
    return outcome.err;
  };
  EXPECT_THAT(error("tools", object), HasSubstr("--tools takes a file with a JSON list"));
  EXPECT_THAT(error("earlier", messages), HasSubstr("--earlier: no list of messages"));
  EXPECT_THAT(error("template-argument", "enable_thinking"), HasSubstr("takes NAME=JSON"));
  EXPECT_THAT(error("template-argument", "enable_thinking=False"), HasSubstr("takes NAME=JSON"));
  EXPECT_THAT(error("on-changed-prefix", "rebuild"), HasSubstr("--earlier FILE"));
  EXPECT_THAT(error("on-changed-prefix", "panic"), HasSubstr("report, refuse or rebuild"));
  EXPECT_EQ(Invoke({"generate", "hello", "--tools", folder.File("none")}).code, kExitFailed);
}

TEST(CommandTest, GenerateTellsHowTheChatGoesOn) {
  FakeServer server;
  v1::GenerateResponse route, done;
  done.mutable_done();
  const auto account = [&](v1::ChatPrefix prefix) {
    route.mutable_route()->set_chat_prefix(prefix);
    server.generated = {route, done};
    return Invoke({"generate", "hello", "--chat", "--address", server.address()}).err;
  };
  EXPECT_THAT(account(v1::CHAT_PREFIX_CONTINUES), Not(HasSubstr("chat ")));
  EXPECT_THAT(account(v1::CHAT_PREFIX_CHANGED), HasSubstr("chat changed: "));
  EXPECT_THAT(account(v1::CHAT_PREFIX_REBUILT), HasSubstr("chat rebuilt: "));
  EXPECT_THAT(account(v1::CHAT_PREFIX_UNCHECKED), HasSubstr("chat unchecked: "));
}

}  // namespace
}  // namespace memgate
