// The numbers of JSON between two bounds, as texts.
#ifndef MEMGATE_ENGINE_STRUCTURED_JSON_NUMBERS_H_
#define MEMGATE_ENGINE_STRUCTURED_JSON_NUMBERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/structured/text_language.h"

namespace memgate {

// A decimal number, exactly.
struct Decimal {
  bool negative = false;
  std::string whole = "0";  // digits without leading zeros
  std::string fraction;     // digits without trailing zeros

  bool is_zero() const { return whole == "0" && fraction.empty(); }
  // -1, 0 or 1.
  int Compare(const Decimal& other) const;
};

// Reads a number as JSON writes it. INVALID_ARGUMENT if its digits reach further than 40 places from the
// point.
absl::StatusOr<Decimal> ParseDecimal(std::string_view text);

struct NumberBounds {
  struct Bound {
    Decimal value;
    bool exclusive = false;
  };
  std::optional<Bound> lower, upper;
  bool whole = false;                  // integers only
  std::optional<int32_t> multiple_of;  // whole only

  bool Contains(const Decimal& value) const;
  // Tightens to what both allow.
  void RaiseLower(const Bound& bound);
  void LowerUpper(const Bound& bound);
};

// The texts of the numbers within `bounds` that are written without an exponent: whole ones with at most 18
// digits, but multiples of a number of which more than 100 remainders matter with at most 8, or as many as
// the bounds ask for; others with at most 15 digits, of which at least 9, and as many as the bounds have,
// stand before the point. A double tells numbers of so few digits apart, so whoever reads them finds them
// within the bounds.
TextLanguages::Expression NumbersWithin(const NumberBounds& bounds, TextLanguages& languages);

}  // namespace memgate

#endif  // MEMGATE_ENGINE_STRUCTURED_JSON_NUMBERS_H_
