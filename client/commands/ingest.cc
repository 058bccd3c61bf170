#include "client/commands/ingest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/commands/command.h"
#include "client/commands/connection.h"
#include "client/commands/interrupt.h"
#include "client/commands/text.h"
#include "client/message_json.h"

namespace memgate {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;
// How often a source without data looks whether the call has ended.
constexpr int kPollMilliseconds = 100;

// An open file, or standard input.
class InputFile {
 public:
  static absl::StatusOr<InputFile> Open(const std::string& path) {
    InputFile file;
    if (path != "-") file.fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file.fd_ < 0)
      return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", std::strerror(errno)));
    struct stat info {};
    if (fstat(file.fd_, &info) == 0) {
      if (S_ISDIR(info.st_mode)) return absl::FailedPreconditionError(absl::StrCat(path, " is a folder"));
      if (S_ISREG(info.st_mode)) file.size_ = info.st_size;
    }
    return file;
  }

  InputFile(InputFile&& other) noexcept : fd_(std::exchange(other.fd_, STDIN_FILENO)), size_(other.size_) {}
  ~InputFile() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }

  // 0 if unknown.
  int64_t size() const { return size_; }

  // A TextSource. Pipes that are silent for a while give empty chunks.
  absl::StatusOr<bool> Read(std::string* chunk) {
    chunk->clear();
    pollfd ready = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, kPollMilliseconds) == 0) return true;
    chunk->resize(kChunkBytes);
    const ssize_t got = read(fd_, chunk->data(), chunk->size());
    chunk->resize(got > 0 ? got : 0);
    if (got < 0 && errno != EINTR)
      return absl::DataLossError(absl::StrCat("reading: ", std::strerror(errno)));
    return got != 0;
  }

 private:
  InputFile() = default;

  int fd_ = STDIN_FILENO;
  int64_t size_ = 0;
};

// Mean negative log-likelihood per token, in nats. REQUIRES: tokens were scored.
double MeanNll(const v1::IngestProgress& progress) {
  return -progress.logprob_sum() / static_cast<double>(progress.scored_tokens());
}

nlohmann::ordered_json ScoreJson(const v1::IngestProgress& progress) {
  nlohmann::ordered_json json = ToJson(progress);
  const bool scored = progress.scored_tokens() > 0;
  json["mean_nll"] = scored ? nlohmann::ordered_json(MeanNll(progress)) : nullptr;
  json["perplexity"] = scored ? nlohmann::ordered_json(std::exp(MeanNll(progress))) : nullptr;
  return json;
}

std::string DescribeScore(const v1::IngestProgress& progress) {
  if (progress.scored_tokens() == 0) return "no token scored: nothing came before";
  return absl::StrCat(
      Grouped(progress.scored_tokens()), " tokens scored, mean negative log-likelihood ",
      absl::StrFormat("%.4f nats, perplexity %.4f", MeanNll(progress), std::exp(MeanNll(progress))));
}

absl::Status RunIngest(const Invocation& invocation) {
  const auto& positional = invocation.arguments.positional();
  if (positional.empty() || positional.size() > 2) {
    return UsageError("give a session and a file; without a file, or with -, standard input is read");
  }
  auto client = Connect(invocation.arguments);
  if (!client.ok()) return client.status();
  const std::string path = positional.size() == 2 ? positional[1] : "-";
  Cancellation cancellation;
  const ScopedInterrupt on_interrupt([&] { cancellation.Cancel(); });
  const bool score = invocation.arguments.Has("score");
  const auto result =
      IngestFile(**client, positional[0], path, invocation.terminal, &cancellation, {.score = score});
  if (!result.ok()) return result.status();
  if (invocation.json) {
    invocation.PrintJson(score ? ScoreJson(*result) : ToJson(*result));
    return absl::OkStatus();
  }
  invocation.terminal.out << Grouped(result->ingested_tokens()) << " tokens ingested at "
                          << absl::StrFormat("%.0f", result->tokens_per_s()) << " tokens/s, path "
                          << EnumLabel(result->path()) << "\nsession holds "
                          << DescribeTokens(result->accounting()) << "\n";
  if (score) invocation.terminal.out << DescribeScore(*result) << "\n";
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::IngestProgress> IngestFile(Client& client, absl::string_view session,
                                              const std::string& path, const Terminal& terminal,
                                              Cancellation* cancellation, const IngestOptions& options) {
  auto file = InputFile::Open(path);
  if (!file.ok()) return file.status();
  ProgressBar bar(terminal);
  const absl::Time start = absl::Now();
  return client.Ingest(
      session, [&](std::string* chunk) { return file->Read(chunk); },
      [&](const v1::IngestProgress& progress) {
        bar.Show({.done = progress.ingested_bytes(),
                  .total = file->size(),
                  .tokens = progress.ingested_tokens(),
                  .tokens_per_s = progress.tokens_per_s(),
                  .elapsed = absl::Now() - start});
      },
      cancellation, options);
}

absl::StatusOr<v1::IngestProgress> IngestText(Client& client, absl::string_view session,
                                              absl::string_view text, Cancellation* cancellation) {
  bool handed_out = false;
  return client.Ingest(
      session,
      [&](std::string* chunk) -> absl::StatusOr<bool> {
        *chunk = std::string(text);
        return !std::exchange(handed_out, true);
      },
      nullptr, cancellation);
}

Command IngestCommand() {
  return {"ingest",
          "SESSION [FILE]",
          "Feed a text of any length into a session",
          {{"score", "", "also tell how likely the text is to the model: its perplexity"}},
          RunIngest};
}

}  // namespace memgate
