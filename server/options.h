// Everything an operator can set, as flags and as environment variables.
#ifndef MEMGATE_SERVER_OPTIONS_H_
#define MEMGATE_SERVER_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/kernels/kv_rows.h"
#include "engine/kernels/weight_format.h"

namespace memgate {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// Units and defaults are those of `memgate-server --help`.
struct Options {
  std::string model;
  std::string memory;
  bool any_memory_base = false;  // memory modules of other models are taken, too
  std::string listen = "127.0.0.1:50061";
  std::string metrics_listen = "127.0.0.1:9464";  // "off" = no metrics endpoint
  std::string port_file;
  int64_t memory_budget_bytes = 0;  // 0 = 75 % of what cgroup or machine allow
  int threads = 0;
  std::optional<WeightFormat> weights;  // none = auto: chosen when the model is loaded
  KvFormat kv = KvFormat::kF32;
  std::string weight_cache;  // empty = default place, "none" = no cache; WeightCacheFolder() resolves it
  int64_t weight_cache_mb = 16384;
  int64_t exact_limit_tokens = 4096;
  int max_batch_tokens = 256;
  int max_active_turns = 64;
  int max_queued_turns = 256;
  int max_sessions = 1024;
  int max_sessions_per_tenant = 256;
  absl::Duration session_ttl = absl::Hours(24);  // zero = never
  int64_t max_message_bytes = int64_t{4} << 20;
  int64_t max_tokens_limit = 4096;
  int64_t max_format_bytes = int64_t{256} << 10;
  std::string tls_cert, tls_key, tls_client_ca;
  std::string api_keys;
  bool allow_insecure_public = false;
  absl::Duration drain_timeout = absl::Seconds(30);
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;

  bool uses_tls() const { return !tls_cert.empty(); }
  bool uses_mtls() const { return !tls_client_ca.empty(); }
};

enum class Command { kServe, kHelp, kVersion, kCheckConfig, kInspect, kProbe };

struct CommandLine {
  Command command = Command::kServe;
  Options options;
  std::string probe_address;  // of --probe; empty = the address in --listen
  bool inspect_json = false;  // of --inspect: JSON instead of text
};

// Looks up an environment variable.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Reads environment first, then flags (`--name value`, `--name=value`), which win. INVALID_ARGUMENT names the
// flag or variable, what is wrong and what to write. Reads no file.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const Environment& environment);

// Rules that span options: a model is named, TLS files come together, and nothing but this machine is served
// without authentication unless allow_insecure_public. INVALID_ARGUMENT says what to change.
absl::Status ValidateForServing(const Options& options);

// Where packed weights are cached: --weight-cache, else memgate/ in $XDG_CACHE_HOME or in ~/.cache. Empty for
// "none", and where the environment names no such place.
std::string WeightCacheFolder(const Options& options, const Environment& environment);

// What --help prints.
std::string HelpText();

}  // namespace memgate

#endif  // MEMGATE_SERVER_OPTIONS_H_
