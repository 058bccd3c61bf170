// `memgate inspect`: what a model on this machine holds. Only the server's program can tell, so it is run.
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "client/commands/command.h"

namespace memgate {
namespace {

constexpr char kServerProgram[] = "memgate-server";

// Beside this program, as both are installed, or as both are built; otherwise wherever PATH leads.
std::string ServerProgram() {
  std::error_code error;
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    for (const std::filesystem::path& place : {here, here.parent_path() / "server"}) {
      const std::filesystem::path program = place / kServerProgram;
      if (::access(program.c_str(), X_OK) == 0) return program.string();
    }
  }
  return kServerProgram;
}

// Returns only if it fails; otherwise this process becomes the server's program, and ends with its exit code.
absl::Status RunInspect(const Invocation& invocation) {
  const auto path =
      invocation.Positional("path: a model folder, a GGUF file, or the folder of a memory module");
  if (!path.ok()) return path.status();
  std::vector<std::string> words = {ServerProgram(), absl::StrCat("--model=", *path),
                                    invocation.json ? "--inspect=json" : "--inspect"};
  for (const char* option : {"memory", "memory-base"}) {
    if (!invocation.arguments.Has(option)) continue;
    words.push_back(absl::StrCat("--", option, "=", invocation.arguments.Text(option)));
  }
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  invocation.terminal.out.flush();
  ::execvp(pointers[0], pointers.data());
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot run ", words[0], ", which looks into models"));
}

}  // namespace

Command InspectCommand() {
  return {"inspect",
          "PATH",
          "Show what a model or memory module on this machine holds and what serving it costs",
          {{"memory", "FOLDER", "memory modules that do not lie with the model; none = none at all"},
           {"memory-base", "RULE", "any = memory modules of other models are taken, too; same = not"}},
          RunInspect};
}

}  // namespace memgate
