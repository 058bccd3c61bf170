// How the filters of jinja_filters.cc and jinja_sequence_filters.cc find each other.
#ifndef MEMGATE_ENGINE_TEXT_JINJA_FILTER_TABLE_H_
#define MEMGATE_ENGINE_TEXT_JINJA_FILTER_TABLE_H_

#include <map>
#include <string_view>

#include "engine/text/jinja_builtins.h"

namespace memgate::jinja {

using FilterFunction = Value (*)(Context&, const Value&, const CallArgs&);

const std::map<std::string_view, FilterFunction>& SequenceFilters();

}  // namespace memgate::jinja

#endif  // MEMGATE_ENGINE_TEXT_JINJA_FILTER_TABLE_H_
