#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace memgate {
namespace {

using testing::HasSubstr;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& arguments,
                                  const Variables& variables = {}) {
  return ParseCommandLine(arguments, [&](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  });
}

std::string ErrorOf(const std::vector<std::string>& arguments, const Variables& variables = {}) {
  return std::string(Parse(arguments, variables).status().message());
}

TEST(OptionsTest, ListensOnLoopbackByDefault) {
  const auto line = Parse({});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->options.listen, "127.0.0.1:50061");
  EXPECT_EQ(line->options.metrics_listen, "127.0.0.1:9464");
  EXPECT_EQ(line->command, Command::kServe);
}

TEST(OptionsTest, ReadsBothSpellingsOfAFlag) {
  const auto line = Parse({"--model", "/m", "--memory-budget=512MiB", "--session-ttl", "90m"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->options.model, "/m");
  EXPECT_EQ(line->options.memory_budget_bytes, int64_t{512} << 20);
  EXPECT_EQ(line->options.session_ttl, absl::Minutes(90));
}

TEST(OptionsTest, FlagsWinOverTheEnvironment) {
  const auto line = Parse({"--threads=3"}, {{"MEMGATE_THREADS", "5"}, {"MEMGATE_MODEL", "/env"}});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->options.threads, 3);
  EXPECT_EQ(line->options.model, "/env");
}

TEST(OptionsTest, TheWeightCacheLiesWhereCachesOfTheUserLieUnlessToldOtherwise) {
  const auto folder = [](const std::string& option, const Variables& variables) {
    Options options;
    options.weight_cache = option;
    return WeightCacheFolder(options, [&](const std::string& name) -> std::optional<std::string> {
      const auto it = variables.find(name);
      if (it == variables.end()) return std::nullopt;
      return it->second;
    });
  };
  EXPECT_EQ(folder("/w", {{"HOME", "/h"}}), "/w");
  EXPECT_EQ(folder("none", {{"HOME", "/h"}}), "");
  EXPECT_EQ(folder("", {{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}), "/x/memgate");
  EXPECT_EQ(folder("", {{"HOME", "/h"}, {"XDG_CACHE_HOME", "relative"}}), "/h/.cache/memgate");
  EXPECT_EQ(folder("", {{"HOME", "/h"}, {"XDG_CACHE_HOME", ""}}), "/h/.cache/memgate");
  EXPECT_EQ(folder("", {}), "");
}

TEST(OptionsTest, AnEmptyVariableCountsAsUnset) {
  const auto line = Parse({}, {{"MEMGATE_LISTEN", ""}});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->options.listen, "127.0.0.1:50061");
}

TEST(OptionsTest, SwitchesNeedNoValueAndTakeOne) {
  EXPECT_TRUE(Parse({"--allow-insecure-public"})->options.allow_insecure_public);
  EXPECT_FALSE(Parse({"--allow-insecure-public=false"})->options.allow_insecure_public);
  EXPECT_TRUE(Parse({}, {{"MEMGATE_ALLOW_INSECURE_PUBLIC", "true"}})->options.allow_insecure_public);
}

TEST(OptionsTest, EveryOptionCanBeSetByFlagAndByVariable) {
  const std::map<std::string, std::string> values = {{"model", "/m"},
                                                     {"memory", "/g"},
                                                     {"memory-base", "any"},
                                                     {"listen", "[::1]:7"},
                                                     {"metrics-listen", "off"},
                                                     {"port-file", "/p"},
                                                     {"memory-budget", "1GiB"},
                                                     {"threads", "2"},
                                                     {"weights", "f32"},
                                                     {"kv", "bf16"},
                                                     {"weight-cache", "/w"},
                                                     {"weight-cache-mb", "9"},
                                                     {"exact-limit", "100"},
                                                     {"max-batch-tokens", "32"},
                                                     {"max-active-turns", "4"},
                                                     {"max-queued-turns", "5"},
                                                     {"max-sessions", "6"},
                                                     {"max-sessions-per-tenant", "3"},
                                                     {"session-ttl", "0"},
                                                     {"max-message-bytes", "1MiB"},
                                                     {"max-tokens-limit", "77"},
                                                     {"max-format-bytes", "2KiB"},
                                                     {"tls-cert", "/c"},
                                                     {"tls-key", "/k"},
                                                     {"tls-client-ca", "/a"},
                                                     {"api-keys", "/x"},
                                                     {"allow-insecure-public", "true"},
                                                     {"drain-timeout", "1s"},
                                                     {"log-level", "error"},
                                                     {"log-format", "json"}};
  std::vector<std::string> flags;
  Variables variables;
  for (const auto& [name, value] : values) {
    flags.push_back("--" + name + "=" + value);
    std::string variable = "MEMGATE_";
    for (const char c : name) variable += c == '-' ? '_' : static_cast<char>(std::toupper(c));
    variables[variable] = value;
    EXPECT_THAT(HelpText(), HasSubstr("--" + name));
    EXPECT_THAT(HelpText(), HasSubstr("(" + variable + ")"));
  }
  for (const auto& line : {Parse(flags), Parse({}, variables)}) {
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_TRUE(line->options.any_memory_base);
    EXPECT_EQ(line->options.weights, WeightFormat::kF32);
    EXPECT_EQ(line->options.weight_cache, "/w");
    EXPECT_EQ(line->options.weight_cache_mb, 9);
    EXPECT_EQ(line->options.kv, KvFormat::kBf16);
    EXPECT_EQ(line->options.max_tokens_limit, 77);
    EXPECT_EQ(line->options.max_format_bytes, 2048);
    EXPECT_EQ(line->options.session_ttl, absl::ZeroDuration());
    EXPECT_EQ(line->options.log_format, LogFormat::kJson);
    EXPECT_EQ(line->options.log_level, LogLevel::kError);
    EXPECT_EQ(line->options.tls_client_ca, "/a");
    EXPECT_EQ(line->options.max_message_bytes, 1 << 20);
    EXPECT_EQ(line->options.metrics_listen, "off");
  }
}

