// memgate-server: options in, a serving process out.
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/strings.h"
#include "engine/engine.h"
#include "engine/inspection.h"
#include "server/inspection_text.h"
#include "server/load_progress.h"
#include "server/memory_limit.h"
#include "server/options.h"
#include "server/printable.h"
#include "server/probe.h"
#include "server/server.h"
#include "server/signals.h"
#include "server/tls.h"

namespace memgate {
namespace {

constexpr double kDefaultBudgetShare = 0.75;  // the rest is for gRPC, code, and the rest of the machine

int Fail(const absl::Status& status, int exit_code = 1) {
  std::cerr << "memgate-server: " << Printable(ToStdView(status.message())) << "\n";
  return exit_code;
}

absl::StatusOr<int64_t> Budget(const Options& options) {
  if (options.memory_budget_bytes > 0) return options.memory_budget_bytes;
  const int64_t available = AvailableMemoryBytes();
  if (available == 0) {
    return absl::FailedPreconditionError(
        "cannot tell how much memory there is; set --memory-budget, e.g. 2GiB");
  }
  return static_cast<int64_t>(kDefaultBudgetShare * static_cast<double>(available));
}

std::optional<std::string> EnvironmentVariable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

BaseRule MemoryBase(const Options& options) {
  return options.any_memory_base ? BaseRule::kAny : BaseRule::kSame;
}

void LogModules(const std::vector<MemoryModuleInfo>& modules, Log& log) {
  for (const MemoryModuleInfo& module : modules) {
    const bool risky = module.base == BaseMatch::kOther;
    const std::string base(BaseMatchName(module.base));
    (log.*(risky ? &Log::Warning : &Log::Info))(
        "memory_module", {{"folder", module.folder}, {"memory_kind", module.kind}, {"base", base}});
  }
}

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const Options& options, WeightCacheOptions::Write write,
                                                   Log& log) {
  auto budget = Budget(options);
  if (!budget.ok()) return budget.status();
  // A limit on file sizes keeps the weight cache from being written, not the server from serving.
  std::signal(SIGXFSZ, SIG_IGN);
  log.Info("loading", {{"model", options.model}, {"memory_budget", FormatBytes(*budget)}});
  const absl::Time begin = absl::Now();
  const auto progress = std::make_shared<LoadProgress>(log, absl::Now);
  auto engine =
      Engine::Load({.model_path = options.model,
                    .memory_folder = options.memory,
                    .memory_base = MemoryBase(options),
                    .weights = options.weights,
                    .kv = options.kv,
                    .memory_budget_bytes = *budget,
                    .exact_limit_tokens = options.exact_limit_tokens,
                    .max_batch_tokens = options.max_batch_tokens,
                    .max_active_turns = options.max_active_turns,
                    .max_queued_turns = options.max_queued_turns,
                    .threads = options.threads,
                    .weight_cache = {.folder = WeightCacheFolder(options, EnvironmentVariable),
                                     .max_bytes = options.weight_cache_mb << 20,
                                     .write = write,
                                     .report = [&log](const auto& event) { LogWeightCache(log, event); }},
                    .load_progress = [progress](int done, int total) { progress->Update(done, total); }});
  if (!engine.ok()) return engine;
  const ModelInfo& model = (*engine)->model();
  if (!model.weights_reason.empty()) {
    log.Info("weights_chosen",
             {{"format", std::string(WeightFormatName(model.weights))}, {"reason", model.weights_reason}});
  }
  LogModules(model.memory_modules, log);
  log.Info("loaded", {{"model", model.name},
                      {"architecture", model.config.architecture},
                      {"parameters", model.parameters},
                      {"weights", FormatBytes(model.weight_bytes)},
                      {"weight_format", std::string(WeightFormatName(model.weights))},
                      {"kv", std::string(KvFormatName(model.kv_format))},
                      {"memory_kind", model.default_memory_kind},
                      {"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}});
  return engine;
}

absl::Status WritePortFile(const Options& options, const Server& server) {
  if (options.port_file.empty()) return absl::OkStatus();
  std::ofstream out(options.port_file);
  out << server.port() << "\n" << std::flush;
  if (out) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--port-file: cannot write ", options.port_file));
}

// Once the log is open, errors go there: whoever collects JSON lines finds them.
int FailLogged(Log& log, const absl::Status& status) {
  log.Error("cannot_start", {{"message", status.message()}});
  return 1;
}

int Serve(const Options& options) {
  // Whoever asks for a reload while the keys are still to be read gets it anyway; by default the signal
  // kills.
  std::signal(SIGHUP, SIG_IGN);
  Log log(options.log_level, options.log_format);
  auto engine = LoadEngine(options, WeightCacheOptions::Write::kInBackground, log);
  if (!engine.ok()) return FailLogged(log, engine.status());
  auto server = Server::Start(options, **engine, log);
  if (!server.ok()) return FailLogged(log, server.status());
  SignalWaiter signals;
  if (auto s = WritePortFile(options, **server); !s.ok()) return FailLogged(log, s);
  // For scripts that start the server on port 0.
  std::cout << "listening address=" << (*server)->address() << " metrics_port=" << (*server)->metrics_port()
            << std::endl;
  log.Info("listening", {{"address", (*server)->address()}, {"metrics_port", (*server)->metrics_port()}});

  while (signals.Wait() == OperatorSignal::kReload) {
    const absl::Status status = (*server)->ReloadKeys();
    if (status.ok()) {
      log.Info("keys_reloaded", {{"file", options.api_keys}});
    } else {
      log.Error("keys_not_reloaded", {{"message", status.message()}});
    }
  }
  log.Info("draining", {{"timeout_s", absl::ToDoubleSeconds(options.drain_timeout)}});
  (*server)->Drain(options.drain_timeout);
  log.Info("stopped");
  return 0;
}

int CheckConfig(const Options& options) {
  if (auto s = CheckTlsFiles(options); !s.ok()) return Fail(s);
  if (!options.api_keys.empty()) {
    if (auto keys = ApiKeys::Load(options.api_keys); !keys.ok()) return Fail(keys.status());
  }
  Log log(options.log_level, options.log_format);
  // The server that starts after the check finds the weights packed.
  const auto engine = LoadEngine(options, WeightCacheOptions::Write::kBeforeLoaded, log);
  if (!engine.ok()) return Fail(engine.status());
  std::cout << "the configuration is valid\n";
  return 0;
}

int InspectModel(const CommandLine& line) {
  const Options& options = line.options;
  if (options.model.empty()) {
    return Fail(absl::InvalidArgumentError("nothing to inspect: set --model PATH or MEMGATE_MODEL"), 2);
  }
  const auto budget = Budget(options);
  if (!budget.ok()) return Fail(budget.status());
  const auto inspection = Inspect(
      options.model,
      {.memory_folder = options.memory, .memory_base = MemoryBase(options), .memory_budget_bytes = *budget});
  if (!inspection.ok()) return Fail(inspection.status());
  std::cout << (line.inspect_json ? InspectionJson(*inspection) : InspectionText(*inspection));
  return inspection->obstacles.empty() ? 0 : 1;
}

int Main(const std::vector<std::string>& arguments) {
  const auto line = ParseCommandLine(arguments, EnvironmentVariable);
  if (!line.ok()) return Fail(line.status(), 2);
  switch (line->command) {
    case Command::kHelp:
      std::cout << HelpText();
      return 0;
    case Command::kVersion:
      std::cout << "memgate-server " << ServerVersion() << "\n";
      return 0;
    case Command::kInspect:
      return InspectModel(*line);
    case Command::kProbe:
      if (auto s = Probe(line->options, line->probe_address); !s.ok()) return Fail(s);
      return 0;
    case Command::kCheckConfig:
    case Command::kServe:
      break;
  }
  if (auto s = ValidateForServing(line->options); !s.ok()) return Fail(s, 2);
  return line->command == Command::kCheckConfig ? CheckConfig(line->options) : Serve(line->options);
}

}  // namespace
}  // namespace memgate

int main(int argc, char** argv) { return memgate::Main(std::vector<std::string>(argv + 1, argv + argc)); }
