// memgate-eval: runs the tasks of a file against a server and writes what happened, both as JSON lines.
//
//   memgate-eval --address HOST:PORT --tasks FILE [--parallel N] [--server-pid PID]
//
// task_runner.h describes tasks and events. Exit code 0 if every task ended well, 1 if one failed, 2 for
// wrong usage.
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "client/memgate_client.h"
#include "tests/eval/event_writer.h"
#include "tests/eval/task_runner.h"
#include "tests/eval/work_pool.h"

namespace {

constexpr int kUsageError = 2;
constexpr int kMostThreads = 64;

int Refuse(const std::string& why) {
  std::cerr << "memgate-eval: " << why
            << "\nusage: memgate-eval --address HOST:PORT --tasks FILE [--parallel N] [--server-pid PID]\n";
  return kUsageError;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {
      {"--address", ""}, {"--tasks", ""}, {"--parallel", "4"}, {"--server-pid", "0"}};
  for (int i = 1; i < argc; i += 2) {
    const auto flag = flags.find(argv[i]);
    if (flag == flags.end() || i + 1 == argc) return Refuse(std::string("cannot use ") + argv[i]);
    flag->second = argv[i + 1];
  }
  int parallel, server_pid;
  if (!absl::SimpleAtoi(flags["--parallel"], &parallel) || parallel < 1 || parallel > kMostThreads) {
    return Refuse("--parallel takes 1 to 64");
  }
  if (!absl::SimpleAtoi(flags["--server-pid"], &server_pid) || server_pid < 0) {
    return Refuse("--server-pid takes a process id");
  }
  std::ifstream tasks(flags["--tasks"]);
  if (!tasks) return Refuse("cannot read the tasks in \"" + flags["--tasks"] + "\"");
  auto client = memgate::Client::Connect({.address = flags["--address"]});
  if (!client.ok()) return Refuse(client.status().ToString());

  memgate::eval::EventWriter events(std::cout);
  memgate::eval::WorkPool pool;
  memgate::eval::TaskRunner runner(**client, events, pool, server_pid);
  int number = 0;
  for (std::string line; std::getline(tasks, line);) {
    ++number;
    nlohmann::json task = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!task.is_object())
      return Refuse("line " + std::to_string(number) + " of the tasks is no JSON object");
    runner.Add(std::move(task));
  }
  pool.Run(parallel);
  return runner.failed() ? EXIT_FAILURE : EXIT_SUCCESS;
}
