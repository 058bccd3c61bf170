#include "server/options.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "server/address.h"
#include "server/memory_limit.h"

namespace memgate {
namespace {

using Setter = std::function<absl::Status(const std::string&, Options&)>;

struct OptionSpec {
  std::string name;   // without dashes
  std::string value;  // placeholder for --help; empty for a switch
  std::string help;   // with the default
  Setter set;

  // "max-sessions" -> "MEMGATE_MAX_SESSIONS"
  std::string EnvironmentName() const {
    return absl::StrCat("MEMGATE_", absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "_"}})));
  }
};

Setter Text(std::string Options::*field) {
  return [field](const std::string& text, Options& options) {
    if (text.empty()) return absl::InvalidArgumentError("must not be empty");
    options.*field = text;
    return absl::OkStatus();
  };
}

template <typename Integer>
Setter Number(Integer Options::*field, int64_t low, int64_t high) {
  return [=](const std::string& text, Options& options) {
    int64_t value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is not a whole number from ", low, " to ", high));
    }
    options.*field = static_cast<Integer>(value);
    return absl::OkStatus();
  };
}

Setter Bytes(int64_t Options::*field, int64_t low, int64_t high) {
  return [=](const std::string& text, Options& options) {
    const absl::StatusOr<int64_t> bytes = ParseBytes(text);
    if (!bytes.ok()) return bytes.status();
    if (*bytes < low || *bytes > high) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is outside ", FormatBytes(low), " to ", FormatBytes(high)));
    }
    options.*field = *bytes;
    return absl::OkStatus();
  };
}

Setter Time(absl::Duration Options::*field) {
  return [field](const std::string& text, Options& options) {
    absl::Duration value;
    if (!absl::ParseDuration(text, &value) || value < absl::ZeroDuration() ||
        value > absl::Hours(24 * 3650)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is not a duration from 0 to ten years; write e.g. 90s, 30m or 24h"));
    }
    options.*field = value;
    return absl::OkStatus();
  };
}

template <typename Enum>
Setter OneOf(Enum Options::*field, std::vector<std::pair<std::string, Enum>> choices) {
  return [=](const std::string& text, Options& options) {
    for (const auto& [name, value] : choices) {
      if (text != name) continue;
      options.*field = value;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is not one of ",
        absl::StrJoin(choices, ", ", [](std::string* out, const auto& c) { out->append(c.first); })));
  };
}

Setter Address(std::string Options::*field, absl::string_view also) {
  return [=, also = std::string(also)](const std::string& text, Options& options) {
    if (also.empty() || text != also) {
      if (const auto address = ParseListenAddress(text); !address.ok()) return address.status();
    }
    options.*field = text;
    return absl::OkStatus();
  };
}

absl::Status SetWeights(const std::string& text, Options& options) {
  options.weights.reset();
  if (text == "auto") return absl::OkStatus();
  const absl::StatusOr<WeightFormat> format = ParseWeightFormat(text);
  if (!format.ok()) return absl::InvalidArgumentError(absl::StrCat(format.status().message(), ", auto"));
  options.weights = *format;
  return absl::OkStatus();
}

absl::Status SetKv(const std::string& text, Options& options) {
  const absl::StatusOr<KvFormat> format = ParseKvFormat(text);
  if (!format.ok()) return format.status();
  options.kv = *format;
  return absl::OkStatus();
}

absl::Status SetAllowInsecurePublic(const std::string& text, Options& options) {
  if (!absl::SimpleAtob(text, &options.allow_insecure_public)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is neither true nor false"));
  }
  return absl::OkStatus();
}

