#include "server/collectors.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace memgate {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

using MetricLabels = std::vector<ClientMetric::Label>;

ClientMetric Sample(MetricType type, double value, MetricLabels labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return metric;
}

MetricFamily Gauge(std::string name, std::string help, double value, MetricLabels labels = {}) {
  return {std::move(name),
          std::move(help),
          MetricType::Gauge,
          {Sample(MetricType::Gauge, value, std::move(labels))}};
}

MetricFamily Counter(std::string name, std::string help, double value) {
  return {std::move(name), std::move(help), MetricType::Counter, {Sample(MetricType::Counter, value)}};
}

int CountOpenFiles() {
  std::error_code error;
  int count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  return count > 0 ? count - 1 : 0;  // one of them is the listing itself
}

double ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  int64_t total = 0, resident = 0;
  in >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Unix time at which the process started: boot time plus field 22 of /proc/self/stat (proc(5)).
double StartTimeSeconds() {
  double boot = 0;
  std::ifstream stat("/proc/stat");
  for (std::string key; stat >> key;) {
    if (key == "btime") {
      stat >> boot;
      break;
    }
    std::getline(stat, key);
  }
  std::ifstream self("/proc/self/stat");
  std::string line;
  std::getline(self, line);
  const size_t name_end = line.rfind(')');  // the program name may hold spaces
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  fields >> ticks;
  return boot + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

std::vector<MetricFamily> EngineCollector::Collect() const {
  const EngineStats stats = engine_.Stats();
  const ModelInfo& model = engine_.model();
  MetricFamily sessions{"memgate_sessions",
                        "Sessions by memory kind, those of running ephemeral requests included.",
                        MetricType::Gauge,
                        {}};
  MetricFamily bytes{
      "memgate_session_bytes", "Bytes reserved for sessions, by memory kind.", MetricType::Gauge, {}};
  for (const EngineStats::KindStats& kind : stats.sessions_by_kind) {
    sessions.metric.push_back(
        Sample(MetricType::Gauge, static_cast<double>(kind.sessions), {{"kind", kind.kind}}));
    bytes.metric.push_back(Sample(MetricType::Gauge, static_cast<double>(kind.bytes), {{"kind", kind.kind}}));
  }
  const auto as_double = [](int64_t value) { return static_cast<double>(value); };
  return {
      Gauge("memgate_memory_budget_bytes", "Bytes that weights, work buffers and sessions may take together.",
            as_double(stats.budget_bytes)),
      Gauge("memgate_memory_reserved_bytes", "Bytes of the budget that are taken.",
            as_double(stats.reserved_bytes)),
      Gauge("memgate_weight_bytes", "Bytes of the model's weights.", as_double(stats.weight_bytes)),
      Gauge("memgate_work_bytes", "Bytes of the engine's work buffers.", as_double(stats.work_bytes)),
      Gauge("memgate_active_turns", "Turns in the batch.", stats.active_turns),
      Gauge("memgate_queued_turns", "Turns that wait to enter the batch.", stats.queued_turns),
      Counter("memgate_steps_total", "Forward passes.", as_double(stats.steps)),
      Counter("memgate_step_tokens_total", "Tokens processed by forward passes.",
              as_double(stats.step_tokens)),
      Counter("memgate_memory_writes_total", "Segments folded into memory.", as_double(stats.memory_writes)),
      Counter("memgate_folded_tokens_total", "Tokens folded into memory.", as_double(stats.folded_tokens)),
      Gauge("memgate_model_info", "The loaded model; always 1.", 1,
            {{"architecture", model.config.architecture},
             {"kv_format", std::string(KvFormatName(model.kv_format))},
             {"memory_kind", model.default_memory_kind},
             {"model", model.name},
             {"weight_format", std::string(WeightFormatName(model.weights))}}),
      std::move(sessions),
      std::move(bytes),
  };
}

std::vector<MetricFamily> ProcessCollector::Collect() const {
  return {
      Gauge("memgate_build_info", "The running build; always 1.", 1,
            {{"compiler", __VERSION__}, {"version", version_}}),
      Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", ResidentBytes()),
      Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", CpuSeconds()),
      Gauge("process_open_fds", "Number of open file descriptors.", CountOpenFiles()),
      Gauge("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds.",
            StartTimeSeconds()),
  };
}

}  // namespace memgate
