// Metrics that are read at the moment of a scrape: what the engine holds and what the process uses.
#ifndef MEMGATE_SERVER_COLLECTORS_H_
#define MEMGATE_SERVER_COLLECTORS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "engine/engine.h"

namespace memgate {

// Engine::Stats() and what is known about the model. The engine must outlive it.
class EngineCollector : public prometheus::Collectable {
 public:
  explicit EngineCollector(const Engine& engine) : engine_(engine) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Engine& engine_;
};

// Build information and the usual process_* metrics, from /proc/self.
class ProcessCollector : public prometheus::Collectable {
 public:
  explicit ProcessCollector(std::string version) : version_(std::move(version)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string version_;
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_COLLECTORS_H_