// The order is that of --help. Upper limits keep products of them far from overflow; they are no advice.
const std::vector<OptionSpec>& Specs() {
  static const auto* const specs = new std::vector<OptionSpec>{
      {"model", "PATH",
       "A folder in the Hugging Face layout (config.json, *.safetensors, tokenizer.json), or a GGUF file. "
       "Required.",
       Text(&Options::model)},
      {"memory", "FOLDER",
       "Memory modules: memory.json and memory.safetensors here, and in every folder of memory/ here. "
       "Default: those in the folder of the model, if any; none = none.",
       Text(&Options::memory)},
      {"memory-base", "RULE",
       "Which model a memory module must have been trained on: same, the one of --model, perhaps in another "
       "format; or any of its shapes, at your own risk. Default same.",
       OneOf<bool>(&Options::any_memory_base, {{"same", false}, {"any", true}})},
      {"listen", "ADDRESS",
       "Where gRPC is served: host:port, [ipv6]:port or unix:/path; port 0 lets the system choose. Default "
       "127.0.0.1:50061.",
       Address(&Options::listen, "")},
      {"metrics-listen", "ADDRESS", "Where /metrics is served over HTTP, or off. Default 127.0.0.1:9464.",
       Address(&Options::metrics_listen, "off")},
      {"port-file", "FILE",
       "Write the chosen gRPC port into this file once the server is ready. Default: none.",
       Text(&Options::port_file)},
      {"memory-budget", "BYTES",
       "Weights, sessions and work buffers together, e.g. 512MiB. Default: 75 % of the memory that the "
       "cgroup or the machine allows.",
       Bytes(&Options::memory_budget_bytes, int64_t{1} << 20, int64_t{1} << 50)},
      {"threads", "N", "Compute threads; 0 = one per core. Default 0.", Number(&Options::threads, 0, 1024)},
      {"weights", "FORMAT",
       "How weights are held: f32, bf16, int8, int4, or auto, which takes int8 for all but small models. "
       "Default auto.",
       SetWeights},
      {"kv", "FORMAT", "How sessions hold keys and values: f32, bf16 or int8. Default f32.", SetKv},
      {"weight-cache", "FOLDER",
       "Where packed int8 and int4 weights outlive the process, so that the next start maps them; none = "
       "nowhere. Default: memgate/ in $XDG_CACHE_HOME or in ~/.cache; nowhere if neither variable is set.",
       Text(&Options::weight_cache)},
      {"weight-cache-mb", "MIB", "The folder of --weight-cache holds at most this. Default 16384.",
       Number(&Options::weight_cache_mb, 1, int64_t{1} << 30)},
      {"exact-limit", "TOKENS", "Largest exact context of a request without a session. Default 4096.",
       Number(&Options::exact_limit_tokens, 1, 1 << 20)},
      {"max-batch-tokens", "TOKENS", "Tokens processed in one step. Default 256.",
       Number(&Options::max_batch_tokens, 1, 65536)},
      {"max-active-turns", "N", "Turns that share steps. Default 64.",
       Number(&Options::max_active_turns, 1, 65536)},
      {"max-queued-turns", "N", "Turns that may wait; the next one gets RESOURCE_EXHAUSTED. Default 256.",
       Number(&Options::max_queued_turns, 1, 1 << 20)},
      {"max-sessions", "N", "Named sessions on this server. Default 1024.",
       Number(&Options::max_sessions, 1, 1 << 24)},
      {"max-sessions-per-tenant", "N", "Named sessions of one tenant. Default 256.",
       Number(&Options::max_sessions_per_tenant, 1, 1 << 24)},
      {"session-ttl", "DURATION",
       "Time without use after which a session that sets no ttl is deleted; 0 = never. Default 24h.",
       Time(&Options::session_ttl)},
      {"max-message-bytes", "BYTES", "Largest request message. Default 4MiB.",
       Bytes(&Options::max_message_bytes, 1024, int64_t{1} << 30)},
      {"max-tokens-limit", "TOKENS", "Largest max_tokens of a request. Default 4096.",
       Number(&Options::max_tokens_limit, 1, 1 << 24)},
      {"max-format-bytes", "BYTES", "Largest JSON schema or grammar of a response format. Default 256KiB.",
       Bytes(&Options::max_format_bytes, 0, int64_t{16} << 20)},
      {"tls-cert", "FILE", "Certificate chain (PEM) of this server. Default: no TLS.",
       Text(&Options::tls_cert)},
      {"tls-key", "FILE", "Private key (PEM) of --tls-cert.", Text(&Options::tls_key)},
      {"tls-client-ca", "FILE",
       "Require client certificates signed by these authorities (PEM); the tenant is the certificate's "
       "common name unless --api-keys is set.",
       Text(&Options::tls_client_ca)},
      {"api-keys", "FILE",
       "Require a bearer key; lines \"tenant sha256:<hex>\" or \"tenant <key>\". Read again on SIGHUP.",
       Text(&Options::api_keys)},
      {"allow-insecure-public", "", "Serve other machines without authentication. Default false.",
       SetAllowInsecurePublic},
      {"drain-timeout", "DURATION", "How long running turns may go on after SIGTERM. Default 30s.",
       Time(&Options::drain_timeout)},
      {"log-level", "LEVEL", "debug, info, warning or error. Default info.",
       OneOf<LogLevel>(&Options::log_level, {{"debug", LogLevel::kDebug},
                                             {"info", LogLevel::kInfo},
                                             {"warning", LogLevel::kWarning},
                                             {"error", LogLevel::kError}})},
      {"log-format", "FORMAT", "text or json, one line per event on standard error. Default text.",
       OneOf<LogFormat>(&Options::log_format, {{"text", LogFormat::kText}, {"json", LogFormat::kJson}})},
  };
  return *specs;
}

struct CommandSpec {
  std::string name, help;
  Command command;
};
const CommandSpec kCommands[] = {
    {"help", "Print this text.", Command::kHelp},
    {"version", "Print the version.", Command::kVersion},
    {"check-config", "Check options, keys, certificates and the model's files, print the result and leave.",
     Command::kCheckConfig},
    {"inspect",
     "Print what --model and --memory hold, whether it can be served (exit code 0 or 1), and what weights "
     "and "
     "sessions would cost, without loading any weights; --inspect=json for programs.",
     Command::kInspect},
    {"probe", "Ask a running server (at --listen, or --probe=ADDRESS) for its health: exit code 0 or 1.",
     Command::kProbe},
};

