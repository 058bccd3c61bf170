#include "client/message_json.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace memgate {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::ordered_json;

// The readers of one field: element `index` of a repeated field, or the field itself if `index` is -1.
ordered_json ScalarToJson(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& r = *message.GetReflection();
  const bool repeated = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? r.GetRepeatedBool(message, &field, index) : r.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_INT32:
      return repeated ? r.GetRepeatedInt32(message, &field, index) : r.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return repeated ? r.GetRepeatedInt64(message, &field, index) : r.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? r.GetRepeatedUInt32(message, &field, index) : r.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? r.GetRepeatedUInt64(message, &field, index) : r.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return repeated ? r.GetRepeatedFloat(message, &field, index) : r.GetFloat(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return repeated ? r.GetRepeatedDouble(message, &field, index) : r.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumLabel(*(repeated ? r.GetRepeatedEnum(message, &field, index) : r.GetEnum(message, &field)));
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text =
          repeated ? r.GetRepeatedString(message, &field, index) : r.GetString(message, &field);
      return field.type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text) : text;
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(repeated ? r.GetRepeatedMessage(message, &field, index) : r.GetMessage(message, &field));
  }
  return nullptr;
}

std::string MapKey(const Message& entry) {
  const ordered_json key = ScalarToJson(entry, *entry.GetDescriptor()->map_key(), -1);
  return key.is_string() ? key.get<std::string>() : key.dump();
}

ordered_json RepeatedToJson(const Message& message, const FieldDescriptor& field) {
  const Reflection& r = *message.GetReflection();
  const int size = r.FieldSize(message, &field);
  if (field.is_map()) {
    ordered_json object = ordered_json::object();
    for (int i = 0; i < size; ++i) {
      const Message& entry = r.GetRepeatedMessage(message, &field, i);
      object[MapKey(entry)] = ScalarToJson(entry, *entry.GetDescriptor()->map_value(), -1);
    }
    return object;
  }
  ordered_json array = ordered_json::array();
  for (int i = 0; i < size; ++i) array.push_back(ScalarToJson(message, field, i));
  return array;
}

}  // namespace

ordered_json ToJson(const Message& message) {
  if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&message)) {
    return absl::FormatTime(absl::RFC3339_full,
                            absl::FromUnixSeconds(time->seconds()) + absl::Nanoseconds(time->nanos()),
                            absl::UTCTimeZone());
  }
  if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&message)) {
    return static_cast<double>(duration->seconds()) + duration->nanos() * 1e-9;
  }
  ordered_json object = ordered_json::object();
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) {
      object[field.name()] = RepeatedToJson(message, field);
    } else if (!field.has_presence() || message.GetReflection()->HasField(message, &field)) {
      object[field.name()] = ScalarToJson(message, field, -1);
    }
  }
  return object;
}

std::string Dump(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string EnumLabel(const EnumValueDescriptor& value) {
  // Every enum's zero value is PREFIX_UNSPECIFIED, which tells the prefix.
  absl::string_view prefix = value.type()->value(0)->name();
  absl::ConsumeSuffix(&prefix, "UNSPECIFIED");
  return absl::AsciiStrToLower(absl::StripPrefix(value.name(), prefix));
}

}  // namespace memgate
