// Counts, for answers that are to be ranked, the candidates of one block of entities that score
// better and those that score no worse, leaving out known answers; see count.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

using i64 = std::int64_t;
using u8 = std::uint8_t;

struct bf16 {
  std::uint16_t bits;
  explicit operator float() const {
    const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};

// The inner product in float64, always summed in the same order: equal vectors score the same.
double dot(const double* __restrict q, const float* __restrict x, i64 width) {
  constexpr i64 LANES = 32;
  double sum[LANES] = {};
  i64 j = 0;
  for (; j + LANES <= width; j += LANES)
#pragma omp simd
    for (i64 l = 0; l < LANES; ++l) sum[l] += q[j + l] * static_cast<double>(x[j + l]);
  for (i64 l = 0; j < width; ++j, ++l) sum[l] += q[j] * static_cast<double>(x[j]);
  for (i64 half = LANES / 2; half; half /= 2)
    for (i64 l = 0; l < half; ++l) sum[l] += sum[l + half];
  return sum[0];
}

struct Counts {
  i64 better = 0, not_worse = 0, candidates = 0, odd = 0;
};

// How one answer's score compares with others: above high is better, below low is worse. A first
// pass may be off by factor · norm (norm is null where scores are final).
template <class A>
struct Band {
  A low, high, factor;
  const A* norm;
  A room(i64 j) const { return norm ? factor * norm[j] : A(0); }
  bool above(A s, i64 j) const { return s > high + room(j); }
  bool below(A s, i64 j) const { return s < low - room(j); }
};

template <bool First, bool Masked, class T, class A>
Counts compare(const T* __restrict scores, i64 n, const Band<A> band,
               const u8* __restrict allowed) {
  constexpr A MOST = std::numeric_limits<A>::max();
  const A low = band.low, high = band.high, factor = band.factor;
  const A* __restrict norm = band.norm;
  int above = 0, below = 0, odd = 0, left = 0;
#pragma omp simd reduction(+ : above, below, odd, left)
  for (int j = 0; j < static_cast<int>(n); ++j) {
    const A s = static_cast<A>(scores[j]);
    const A room = First ? factor * norm[j] : A(0);
    const int use = Masked ? allowed[j] : 1;
    above += s > high + room ? use : 0;
    below += s < low - room ? use : 0;
    odd += std::fabs(s) <= MOST ? 0 : 1;
    left += use;
  }
  return {above, left - below, left, odd};
}

// The vectors that a first pass is settled with.
struct Vectors {
  i64 width;
  const float *queries, *candidates;
  const double *low, *high;
};

struct Scratch {
  std::vector<u8> open;
  std::vector<i64> columns;
  std::vector<double> query;
};

// One answer: its row of scores, its target and the known answers, as columns from `first` on.
template <class T, class A>
struct Item {
  const T* scores;
  i64 n, first, target;
  const i64 *known, *known_end;
  const u8* allowed;
  Band<A> band;

  bool here() const { return first <= target && target < first + n; }

  Counts count() const {
    Counts found = band.norm ? (allowed ? compare<true, true>(scores, n, band, allowed)
                                        : compare<true, false>(scores, n, band, allowed))
                             : (allowed ? compare<false, true>(scores, n, band, allowed)
                                        : compare<false, false>(scores, n, band, allowed));
    for (const i64* k = known; k < known_end; ++k) {
      const i64 j = *k - first;
      if (*k == target || (allowed && !allowed[j])) continue;
      const A s = static_cast<A>(scores[j]);
      found.better -= band.above(s, j);
      found.not_worse -= !band.below(s, j);
      --found.candidates;
    }
    // the target is a candidate whatever its type
    if (here() && allowed && !allowed[target - first]) ++found.not_worse, ++found.candidates;
    return found;
  }

