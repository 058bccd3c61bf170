// Runs a fuzz target without libFuzzer: every file of a corpus folder, then a fixed number of mutations of
// them. The same inputs on every run and machine; one that ends the program is left in the file
// `crash-input`. Usage: <program> <corpus folder> <mutations>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxInputBytes = 1 << 20;

// Where readers go wrong: borders of integer types, and the characters that structure text.
constexpr uint64_t kInterestingNumbers[] = {
    0, 1, 7, 8, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
constexpr char kInterestingText[] = "{}[]\",:\\0123456789-.e \n\xff\x80tfn";

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // A changed copy of one of the inputs.
  std::string Next(const std::vector<std::string>& inputs) {
    std::string text = inputs[Below(inputs.size())];
    const size_t changes = 1 + Below(4);
    for (size_t i = 0; i < changes; ++i) Change(text, inputs);
    if (text.size() > kMaxInputBytes) text.resize(kMaxInputBytes);
    return text;
  }

 private:
  size_t Below(size_t count) { return random_() % count; }  // slightly uneven, which does no harm here

  void Change(std::string& text, const std::vector<std::string>& inputs) {
    const size_t at = Below(text.size() + 1);
    const size_t rest = text.size() - at;
    const size_t length = rest == 0 ? 0 : 1 + Below(std::min<size_t>(rest, 64));
    switch (Below(8)) {
      case 0:  // one bit
        if (rest > 0) text[at] = static_cast<char>(text[at] ^ (1 << Below(8)));
        return;
      case 1:
        text.resize(at);
        return;
      case 2:
        text.erase(at, length);
        return;
      case 3:
        text.insert(at, text.substr(at, length));
        return;
      case 4: {
        const uint64_t number = kInterestingNumbers[Below(std::size(kInterestingNumbers))];
        const size_t bytes = std::min<size_t>(rest, size_t{1} << Below(4));
        std::memcpy(text.data() + at, &number, bytes);
        return;
      }
      case 5:
        text.insert(at, 1, kInterestingText[Below(sizeof(kInterestingText) - 1)]);
        return;
      case 6:  // a number as text
        text.replace(at, length, std::to_string(kInterestingNumbers[Below(std::size(kInterestingNumbers))]));
        return;
      case 7: {  // the end of another input
        const std::string& other = inputs[Below(inputs.size())];
        text.resize(at);
        text += other.substr(Below(other.size() + 1));
        return;
      }
    }
  }

  std::mt19937_64 random_;
};

const std::vector<uint8_t>* running = nullptr;  // the input, for KeepInput

// A signal handler: system calls only.
void KeepInput(int signal) {
  const int file = ::open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool kept = file >= 0 && running != nullptr && ::write(file, running->data(), running->size()) >= 0;
  constexpr char kMessage[] = "the input is in crash-input\n";
  if (kept) (void)!::write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void Run(const std::string& input) {
  // A copy of exactly this size, so that a sanitizer sees the first byte read past the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  running = &bytes;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  running = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s <corpus folder> <mutations>\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());  // folders list in any order
  std::vector<std::string> inputs;
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  if (inputs.empty()) {
    std::fprintf(stderr, "no inputs in %s\n", argv[1]);
    return 1;
  }
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE}) std::signal(signal, &KeepInput);
  for (const std::string& input : inputs) Run(input);
  Mutator mutator(/*seed=*/1);
  const long mutations = std::atol(argv[2]);
  for (long i = 0; i < mutations; ++i) Run(mutator.Next(inputs));
  std::printf("%zu inputs and %ld mutations\n", inputs.size(), mutations);
  return 0;
}
