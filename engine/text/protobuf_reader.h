// Reads the wire format of Protocol Buffers, field by field, for the few messages of tokenizer files.
#ifndef MEMGATE_ENGINE_TEXT_PROTOBUF_READER_H_
#define MEMGATE_ENGINE_TEXT_PROTOBUF_READER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace memgate {

// One field: its number and, by its wire type, its value.
struct ProtobufField {
  uint32_t number = 0;
  enum class Type { kVarint, kFixed64, kBytes, kFixed32 } type = Type::kVarint;
  uint64_t integer = 0;    // kVarint, kFixed64, kFixed32
  std::string_view bytes;  // kBytes: a string or a message; points into the input

  // Their values where the type fits, else INVALID_ARGUMENT that names the field.
  absl::StatusOr<std::string_view> AsBytes() const;
  absl::StatusOr<float> AsFloat() const;
  absl::StatusOr<bool> AsBool() const;
  absl::StatusOr<int32_t> AsInt32() const;
};

class ProtobufReader {
 public:
  // `message` must outlive the reader.
  explicit ProtobufReader(std::string_view message) : message_(message) {}

  // Reads the next field into `field`; false at the end of the message. INVALID_ARGUMENT with the offset of a
  // field that is cut off or of another form; groups, which no tokenizer file has, are refused, too.
  absl::StatusOr<bool> Next(ProtobufField& field);

 private:
  absl::StatusOr<uint64_t> ReadVarint();
  absl::StatusOr<std::string_view> ReadBytes(uint64_t count);

  std::string_view message_;
  size_t at_ = 0;
};

}  // namespace memgate

#endif  // MEMGATE_ENGINE_TEXT_PROTOBUF_READER_H_
