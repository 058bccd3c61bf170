#include "engine/structured/json_numbers.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "engine/base/strings.h"

namespace memgate {
namespace {

using Expression = TextLanguages::Expression;

constexpr int64_t kMaxPlaces = 40;
constexpr int64_t kMaxWholeDigits = 18;  // of integers: fits 64 bits
constexpr int64_t kMaxDigits = 15;       // of others: a double tells them apart
constexpr int64_t kUsualWholeDigits = 9;
// Multiples take a state for each remainder that matters and each place. Where those are many, the numbers
// are shorter, unless bounds ask for longer ones.
constexpr int64_t kManyRemainders = 100;
constexpr int64_t kDigitsOfLargeMultiples = 8;

enum class Side { kAtLeast, kAtMost };

// The texts of numbers without sign, of at most `whole` digits before and `fraction` digits behind the point.
class Magnitudes {
 public:
  Magnitudes(TextLanguages& languages, int64_t whole, int64_t fraction)
      : l_(languages), whole_digits_(whole), fraction_digits_(fraction) {}

  Expression All() { return l_.Join(AllWhole(), AnyFraction()); }

  // Those on one side of `bound`, which is included unless `strict`.
  Expression Beyond(Side side, const Decimal& bound, bool strict) {
    const Expression clear = side == Side::kAtLeast ? WholeAbove(bound.whole) : WholeBelow(bound.whole);
    const Expression close = side == Side::kAtLeast ? FractionAtLeast(bound.fraction, strict)
                                                    : FractionAtMost(bound.fraction, strict);
    return l_.Both(All(), l_.Either(l_.Join(clear, AnyFraction()), l_.Join(l_.Literal(bound.whole), close)));
  }

 private:
  Expression Digit(char first, char last) {
    if (first > last) return l_.Nothing();
    return l_.Character(CodePointSet({{static_cast<char32_t>(first), static_cast<char32_t>(last)}}));
  }
  Expression Digits(int64_t min, int64_t max) { return l_.Repeat(Digit('0', '9'), min, max); }
  // Some digits, not all of them zero.
  Expression NotZero() {
    return l_.Join(l_.Repeat(Digit('0', '0'), 0, -1), l_.Join(Digit('1', '9'), Digits(0, -1)));
  }
  Expression Pointed(Expression digits) { return l_.Join(l_.Literal("."), digits); }

  Expression AllWhole() {
    return l_.Either(Digit('0', '0'), l_.Join(Digit('1', '9'), Digits(0, whole_digits_ - 1)));
  }
  Expression AnyFraction() {
    if (fraction_digits_ == 0) return l_.Empty();
    return l_.Either(l_.Empty(), Pointed(Digits(1, fraction_digits_)));
  }

  // Whole numbers above (below) the one with the digits `bound`: those with more (fewer) digits, and for each
  // place those that agree up to it and have a larger (smaller) digit there.
  Expression WholeAbove(std::string_view bound) {
    const int64_t length = static_cast<int64_t>(bound.size());
    Expression above = l_.Nothing();
    if (length < whole_digits_) above = l_.Join(Digit('1', '9'), Digits(length, whole_digits_ - 1));
    for (int64_t i = 0; i < length; ++i) {
      const Expression rest =
          l_.Join(Digit(static_cast<char>(bound[i] + 1), '9'), Digits(length - i - 1, length - i - 1));
      above = l_.Either(above, l_.Join(l_.Literal(bound.substr(0, i)), rest));
    }
    return above;
  }
  Expression WholeBelow(std::string_view bound) {
    const int64_t length = static_cast<int64_t>(bound.size());
    Expression below = l_.Nothing();
    if (length > 1) below = l_.Either(Digit('0', '0'), l_.Join(Digit('1', '9'), Digits(0, length - 2)));
    for (int64_t i = 0; i < length; ++i) {
      const char least = i == 0 && length > 1 ? '1' : '0';
      const Expression rest =
          l_.Join(Digit(least, static_cast<char>(bound[i] - 1)), Digits(length - i - 1, length - i - 1));
      below = l_.Either(below, l_.Join(l_.Literal(bound.substr(0, i)), rest));
    }
    return below;
  }

