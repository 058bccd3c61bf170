#include "tests/support/temp_folder.h"

#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace memgate {
namespace {

[[noreturn]] void Die(std::string_view what, const std::string& path) {
  std::fprintf(stderr, "cannot %.*s %s\n", static_cast<int>(what.size()), what.data(), path.c_str());
  std::abort();
}

}  // namespace

TempFolder::TempFolder() {
  std::error_code error;
  path_ = (std::filesystem::temp_directory_path(error) / "memgate_test_XXXXXX").string();
  if (error || ::mkdtemp(path_.data()) == nullptr) Die("create", path_);
}

TempFolder::~TempFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string TempFolder::File(std::string_view name) const { return path_ + "/" + std::string(name); }

std::string TempFolder::Write(std::string_view name, std::string_view bytes) const {
  const std::string path = File(name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) Die("write", path);
  return path;
}

}  // namespace memgate
