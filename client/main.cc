// memgate: the command line of the memgate server.
#include <csignal>
#include <string>
#include <vector>

#include "client/commands/command.h"

int main(int argc, char** argv) {
  // A closed pipe (`memgate generate ... | head`) shows up as a failed write, not as a dead process.
  std::signal(SIGPIPE, SIG_IGN);
  return memgate::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc), memgate::ProcessTerminal());
}