  // Scores again, in float64, what the first pass left open: all where it was not finite.
  void settle(Counts& found, const Vectors& v, i64 row, i64 item, Scratch& scratch) const {
    const bool all = found.odd > 0;
    const i64 padded = (n + 7) / 8 * 8;
    scratch.open.assign(padded, 0);
    u8* __restrict open = scratch.open.data();
    const A low = band.low, high = band.high, factor = band.factor;
    const A* __restrict norm = band.norm;
    const T* __restrict s = scores;
#pragma omp simd
    for (int j = 0; j < static_cast<int>(n); ++j) {
      const A value = static_cast<A>(s[j]), room = factor * norm[j];
      open[j] = !(value > high + room) & !(value < low - room);
    }
    if (all) std::fill_n(open, n, u8(1));
    if (allowed)
      for (i64 j = 0; j < n; ++j) open[j] &= allowed[j];
    for (const i64* k = known; k < known_end; ++k) open[*k - first] = 0;
    if (here()) open[target - first] = 0;
    scratch.columns.clear();
    for (i64 j = 0; j < padded; j += 8) {
      std::uint64_t word;
      std::memcpy(&word, open + j, sizeof word);
      for (; word; word &= word - 1) scratch.columns.push_back(j + __builtin_ctzll(word) / 8);
    }
    scratch.query.assign(v.queries + row * v.width, v.queries + (row + 1) * v.width);
    found.odd = 0;
    if (all) found.better = 0;
    found.not_worse = found.better + here();
    const i64 count = scratch.columns.size();
    for (i64 c = 0; c < count; ++c) {
      const float* x = v.candidates + scratch.columns[c] * v.width;
      if (c + 1 < count) {
        const float* next = v.candidates + scratch.columns[c + 1] * v.width;
        for (i64 j = 0; j < v.width; j += 16) __builtin_prefetch(next + j);
      }
      const double score = dot(scratch.query.data(), x, v.width);
      found.better += score > v.high[item];
      found.not_worse += score >= v.low[item];
      found.odd += !std::isfinite(score);
    }
  }
};

template <class T, class A>
void count_items(i64 items, i64 n, i64 first, const T* scores, const i64* row, const i64* target,
                 const i64* start, const i64* stop, const i64* known, const A* low, const A* high,
                 const u8* allowed, const A* factor, const A* norm, const Vectors* vectors,
                 i64* out) {
#pragma omp parallel
  {
    Scratch scratch;
#pragma omp for schedule(dynamic, 16)
    for (i64 i = 0; i < items; ++i) {
      const i64* end = known + stop[i];
      const i64* from = std::lower_bound(known + start[i], end, first);
      const i64* to = std::lower_bound(from, end, first + n);
      const Band<A> band{low[i], high[i], factor ? factor[i] : A(0), norm};
      const Item<T, A> item{scores + row[i] * n, n,    first, target[i], from, to,
                            allowed ? allowed + row[i] * n : nullptr, band};
      Counts found = item.count();
      if (vectors && (found.odd || found.not_worse > found.better))
        item.settle(found, *vectors, row[i], i, scratch);
      out[i] = found.better;
      out[items + i] = found.not_worse;
      out[2 * items + i] = found.candidates;
      out[3 * items + i] = found.odd;
    }
  }
}

}  // namespace

#define FINAL(NAME, T) \
  void count_##NAME(i64 items, i64 n, i64 first, const T* scores, const i64* row, \
                    const i64* target, const i64* start, const i64* stop, const i64* known, \
                    const T* low, const T* high, const u8* allowed, i64* out) { \
    count_items<T, T>(items, n, first, scores, row, target, start, stop, known, low, high, \
                      allowed, nullptr, nullptr, nullptr, out); \
  }

#define FIRST(NAME, T) \
  void count_first_##NAME(i64 items, i64 n, i64 first, const T* scores, const i64* row, \
                          const i64* target, const i64* start, const i64* stop, \
                          const i64* known, const float* low, const float* high, \
                          const u8* allowed, i64* out, const float* factor, const float* norm, \
                          i64 width, const float* queries, const float* candidates, \
                          const double* final_low, const double* final_high) { \
    const Vectors vectors{width, queries, candidates, final_low, final_high}; \
    count_items<T, float>(items, n, first, scores, row, target, start, stop, known, low, high, \
                          allowed, factor, norm, &vectors, out); \
  }

extern "C" {
FINAL(float32, float)
FINAL(float64, double)
FIRST(float32, float)
FIRST(bfloat16, bf16)

void dots(i64 items, i64 width, const float* queries, const float* candidates, const i64* row,
          const i64* column, double* out) {
#pragma omp parallel
  {
    std::vector<double> query(width);
#pragma omp for schedule(static)
    for (i64 i = 0; i < items; ++i) {
      query.assign(queries + row[i] * width, queries + (row[i] + 1) * width);
      out[i] = dot(query.data(), candidates + column[i] * width, width);
    }
  }
}
}
