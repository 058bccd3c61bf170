// memgate-bench-text: how fast text becomes token ids, on one thread, and ids text; and messages text.
//
//   memgate-bench-text [--tokenizers FOLDER] [--text FILE] [--templates FOLDER] [--benchmark_...]
//
// The first folder holds one tokenizer per subfolder, default ../shared/data/tokenizers beside the
// repository, the other one chat templates (.jinja), default chat-templates beside it. FILE is what is
// encoded, default the English novels beside them, and where they are missing generated English-like words.
// Every run encodes another part of the text, so that nothing is measured that was just encoded.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace memgate::bench {
namespace {

namespace fs = std::filesystem;

const char kData[] = MEMGATE_SOURCE_DIR "/../shared/data";
constexpr size_t kPartBytes = 64 << 10;
constexpr size_t kMessageBytes = 500;

std::string ReadText(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Words of random letters whose frequency falls with their rank, as in Zipf's law, with some punctuation.
std::string GenerateText() {
  std::mt19937 random(1);
  std::vector<std::string> words(20'000);
  for (std::string& word : words) {
    const size_t length = 2 + random() % 9;
    for (size_t i = 0; i < length; ++i)
      word.push_back("etaoinshrdlucmfwypvbgkjqxz"[random() % (1 + random() % 26)]);
  }
  std::string text;
  while (text.size() < (4u << 20)) {
    const double uniform = static_cast<double>(random()) / static_cast<double>(std::mt19937::max());
    text += words[static_cast<size_t>(std::pow(static_cast<double>(words.size()), uniform)) - 1];
    text += random() % 12 == 0 ? ".\n" : random() % 10 == 0 ? ", " : " ";
  }
  return text;
}

std::string DefaultText() {
  std::string text;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(kData) / "corpora", error)) {
    if (entry.path().extension() == ".txt") text += ReadText(entry.path());
  }
  return text.empty() ? GenerateText() : text;
}

// Parts of about 64 KiB, cut at line breaks.
std::vector<std::string_view> Parts(std::string_view text) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t line_end = text.find('\n', std::min(kPartBytes, text.size() - 1));
    const size_t bytes = line_end == std::string_view::npos ? text.size() : line_end + 1;
    parts.push_back(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return parts;
}

void Encode(benchmark::State& state, const Tokenizer& tokenizer, const std::vector<std::string_view>& parts) {
  size_t next = 0;
  int64_t bytes = 0;
  int64_t tokens = 0;
  for (auto _ : state) {
    const std::string_view part = parts[next++ % parts.size()];
    const absl::StatusOr<std::vector<TokenId>> ids = tokenizer.Encode(part, TextPosition::kContinuation);
    if (!ids.ok()) {
      state.SkipWithError(std::string(ids.status().message()).c_str());
      return;
    }
    bytes += static_cast<int64_t>(part.size());
    tokens += static_cast<int64_t>(ids->size());
  }
  state.SetBytesProcessed(bytes);
  state.counters["bytes_per_token"] = static_cast<double>(bytes) / static_cast<double>(tokens);
}

void DecodeIds(benchmark::State& state, const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<TokenId> ids = tokenizer.Encode(text, TextPosition::kContinuation).value();
  for (auto _ : state) benchmark::DoNotOptimize(Decode(tokenizer, ids, TextPosition::kContinuation));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

// Five messages with a paragraph each: two turns with their answers, and a third one.
void Render(benchmark::State& state, const ChatTemplate& chat_template, std::string_view text) {
  std::vector<ChatTurn> messages;
  for (const char* role : {"user", "assistant", "user", "assistant", "user"}) {
    messages.push_back({.role = role, .content = std::string(text.substr(0, kMessageBytes))});
  }
  for (auto _ : state) {
    const absl::StatusOr<std::string> rendered = chat_template.Render(messages, {.now_unix_seconds = 0});
    if (!rendered.ok()) {
      state.SkipWithError(std::string(rendered.status().message()).c_str());
      return;
    }
  }
}

// Takes "NAME VALUE" out of the arguments; `fallback` if it is not there.
std::string TakeOption(const char* name, std::string fallback, int& argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) != 0) continue;
    fallback = argv[i + 1];
    std::copy(argv + i + 2, argv + argc, argv + i);
    argc -= 2;
  }
  return fallback;
}

int Run(int argc, char** argv) {
  const fs::path folder = TakeOption("--tokenizers", std::string(kData) + "/tokenizers", argc, argv);
  const fs::path templates_folder =
      TakeOption("--templates", std::string(kData) + "/chat-templates", argc, argv);
  const std::string file = TakeOption("--text", "", argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const std::string text = file.empty() ? DefaultText() : ReadText(file);
  const std::vector<std::string_view> parts = Parts(text);
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromFolder(entry.path().string());
    if (!tokenizer.ok()) {
      std::fprintf(stderr, "%s\n", std::string(tokenizer.status().message()).c_str());
      continue;
    }
    tokenizers.push_back(*std::move(tokenizer));
    const std::string name = entry.path().filename().string();
    const Tokenizer& kept = *tokenizers.back();
    benchmark::RegisterBenchmark(("encode/" + name).c_str(),
                                 [&kept, &parts](benchmark::State& state) { Encode(state, kept, parts); });
    benchmark::RegisterBenchmark(("decode/" + name).c_str(), [&kept, &parts](benchmark::State& state) {
      DecodeIds(state, kept, parts[0]);
    });
  }
  std::vector<std::unique_ptr<ChatTemplate>> templates;
  for (const fs::directory_entry& entry : fs::directory_iterator(templates_folder, error)) {
    if (entry.path().extension() != ".jinja") continue;
    absl::StatusOr<std::unique_ptr<ChatTemplate>> compiled = ChatTemplate::Compile(ReadText(entry.path()));
    if (!compiled.ok()) {
      std::fprintf(stderr, "%s: %s\n", entry.path().c_str(),
                   std::string(compiled.status().message()).c_str());
      continue;
    }
    templates.push_back(*std::move(compiled));
    const ChatTemplate& kept = *templates.back();
    benchmark::RegisterBenchmark(("render/" + entry.path().stem().string()).c_str(),
                                 [&kept, &text](benchmark::State& state) { Render(state, kept, text); });
  }
  if (tokenizers.empty() || parts.empty()) {
    std::fprintf(stderr, "memgate-bench-text: no tokenizer in %s, or no text\n", folder.c_str());
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace memgate::bench

int main(int argc, char** argv) { return memgate::bench::Run(argc, argv); }