// Levenshtein distance.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

absl::Status UnknownFlag(const std::string& name) {
  std::string best;
  size_t best_distance = 4;  // more than three edits away is no typing error
  const auto consider = [&](const std::string& candidate) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best_distance) std::tie(best, best_distance) = std::pair(candidate, distance);
  };
  for (const OptionSpec& spec : Specs()) consider(spec.name);
  for (const CommandSpec& spec : kCommands) consider(spec.name);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag --", name, "; ",
                   best.empty() ? "--help lists all flags" : absl::StrCat("did you mean --", best, "?")));
}

absl::Status Apply(const OptionSpec& spec, const std::string& origin, const std::string& text,
                   Options& options) {
  const absl::Status status = spec.set(text, options);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(origin, ": ", status.message()));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const Environment& environment) {
  CommandLine line;
  for (const OptionSpec& spec : Specs()) {
    const std::string name = spec.EnvironmentName();
    // An empty variable counts as unset: compose files and unit files pass empty ones on.
    if (const auto text = environment(name); text && !text->empty()) {
      if (auto s = Apply(spec, name, *text, line.options); !s.ok()) return s;
    }
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!absl::StartsWith(argument, "--") || argument.size() == 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected argument \"", argument, "\"; flags are written --name value"));
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> text;
    if (equals != std::string::npos) text = argument.substr(equals + 1);

    const auto* command = std::find_if(std::begin(kCommands), std::end(kCommands),
                                       [&](const CommandSpec& c) { return c.name == name; });
    if (command != std::end(kCommands)) {
      line.command = command->command;
      if (command->command == Command::kProbe) {
        line.probe_address = text.value_or("");
      } else if (command->command == Command::kInspect && text == "json") {
        line.inspect_json = true;
      } else if (command->command == Command::kInspect && text) {
        return absl::InvalidArgumentError(absl::StrCat("--inspect: \"", *text, "\" is not json"));
      } else if (text) {
        return absl::InvalidArgumentError(absl::StrCat("--", name, " takes no value"));
      }
      continue;
    }
    const auto spec =
        std::find_if(Specs().begin(), Specs().end(), [&](const OptionSpec& s) { return s.name == name; });
    if (spec == Specs().end()) return UnknownFlag(name);
    if (!text && spec->value.empty()) text = "true";
    if (!text) {
      if (i + 1 == arguments.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("--", name, " needs a value: --", name, " ", spec->value));
      }
      text = arguments[++i];
    }
    if (auto s = Apply(*spec, absl::StrCat("--", name), *text, line.options); !s.ok()) return s;
  }
  return line;
}

absl::Status ValidateForServing(const Options& options) {
  if (options.model.empty()) {
    return absl::InvalidArgumentError("no model: set --model PATH or MEMGATE_MODEL");
  }
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--tls-cert and --tls-key belong together; set --",
                                                   options.tls_cert.empty() ? "tls-cert" : "tls-key",
                                                   " too"));
  }
  if (options.uses_mtls() && !options.uses_tls()) {
    return absl::InvalidArgumentError("--tls-client-ca needs TLS; set --tls-cert and --tls-key too");
  }
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(options.listen);
  if (!address.ok()) return address.status();
  if (!address->is_local() && options.api_keys.empty() && !options.uses_mtls() &&
      !options.allow_insecure_public) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", options.listen,
                     " serves other machines, but nothing authenticates them; set --api-keys FILE, or "
                     "--tls-client-ca FILE, or "
                     "listen on 127.0.0.1, or accept the risk with --allow-insecure-public"));
  }
  return absl::OkStatus();
}

std::string WeightCacheFolder(const Options& options, const Environment& environment) {
  if (options.weight_cache == "none") return "";
  if (!options.weight_cache.empty()) return options.weight_cache;
  // Both have to be absolute; anything else is to be ignored (XDG Base Directory Specification).
  const auto below = [&](const char* variable, absl::string_view folder) {
    const std::string base = environment(variable).value_or("");
    return absl::StartsWith(base, "/") ? absl::StrCat(base, folder) : "";
  };
  const std::string folder = below("XDG_CACHE_HOME", "/memgate");
  return folder.empty() ? below("HOME", "/.cache/memgate") : folder;
}

std::string HelpText() {
  std::string text =
      "memgate-server: a gRPC inference server with bounded memory per session\n\n"
      "Usage: memgate-server --model PATH [flags]\n\n"
      "Flags, each with its environment variable (flags win):\n";
  for (const OptionSpec& spec : Specs()) {
    absl::StrAppend(&text, "  --", spec.name, spec.value.empty() ? "" : " ", spec.value, "  (",
                    spec.EnvironmentName(), ")\n      ", spec.help, "\n");
  }
  absl::StrAppend(&text, "\nCommands:\n");
  for (const CommandSpec& spec : kCommands) {
    absl::StrAppend(&text, "  --", spec.name, "\n      ", spec.help, "\n");
  }
  return text;
}

}  // namespace memgate
