#include "engine/structured/string_formats.h"

namespace memgate {
namespace {

// RFC 3339. Months of 31, 30 and 28 days, then the 29th of February of leap years.
#define MEMGATE_DATE                                                             \
  "(?:[1-9]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])"                \
  "|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"              \
  "|(?:[1-9]\\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)" \
  "-02-29)"
#define MEMGATE_TIME \
  "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
// RFC 3339, appendix A: units in order, none left out between two.
#define MEMGATE_SECONDS "\\d{1,9}S"
#define MEMGATE_MINUTES "\\d{1,9}M(?:" MEMGATE_SECONDS ")?"
#define MEMGATE_HOURS "\\d{1,9}H(?:" MEMGATE_MINUTES ")?"
#define MEMGATE_SPAN_OF_TIME "T(?:" MEMGATE_HOURS "|" MEMGATE_MINUTES "|" MEMGATE_SECONDS ")"
#define MEMGATE_DAYS "\\d{1,9}D"
#define MEMGATE_MONTHS "\\d{1,9}M(?:" MEMGATE_DAYS ")?"
#define MEMGATE_YEARS "\\d{1,9}Y(?:" MEMGATE_MONTHS ")?"
#define MEMGATE_SPAN_OF_DAYS "(?:" MEMGATE_YEARS "|" MEMGATE_MONTHS "|" MEMGATE_DAYS ")"
// RFC 1123, so that four of them with their points stay below 253 characters. Without "--" in the third
// place, which RFC 5890 reserves for names that decode to something ("xn--...").
#define MEMGATE_LETTER "[A-Za-z0-9]"
#define MEMGATE_INNER "[A-Za-z0-9-]"
#define MEMGATE_LABEL                                                                                      \
  "(?:" MEMGATE_LETTER "(?:" MEMGATE_INNER "?" MEMGATE_LETTER "|" MEMGATE_INNER                            \
  "(?:" MEMGATE_LETTER MEMGATE_INNER "{0,58}|-(?:" MEMGATE_LETTER MEMGATE_INNER "{0,57})?)" MEMGATE_LETTER \
  ")?)"
#define MEMGATE_BYTE "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
// RFC 3986
#define MEMGATE_URI_CHARACTER "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"

struct Format {
  std::string_view name, pattern;
};

constexpr Format kFormats[] = {
    {"date", "^" MEMGATE_DATE "$"},
    {"time", "^" MEMGATE_TIME "$"},
    {"date-time", "^" MEMGATE_DATE "T" MEMGATE_TIME "$"},
    {"duration",
     "^P(?:" MEMGATE_SPAN_OF_DAYS "(?:" MEMGATE_SPAN_OF_TIME ")?|" MEMGATE_SPAN_OF_TIME "|\\d{1,9}W)$"},
    {"uuid", "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    {"ipv4", "^" MEMGATE_BYTE "(?:\\." MEMGATE_BYTE "){3}$"},
    {"ipv6", "^[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){7}$"},
    {"hostname", "^" MEMGATE_LABEL "(?:\\." MEMGATE_LABEL "){0,3}$"},
    {"email",
     "^[A-Za-z0-9_%+-]{1,32}(?:\\.[A-Za-z0-9_%+-]{1,31})?@" MEMGATE_LABEL "(?:\\." MEMGATE_LABEL "){1,2}$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]*://" MEMGATE_LABEL "(?:\\." MEMGATE_LABEL "){0,3}(?::[1-9]\\d{0,3})?"
            "(?:/" MEMGATE_URI_CHARACTER "*)*(?:\\?(?:" MEMGATE_URI_CHARACTER "|[/?])*)?"
            "(?:#(?:" MEMGATE_URI_CHARACTER "|[/?])*)?$"},
};

#undef MEMGATE_DATE
#undef MEMGATE_TIME
#undef MEMGATE_SECONDS
#undef MEMGATE_MINUTES
#undef MEMGATE_HOURS
#undef MEMGATE_SPAN_OF_TIME
#undef MEMGATE_DAYS
#undef MEMGATE_MONTHS
#undef MEMGATE_YEARS
#undef MEMGATE_SPAN_OF_DAYS
#undef MEMGATE_LABEL
#undef MEMGATE_INNER
#undef MEMGATE_LETTER
#undef MEMGATE_BYTE
#undef MEMGATE_URI_CHARACTER

}  // namespace

std::string_view PatternOfFormat(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return {};
}

}  // namespace memgate
