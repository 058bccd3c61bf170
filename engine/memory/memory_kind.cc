#include "engine/memory/memory_kind.h"

namespace memgate {
namespace {

class WindowKind : public MemoryKind {
 public:
  WindowKind() : MemoryKind("window") {}
};

}  // namespace

std::unique_ptr<MemoryKind> MakeWindowKind() { return std::make_unique<WindowKind>(); }

}  // namespace memgate
