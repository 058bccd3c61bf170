#include "engine/text/protobuf_reader.h"

#include <bit>
#include <cstring>

#include "absl/status/status.h"
#include "engine/text/strings.h"

namespace memgate {
namespace {

absl::Status WrongType(const ProtobufField& field, std::string_view wanted) {
  return absl::InvalidArgumentError(Concat("field ", field.number, " is not ", wanted));
}

}  // namespace

absl::StatusOr<std::string_view> ProtobufField::AsBytes() const {
  if (type != Type::kBytes) return WrongType(*this, "a string or message");
  return bytes;
}

absl::StatusOr<float> ProtobufField::AsFloat() const {
  if (type != Type::kFixed32) return WrongType(*this, "a float");
  return std::bit_cast<float>(static_cast<uint32_t>(integer));
}

absl::StatusOr<bool> ProtobufField::AsBool() const {
  if (type != Type::kVarint) return WrongType(*this, "true or false");
  return integer != 0;
}

absl::StatusOr<int32_t> ProtobufField::AsInt32() const {
  if (type != Type::kVarint) return WrongType(*this, "an integer");
  return static_cast<int32_t>(integer);  // negative ones are stored in 64 bits, of which these are the lower
}

absl::StatusOr<uint64_t> ProtobufReader::ReadVarint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (at_ == message_.size()) break;
    const unsigned char byte = static_cast<unsigned char>(message_[at_++]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return absl::InvalidArgumentError("an integer that does not end");
}

absl::StatusOr<std::string_view> ProtobufReader::ReadBytes(uint64_t count) {
  if (count > message_.size() - at_) {
    return absl::InvalidArgumentError(Concat(count, " bytes where ", message_.size() - at_, " are left"));
  }
  at_ += count;
  return message_.substr(at_ - count, count);
}

absl::StatusOr<bool> ProtobufReader::Next(ProtobufField& field) {
  if (at_ == message_.size()) return false;
  const size_t begin = at_;
  const auto invalid = [&](const absl::Status& status) {
    return absl::InvalidArgumentError(Concat("field at byte ", begin, ": ", status.message()));
  };
  const absl::StatusOr<uint64_t> tag = ReadVarint();
  if (!tag.ok()) return invalid(tag.status());
  field = {.number = static_cast<uint32_t>(*tag >> 3)};
  absl::StatusOr<std::string_view> bytes;
  switch (*tag & 7) {
    case 0: {
      field.type = ProtobufField::Type::kVarint;
      const absl::StatusOr<uint64_t> value = ReadVarint();
      if (!value.ok()) return invalid(value.status());
      field.integer = *value;
      return true;
    }
    case 1:
      field.type = ProtobufField::Type::kFixed64;
      bytes = ReadBytes(sizeof(uint64_t));
      break;
    case 2: {
      field.type = ProtobufField::Type::kBytes;
      const absl::StatusOr<uint64_t> count = ReadVarint();
      if (!count.ok()) return invalid(count.status());
      bytes = ReadBytes(*count);
      break;
    }
    case 5:
      field.type = ProtobufField::Type::kFixed32;
      bytes = ReadBytes(sizeof(uint32_t));
      break;
    default:
      return invalid(absl::InvalidArgumentError(Concat("wire type ", *tag & 7)));
  }
  if (!bytes.ok()) return invalid(bytes.status());
  if (field.type == ProtobufField::Type::kBytes) {
    field.bytes = *bytes;
  } else {
    std::memcpy(&field.integer, bytes->data(), bytes->size());  // little-endian, as is this machine
  }
  return true;
}

}  // namespace memgate
