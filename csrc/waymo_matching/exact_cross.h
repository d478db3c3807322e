// Cross products whose sign is right even where rounding hides it.
#pragma once

#include <cmath>

namespace bevkd::waymo {

struct Vec {
  double x, y;

  friend Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y}; }
  friend Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y}; }
  friend Vec operator*(Vec a, double s) { return {a.x * s, a.y * s}; }
  friend bool operator==(Vec a, Vec b) { return a.x == b.x && a.y == b.y; }
};

// A sum of doubles without rounding, as parts that do not overlap, smallest first (Shewchuk 1997, "Adaptive precision
// floating-point arithmetic and fast robust geometric predicates": two-sum, grow-expansion).
class ExactSum {
 public:
  void add_product(double a, double b) {
    const double product = a * b;
    add(std::fma(a, b, -product));
    add(product);
  }

  // Correctly signed, within a rounding of the sum.
  double value() const {
    double sum = 0;
    for (int i = 0; i < size_; ++i) sum += parts_[i];
    return sum;
  }

 private:
  void add(double carry) {
    int kept = 0;
    for (int i = 0; i < size_; ++i) {
      const double sum = carry + parts_[i], virtual_part = sum - carry;
      const double lost = (carry - (sum - virtual_part)) + (parts_[i] - virtual_part);
      if (lost != 0) parts_[kept++] = lost;
      carry = sum;
    }
    if (carry != 0) parts_[kept++] = carry;
    size_ = kept;
  }

  double parts_[16];  // one a term: eight products of two doubles each
  int size_ = 0;
};

// Below this a rounded cross product may have the wrong sign; above it no one looks again.
constexpr double kDoubtful = 0x1p-50;

// (b - a) x (d - c)
inline double cross(Vec a, Vec b, Vec c, Vec d) {
  const Vec u = b - a, v = d - c;
  return u.x * v.y - u.y * v.x;
}

// The same, summed exactly where its size is doubtful.
inline double signed_cross(Vec a, Vec b, Vec c, Vec d) {
  if (a == b || c == d) return 0;
  const double rounded = cross(a, b, c, d);
  if (std::fabs(rounded) > kDoubtful) return rounded;
  ExactSum sum;
  sum.add_product(b.x, d.y);
  sum.add_product(-a.x, d.y);
  sum.add_product(-b.x, c.y);
  sum.add_product(a.x, c.y);
  sum.add_product(-b.y, d.x);
  sum.add_product(a.y, d.x);
  sum.add_product(b.y, c.x);
  sum.add_product(-a.y, c.x);
  return sum.value();
}

}  // namespace bevkd::waymo
