#include "engine/text/jinja_value.h"

#include <algorithm>

namespace memgate::jinja {
namespace {

// Values that share parts can be exponentially large when written out.
size_t SaturatingAdd(size_t a, size_t b) {
  size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

}  // namespace

Value Value::FromList(List items) {
  auto node = std::make_shared<ListNode>();
  for (const Value& item : items) {
    node->depth = std::max(node->depth, item.depth() + 1);
    node->weight = SaturatingAdd(node->weight, SaturatingAdd(item.weight(), sizeof(Value)));
  }
  node->items = std::move(items);
  return Value(Data(std::shared_ptr<const ListNode>(std::move(node))));
}

Value Value::FromDict(Dict items) {
  auto node = std::make_shared<DictNode>();
  for (const auto& [key, item] : items) {
    node->depth = std::max(node->depth, item.depth() + 1);
    const size_t entry = key.size() + sizeof(std::string) + sizeof(Value);
    node->weight = SaturatingAdd(node->weight, SaturatingAdd(item.weight(), entry));
  }
  node->items = std::move(items);
  return Value(Data(std::shared_ptr<const DictNode>(std::move(node))));
}

Value Value::FromLoop(LoopState loop) {
  return Value(Data(std::make_shared<const LoopState>(std::move(loop))));
}

Value Value::FromCallable(Callable callable) {
  return Value(Data(std::make_shared<const Callable>(std::move(callable))));
}

const List& Value::list() const { return std::get<std::shared_ptr<const ListNode>>(data_)->items; }
const Dict& Value::dict() const { return std::get<std::shared_ptr<const DictNode>>(data_)->items; }

std::optional<int64_t> Value::AsInt() const {
  if (is(Kind::kBool)) return std::get<bool>(data_) ? 1 : 0;
  if (is(Kind::kInt)) return std::get<int64_t>(data_);
  return std::nullopt;
}

double Value::AsDouble() const {
  return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(*AsInt());
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kList:
      return std::get<std::shared_ptr<const ListNode>>(data_)->depth;
    case Kind::kDict:
      return std::get<std::shared_ptr<const DictNode>>(data_)->depth;
    case Kind::kLoop:
      return loop().items.depth() + 1;
    case Kind::kCallable:
      return callable().self.has_value() ? callable().self->depth() + 1 : 0;
    default:
      return 0;
  }
}

size_t Value::weight() const {
  switch (kind()) {
    case Kind::kString:
      return string().size();
    case Kind::kList:
      return std::get<std::shared_ptr<const ListNode>>(data_)->weight;
    case Kind::kDict:
      return std::get<std::shared_ptr<const DictNode>>(data_)->weight;
    default:
      return 0;
  }
}

std::string_view TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "none";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "string";
    case Kind::kList:
      return "list";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kLoop:
      return "loop";
    case Kind::kCallable:
      return "function";
  }
  return "";
}

const Value* FindKey(const Dict& dict, std::string_view key) {
  for (const auto& [name, value] : dict) {
    if (name == key) return &value;
  }
  return nullptr;
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return value.AsDouble() != 0;
    case Kind::kString:
      return !value.string().empty();
    case Kind::kList:
      return !value.list().empty();
    case Kind::kDict:
      return !value.dict().empty();
    default:
      return true;
  }
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return a.AsDouble() == b.AsDouble();
    return a.AsInt() == b.AsInt();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return a.string() == b.string();
    case Kind::kList:
      return std::equal(a.list().begin(), a.list().end(), b.list().begin(), b.list().end(), Equal);
    case Kind::kDict: {
      if (a.dict().size() != b.dict().size()) return false;
      return std::all_of(a.dict().begin(), a.dict().end(), [&](const auto& entry) {
        const Value* other = FindKey(b.dict(), entry.first);
        return other != nullptr && Equal(entry.second, *other);
      });
    }
    case Kind::kNamespace:
      return &a.space() == &b.space();
    case Kind::kLoop:
      return &a.loop() == &b.loop();
    case Kind::kCallable:
      return &a.callable() == &b.callable();
    default:
      return false;
  }
}

std::optional<int> Compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) {
      const double x = a.AsDouble();
      const double y = b.AsDouble();
      return x < y ? -1 : x > y ? 1 : 0;
    }
    const int64_t x = *a.AsInt();
    const int64_t y = *b.AsInt();
    return x < y ? -1 : x > y ? 1 : 0;
  }
  // The byte order of UTF-8 is the order of code points.
  if (a.is(Kind::kString) && b.is(Kind::kString)) return a.string().compare(b.string());
  if (a.is(Kind::kList) && b.is(Kind::kList)) {
    const size_t common = std::min(a.list().size(), b.list().size());
    for (size_t i = 0; i < common; ++i) {
      if (Equal(a.list()[i], b.list()[i])) continue;
      return Compare(a.list()[i], b.list()[i]);
    }
    return static_cast<int>(a.list().size() > common) - static_cast<int>(b.list().size() > common);
  }
  return std::nullopt;
}

}  // namespace memgate::jinja
