#include "engine/sampling/stop_matcher.h"

#include <utility>

namespace memgate {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

StopMatcher::Result StopMatcher::Push(std::string_view text) {
  if (done_) return {};
  held_.append(text);
  return Scan(/*at_end=*/false);
}

StopMatcher::Result StopMatcher::Flush() {
  if (done_) return {};
  return Scan(/*at_end=*/true);
}

StopMatcher::Result StopMatcher::Scan(bool at_end) {
  const std::string_view held = held_;
  size_t begin = 0;
  for (; begin < held.size(); ++begin) {
    const std::string_view rest = held.substr(begin);
    const std::string* longest = nullptr;
    bool may_complete = false;
    for (const std::string& stop : stops_) {
      if (rest.starts_with(stop)) {
        if (longest == nullptr || stop.size() > longest->size()) longest = &stop;
      } else if (!at_end && std::string_view(stop).starts_with(rest)) {
        may_complete = true;
      }
    }
    if (longest != nullptr) {
      Result result{std::string(held.substr(0, begin)), *longest};
      held_.clear();
      done_ = true;
      return result;
    }
    if (may_complete) break;
  }
  Result result{std::string(held.substr(0, begin)), std::nullopt};
  held_.erase(0, begin);
  return result;
}

}  // namespace memgate