  // The point and what follows it, or nothing, for numbers whose whole part is that of the bound.
  Expression FractionAtLeast(std::string_view bound, bool strict) {
    if (bound.empty()) return strict ? Pointed(NotZero()) : AnyFraction();
    Expression digits = l_.Join(l_.Literal(bound), strict ? NotZero() : Digits(0, -1));
    for (size_t i = 0; i < bound.size(); ++i) {
      const Expression rest = l_.Join(Digit(static_cast<char>(bound[i] + 1), '9'), Digits(0, -1));
      digits = l_.Either(digits, l_.Join(l_.Literal(bound.substr(0, i)), rest));
    }
    return Pointed(digits);
  }
  Expression FractionAtMost(std::string_view bound, bool strict) {
    const Expression zeros = l_.Repeat(Digit('0', '0'), 0, -1);
    if (bound.empty()) {
      if (strict) return l_.Nothing();
      return l_.Either(l_.Empty(), Pointed(l_.Join(Digit('0', '0'), zeros)));
    }
    Expression digits = strict ? l_.Nothing() : l_.Join(l_.Literal(bound), zeros);
    for (size_t i = 0; i < bound.size(); ++i) {
      // Ends here, or goes on with a smaller digit. A bound does not end in 0, so what ends early is below
      // it.
      Expression rest = l_.Join(Digit('0', static_cast<char>(bound[i] - 1)), Digits(0, -1));
      if (i > 0) rest = l_.Either(rest, l_.Empty());
      digits = l_.Either(digits, l_.Join(l_.Literal(bound.substr(0, i)), rest));
    }
    return l_.Either(l_.Empty(), Pointed(digits));
  }

  TextLanguages& l_;
  const int64_t whole_digits_;
  const int64_t fraction_digits_;
};

int CompareMagnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order < 0 ? -1 : 1;
  const int order = a.fraction.compare(b.fraction);  // digit by digit; what ends first is less
  return order == 0 ? 0 : (order < 0 ? -1 : 1);
}

// value >= bound, or value <= bound.
Expression Beyond(Side side, const NumberBounds::Bound& bound, TextLanguages& l, Magnitudes& magnitudes) {
  const Expression minus = l.Literal("-");
  const bool at_least = side == Side::kAtLeast;
  const Decimal& value = bound.value;
  // Numbers with the sign that all within reach have, and those near the bound.
  if (value.negative != at_least) {  // a lower bound of at least 0, or an upper bound below 0
    const Expression near = magnitudes.Beyond(Side::kAtLeast, value, bound.exclusive);
    return value.negative ? l.Join(minus, near) : near;
  }
  const Expression near = magnitudes.Beyond(Side::kAtMost, value, bound.exclusive);
  if (at_least) return l.Either(magnitudes.All(), l.Join(minus, near));
  // Below 0 strictly, -0 is not.
  const Expression negative =
      value.is_zero() && bound.exclusive ? magnitudes.Beyond(Side::kAtLeast, value, true) : magnitudes.All();
  return l.Either(near, l.Join(minus, negative));
}

// How many digits numbers within the bounds are written with, before the point.
int64_t WholeDigitsOf(const NumberBounds& bounds, TextLanguages& languages) {
  int64_t of_bounds = 0;
  for (const auto& bound : {bounds.lower, bounds.upper}) {
    if (bound) of_bounds = std::max(of_bounds, static_cast<int64_t>(bound->value.whole.size()));
  }
  if (!bounds.whole) return std::min(std::max(kUsualWholeDigits, of_bounds), kMaxDigits);
  if (!bounds.multiple_of || languages.ResidueCount(*bounds.multiple_of) <= kManyRemainders) {
    return kMaxWholeDigits;
  }
  // One more than a bound has, as what lies beyond it may need it.
  const int64_t needed =
      bounds.lower && bounds.upper ? of_bounds : std::max(kDigitsOfLargeMultiples, of_bounds + 1);
  return std::min(needed, kMaxWholeDigits);
}

}  // namespace