TEST(OptionsTest, SuggestsTheFlagThatWasMeant) {
  EXPECT_EQ(ErrorOf({"--max-sesions=1"}), "unknown flag --max-sesions; did you mean --max-sessions?");
  EXPECT_EQ(ErrorOf({"--frobnicate"}), "unknown flag --frobnicate; --help lists all flags");
}

TEST(OptionsTest, ErrorsNameTheirOriginAndTheRemedy) {
  EXPECT_THAT(ErrorOf({"--threads", "many"}), HasSubstr("--threads: \"many\" is not a whole number from 0"));
  EXPECT_THAT(ErrorOf({}, {{"MEMGATE_THREADS", "-1"}}), HasSubstr("MEMGATE_THREADS: \"-1\""));
  EXPECT_THAT(ErrorOf({"--memory-budget=1GB"}), HasSubstr("e.g. 512MiB"));
  EXPECT_THAT(ErrorOf({"--drain-timeout=soon"}), HasSubstr("write e.g. 90s"));
  EXPECT_THAT(ErrorOf({"--log-level=loud"}), HasSubstr("debug, info, warning, error"));
  EXPECT_EQ(ErrorOf({"--weights=q2"}),
            "--weights: unknown weight format 'q2'; known: f32, bf16, int8, int4, auto");
  EXPECT_EQ(ErrorOf({"--kv=f16"}), "--kv: unknown KV format 'f16'; known: f32, bf16, int8");
  EXPECT_THAT(ErrorOf({"--listen=:1"}), HasSubstr("names no host"));
  EXPECT_THAT(ErrorOf({"--model"}), HasSubstr("--model needs a value"));
  EXPECT_THAT(ErrorOf({"/models"}), HasSubstr("unexpected argument"));
  EXPECT_THAT(ErrorOf({"--version=1"}), HasSubstr("takes no value"));
}

TEST(OptionsTest, FindsCommands) {
  EXPECT_EQ(Parse({"--help"})->command, Command::kHelp);
  EXPECT_EQ(Parse({"--version"})->command, Command::kVersion);
  EXPECT_EQ(Parse({"--check-config", "--model=/m"})->command, Command::kCheckConfig);
  EXPECT_EQ(Parse({"--probe"})->command, Command::kProbe);
  EXPECT_EQ(Parse({"--probe=host:1"})->probe_address, "host:1");
  EXPECT_EQ(Parse({"--model", "/m", "--inspect"})->command, Command::kInspect);
  EXPECT_FALSE(Parse({"--inspect"})->inspect_json);
  EXPECT_TRUE(Parse({"--inspect=json"})->inspect_json);
  EXPECT_THAT(ErrorOf({"--inspect=xml"}), HasSubstr("--inspect: \"xml\" is not json"));
}

Options Valid() {
  Options options;
  options.model = "/m";
  return options;
}

TEST(ValidateForServingTest, AcceptsAModelOnLoopback) { EXPECT_TRUE(ValidateForServing(Valid()).ok()); }

TEST(ValidateForServingTest, NeedsAModel) {
  EXPECT_THAT(std::string(ValidateForServing({}).message()), HasSubstr("MEMGATE_MODEL"));
}

TEST(ValidateForServingTest, RefusesOtherMachinesWithoutAuthentication) {
  Options options = Valid();
  options.listen = "0.0.0.0:50061";
  EXPECT_THAT(std::string(ValidateForServing(options).message()), HasSubstr("--allow-insecure-public"));
  // TLS alone says who the server is, not who calls.
  options.tls_cert = options.tls_key = "/x";
  EXPECT_FALSE(ValidateForServing(options).ok());
}

TEST(ValidateForServingTest, ServesOtherMachinesWithKeysCertificatesOrByName) {
  Options options = Valid();
  options.listen = "0.0.0.0:50061";
  Options keys = options, certificates = options, named = options;
  keys.api_keys = "/keys";
  certificates.tls_cert = certificates.tls_key = certificates.tls_client_ca = "/x";
  named.allow_insecure_public = true;
  EXPECT_TRUE(ValidateForServing(keys).ok());
  EXPECT_TRUE(ValidateForServing(certificates).ok());
  EXPECT_TRUE(ValidateForServing(named).ok());
}

TEST(ValidateForServingTest, TlsFilesBelongTogether) {
  Options options = Valid();
  options.tls_cert = "/c";
  EXPECT_THAT(std::string(ValidateForServing(options).message()), HasSubstr("set --tls-key too"));
  options = Valid();
  options.tls_client_ca = "/a";
  EXPECT_THAT(std::string(ValidateForServing(options).message()), HasSubstr("needs TLS"));
}

}  // namespace
}  // namespace memgate
