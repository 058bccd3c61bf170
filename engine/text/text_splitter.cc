#include "engine/text/text_splitter.h"

#include <algorithm>
#include <utility>

namespace memgate {
namespace {

struct Span {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

// Whether a span becomes the end of the piece before it.
bool Extends(const Span* previous, const Span& span, SplitBehavior behavior) {
  if (previous == nullptr) return false;
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return span.is_match && !previous->is_match;
    case SplitBehavior::kMergedWithNext:
      return !span.is_match && previous->is_match;
    case SplitBehavior::kContiguous:
      return span.is_match == previous->is_match;
    case SplitBehavior::kIsolated:
    case SplitBehavior::kRemoved:
      return false;
  }
  return false;
}

void EmitPieces(std::string_view text, const std::vector<Span>& spans, SplitBehavior behavior,
                std::vector<std::string_view>& pieces) {
  const Span* previous = nullptr;
  for (const Span& span : spans) {
    const std::string_view piece = text.substr(span.begin, span.end - span.begin);
    if (Extends(previous, span, behavior)) {
      pieces.back() = {pieces.back().data(), pieces.back().size() + piece.size()};
    } else if (!(span.is_match && behavior == SplitBehavior::kRemoved)) {
      pieces.push_back(piece);
    }
    previous = &span;
  }
}

}  // namespace

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

absl::StatusOr<TextSplitter> TextSplitter::Compile(std::string_view pattern, SplitBehavior behavior,
                                                   bool invert) {
  absl::StatusOr<Regex> regex = Regex::Compile(pattern);
  if (!regex.ok()) return regex.status();
  return TextSplitter(*std::move(regex), behavior, invert);
}

TextSplitter TextSplitter::ForLiteral(std::string_view literal, SplitBehavior behavior, bool invert) {
  return TextSplitter(std::string(literal), behavior, invert);
}

absl::Status TextSplitter::Split(std::string_view text, MatchWork& work,
                                 std::vector<std::string_view>& pieces) const {
  std::vector<Span> spans;
  const auto add = [&](size_t begin, size_t end, bool is_match) {
    if (begin == end) return;
    if (behavior_ == SplitBehavior::kIsolated) {  // By far the most common, and no span depends on another.
      pieces.push_back(text.substr(begin, end - begin));
    } else {
      spans.push_back({begin, end, is_match != invert_});
    }
  };
  size_t done = 0;  // text before this was added
  const auto add_match = [&](size_t begin, size_t end) {
    add(done, begin, false);
    add(begin, end, true);
    done = end;
  };
  if (const auto* literal = std::get_if<std::string>(&pattern_)) {
    for (size_t at = text.find(*literal); at != std::string_view::npos; at = text.find(*literal, done)) {
      add_match(at, at + literal->size());
    }
  } else if (absl::Status status = std::get<Regex>(pattern_).ForEachMatch(text, work, add_match);
             !status.ok()) {
    return status;
  }
  add(done, text.size(), false);
  EmitPieces(text, spans, behavior_, pieces);
  return absl::OkStatus();
}

}  // namespace memgate
