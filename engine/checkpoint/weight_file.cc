#include "engine/checkpoint/weight_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "engine/base/strings.h"
#include "engine/checkpoint/checksum.h"

namespace memgate {
namespace {

static_assert(std::endian::native == std::endian::little, "weight files are little-endian images");

constexpr std::string_view kMagic = "MGPACK\r\n";
constexpr uint32_t kByteOrder = 0x01020304;
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxPartBytes = 80;
constexpr size_t kMaxNameBytes = 255;
// Real directories have some 10 kB.
constexpr uint64_t kMaxDirectoryBytes = 16 << 20;
constexpr size_t kChecksumBytes = sizeof(uint64_t);

struct Header {
  std::array<char, 8> magic;
  uint32_t byte_order;
  uint32_t version;
  uint64_t file_bytes;
  uint64_t directory_bytes;  // header, key, entries, zeros, checksum
  uint32_t blobs;
  uint32_t key_bytes;
};
static_assert(sizeof(Header) == 40);

struct EntryHeader {
  uint64_t bytes;
  uint64_t checksum;
  uint64_t name_bytes;
};

// What follows the header and each entry's header is text; nothing needs to be aligned.
template <typename T>
void Put(const T& value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Read(T& out) {
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&out, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  bool ReadText(uint64_t bytes, std::string& out) {
    if (rest_.size() < bytes) return false;
    out = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return true;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

std::string KeyText(const WeightCacheKey& key) {
  return Concat(key.model, "\n", key.format, "\n", key.layout, "\n");
}

std::string Quoted(std::string_view text) { return Concat("\"", absl::CHexEscape(ToAbsl(text)), "\""); }

absl::Status Stopped(std::string_view blob) {
  return absl::CancelledError(Concat("stopped before blob ", Quoted(blob)));
}

absl::Span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Header and directory size; from here on the directory's checksum speaks for its contents.
absl::StatusOr<Header> ReadHeader(absl::Span<const std::byte> file) {
  Header header;
  if (file.size() < sizeof(header)) {
    return absl::DataLossError(Concat("cut short: only ", file.size(), " bytes"));
  }
  std::memcpy(&header, file.data(), sizeof(header));
  if (std::string_view(header.magic.data(), header.magic.size()) != kMagic) {
    return absl::DataLossError("not a file of packed weights: wrong magic");
  }
  if (header.byte_order == __builtin_bswap32(kByteOrder)) {
    return absl::FailedPreconditionError("written on a machine of the other byte order");
  }
  if (header.byte_order != kByteOrder) return absl::DataLossError("damaged: impossible byte order");
  if (header.version != kVersion) {
    return absl::FailedPreconditionError(
        Concat("version ", header.version, "; this build reads version ", kVersion));
  }
  if (header.file_bytes != file.size()) {
    return absl::DataLossError(
        Concat("cut short or damaged: ", file.size(), " bytes instead of ", header.file_bytes));
  }
  if (header.directory_bytes < sizeof(header) + kChecksumBytes || header.directory_bytes > file.size() ||
      header.directory_bytes > kMaxDirectoryBytes || header.directory_bytes % kBlobAlignment != 0) {
    return absl::DataLossError(Concat("damaged: impossible directory of ", header.directory_bytes, " bytes"));
  }
  return header;
}

absl::Status CheckDirectoryChecksum(absl::Span<const std::byte> directory) {
  const size_t covered = directory.size() - kChecksumBytes;
  uint64_t checksum;
  std::memcpy(&checksum, directory.data() + covered, sizeof(checksum));
  if (Checksum64(directory.first(covered)) == checksum) return absl::OkStatus();
  return absl::DataLossError("damaged: the checksum of its directory does not match");
}

// One entry whose blob begins at `begin`.
absl::StatusOr<WeightFileEntry> ReadEntry(Reader& reader, size_t begin, size_t file_bytes) {
  EntryHeader header;
  WeightFileEntry entry;
  if (!reader.Read(header) || header.name_bytes > kMaxNameBytes ||
      !reader.ReadText(header.name_bytes, entry.name) || entry.name.empty()) {
    return absl::DataLossError("damaged: malformed directory");
  }
  // The sum below cannot overflow: both sizes are those of a file in memory.
  if (header.bytes > file_bytes || begin + PaddedBlobBytes(header.bytes) > file_bytes) {
    return absl::DataLossError(Concat("damaged: blob ", Quoted(entry.name), " of ", header.bytes,
                                      " bytes does not lie within the file"));
  }
  entry.begin = begin;
  entry.bytes = header.bytes;
  entry.checksum = header.checksum;
  return entry;
}

}  // namespace

absl::Status CheckWeightCacheKey(const WeightCacheKey& key) {
  const std::pair<const char*, const std::string*> parts[] = {
      {"model", &key.model}, {"format", &key.format}, {"layout", &key.layout}};
  for (const auto& [what, part] : parts) {
    const bool plain = std::all_of(part->begin(), part->end(), [](unsigned char c) {
      return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == ':' || c == '-';
    });
    if (part->empty() || part->size() > kMaxPartBytes || !plain) {
      return absl::InvalidArgumentError(Concat("cache key, ", what, " ", Quoted(*part), ": must be 1 to ",
                                               kMaxPartBytes, " characters out of [A-Za-z0-9._:-]"));
    }
  }
  return absl::OkStatus();
}

size_t PaddedBlobBytes(size_t bytes) {
  return (bytes + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment;
}

absl::StatusOr<size_t> WeightFileDirectoryBytes(const WeightCacheKey& key,
                                                absl::Span<const WeightBlob> blobs) {
  if (auto s = CheckWeightCacheKey(key); !s.ok()) return s;
  size_t bytes = sizeof(Header) + KeyText(key).size() + kChecksumBytes;
  for (size_t i = 0; i < blobs.size(); ++i) {
    const WeightBlob& blob = blobs[i];
    if (blob.name.empty() || blob.name.size() > kMaxNameBytes) {
      return absl::InvalidArgumentError(
          Concat("blob ", Quoted(blob.name), ": names have 1 to ", kMaxNameBytes, " bytes"));
    }
    if (i > 0 && blobs[i - 1].name >= blob.name) {
      return absl::InvalidArgumentError(Concat("blob ", Quoted(blob.name), ": names must ascend"));
    }
    bytes += sizeof(EntryHeader) + blob.name.size();
  }
  if (PaddedBlobBytes(bytes) > kMaxDirectoryBytes) {
    return absl::InvalidArgumentError(
        Concat(blobs.size(), " blobs, whose directory of ", bytes, " bytes is too large"));
  }
  return PaddedBlobBytes(bytes);
}

absl::StatusOr<std::string> EncodeWeightFileDirectory(const WeightCacheKey& key,
                                                      absl::Span<const WeightBlob> blobs,
                                                      const std::stop_token& stop) {
  const absl::StatusOr<size_t> directory_bytes = WeightFileDirectoryBytes(key, blobs);
  if (!directory_bytes.ok()) return directory_bytes.status();
  const std::string key_text = KeyText(key);
  std::string entries;
  uint64_t blob_bytes = 0;
  for (const WeightBlob& blob : blobs) {
    if (stop.stop_requested()) return Stopped(blob.name);
    Put(EntryHeader{blob.bytes.size(), Checksum64(blob.bytes), blob.name.size()}, entries);
    entries += blob.name;
    blob_bytes += PaddedBlobBytes(blob.bytes.size());
  }
  Header header = {.byte_order = kByteOrder,
                   .version = kVersion,
                   .file_bytes = *directory_bytes + blob_bytes,
                   .directory_bytes = *directory_bytes,
                   .blobs = static_cast<uint32_t>(blobs.size()),
                   .key_bytes = static_cast<uint32_t>(key_text.size())};
  std::copy(kMagic.begin(), kMagic.end(), header.magic.begin());
  std::string directory;
  Put(header, directory);
  directory += key_text;
  directory += entries;
  directory.resize(*directory_bytes - kChecksumBytes);
  Put(Checksum64(AsBytes(directory)), directory);
  return directory;
}

absl::StatusOr<std::vector<WeightFileEntry>> ParseWeightFile(absl::Span<const std::byte> file,
                                                             const WeightCacheKey& key) {
  const absl::StatusOr<Header> header = ReadHeader(file);
  if (!header.ok()) return header.status();
  const absl::Span<const std::byte> directory = file.first(header->directory_bytes);
  if (auto s = CheckDirectoryChecksum(directory); !s.ok()) return s;
  Reader reader({reinterpret_cast<const char*>(directory.data()), directory.size() - kChecksumBytes});
  Header skipped;
  std::string key_text;
  if (!reader.Read(skipped) || !reader.ReadText(header->key_bytes, key_text)) {
    return absl::DataLossError("damaged: malformed directory");
  }
  if (key_text != KeyText(key)) {
    return absl::FailedPreconditionError(
        Concat("holds weights of another key: ", Quoted(key_text), " instead of ", Quoted(KeyText(key))));
  }
  std::vector<WeightFileEntry> entries;
  size_t end = header->directory_bytes;
  for (uint32_t i = 0; i < header->blobs; ++i) {
    absl::StatusOr<WeightFileEntry> entry = ReadEntry(reader, end, file.size());
    if (!entry.ok()) return entry.status();
    if (!entries.empty() && entries.back().name >= entry->name) {
      return absl::DataLossError(Concat("damaged: blob ", Quoted(entry->name), " is out of order"));
    }
    end = entry->begin + PaddedBlobBytes(entry->bytes);
    entries.push_back(*std::move(entry));
  }
  if (reader.rest().find_first_not_of('\0') != std::string_view::npos) {
    return absl::DataLossError("damaged: malformed directory");
  }
  if (end != file.size()) {
    return absl::DataLossError(Concat("damaged: ", file.size() - end, " bytes after the last blob"));
  }
  return entries;
}

absl::Status VerifyWeightBlobs(absl::Span<const std::byte> file, absl::Span<const WeightFileEntry> entries,
                               const std::stop_token& stop) {
  for (const WeightFileEntry& entry : entries) {
    if (stop.stop_requested()) return Stopped(entry.name);
    const auto padding = file.subspan(entry.begin + entry.bytes, PaddedBlobBytes(entry.bytes) - entry.bytes);
    const bool blank =
        std::all_of(padding.begin(), padding.end(), [](std::byte b) { return b == std::byte{}; });
    if (!blank || Checksum64(file.subspan(entry.begin, entry.bytes)) != entry.checksum) {
      return absl::DataLossError(
          Concat("damaged: the checksum of blob ", Quoted(entry.name), " does not match"));
    }
  }
  return absl::OkStatus();
}

}  // namespace memgate