int Decimal::Compare(const Decimal& other) const {
  if (is_zero() && other.is_zero()) return 0;
  if (negative != other.negative) return negative ? -1 : 1;
  return negative ? -CompareMagnitudes(*this, other) : CompareMagnitudes(*this, other);
}

absl::StatusOr<Decimal> ParseDecimal(std::string_view text) {
  Decimal decimal;
  if (text.starts_with('-')) {
    decimal.negative = true;
    text.remove_prefix(1);
  }
  int64_t exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != text.npos) {
    std::string_view digits = text.substr(e + 1);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    if (!absl::SimpleAtoi(ToAbsl(digits), &exponent)) exponent = kMaxPlaces + 1;
    text = text.substr(0, e);
  }
  std::string whole(text.substr(0, text.find('.')));
  std::string fraction(text.find('.') == text.npos ? "" : text.substr(text.find('.') + 1));
  if (std::abs(exponent) > kMaxPlaces)
    return absl::InvalidArgumentError("the number is too large or too small");
  for (; exponent > 0; --exponent) {
    whole += fraction.empty() ? '0' : fraction.front();
    if (!fraction.empty()) fraction.erase(0, 1);
  }
  for (; exponent < 0; ++exponent) {
    fraction.insert(fraction.begin(), whole.empty() ? '0' : whole.back());
    if (!whole.empty()) whole.pop_back();
  }
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (static_cast<int64_t>(std::max(whole.size(), fraction.size())) > kMaxPlaces) {
    return absl::InvalidArgumentError("the number is too large or too small");
  }
  decimal.whole = whole.empty() ? "0" : whole;
  decimal.fraction = fraction;
  if (decimal.is_zero()) decimal.negative = false;
  return decimal;
}

bool NumberBounds::Contains(const Decimal& value) const {
  if (whole && !value.fraction.empty()) return false;
  if (lower && value.Compare(lower->value) < (lower->exclusive ? 1 : 0)) return false;
  if (upper && value.Compare(upper->value) > (upper->exclusive ? -1 : 0)) return false;
  if (!multiple_of) return true;
  int64_t remainder = value.fraction.empty() ? 0 : 1;
  if (value.fraction.empty()) {
    for (const char digit : value.whole) remainder = (10 * remainder + (digit - '0')) % *multiple_of;
  }
  return remainder == 0;
}

void NumberBounds::RaiseLower(const Bound& bound) {
  const int order = lower ? bound.value.Compare(lower->value) : 1;
  if (order > 0) lower = bound;
  if (order == 0) lower->exclusive = lower->exclusive || bound.exclusive;
}

void NumberBounds::LowerUpper(const Bound& bound) {
  const int order = upper ? bound.value.Compare(upper->value) : -1;
  if (order < 0) upper = bound;
  if (order == 0) upper->exclusive = upper->exclusive || bound.exclusive;
}

TextLanguages::Expression NumbersWithin(const NumberBounds& bounds, TextLanguages& languages) {
  const int64_t whole_digits = WholeDigitsOf(bounds, languages);
  Magnitudes magnitudes(languages, whole_digits, bounds.whole ? 0 : kMaxDigits - whole_digits);
  const Expression sign = languages.Repeat(languages.Literal("-"), 0, 1);
  Expression numbers = languages.Join(sign, magnitudes.All());
  if (bounds.lower)
    numbers = languages.Both(numbers, Beyond(Side::kAtLeast, *bounds.lower, languages, magnitudes));
  if (bounds.upper)
    numbers = languages.Both(numbers, Beyond(Side::kAtMost, *bounds.upper, languages, magnitudes));
  if (bounds.multiple_of) {
    const Expression multiples = languages.MultipleOf(*bounds.multiple_of, whole_digits);
    numbers = languages.Both(numbers, languages.Join(sign, multiples));
  }
  return numbers;
}

}  // namespace memgate
