// A folder for the files of one test.
#ifndef MEMGATE_TESTS_SUPPORT_TEMP_FOLDER_H_
#define MEMGATE_TESTS_SUPPORT_TEMP_FOLDER_H_

#include <string>
#include <string_view>

namespace memgate {

// Created empty under the system's temporary folder, removed with everything in it at the end. Aborts the
// test program if the file system refuses.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  // Path of `name` in the folder.
  std::string File(std::string_view name) const;
  // Writes a file, replacing what was there; returns its path.
  std::string Write(std::string_view name, std::string_view bytes) const;

 private:
  std::string path_;
};

}  // namespace memgate

#endif  // MEMGATE_TESTS_SUPPORT_TEMP_FOLDER_H_
