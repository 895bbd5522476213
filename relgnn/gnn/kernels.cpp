// Sums over the edges of a compressed sparse pattern; see kernels.py for what each computes.
//
// Rows are shared out in ranges of about equal numbers of entries. Every output row is summed by
// one thread in the order of its entries, so results do not depend on the number of threads.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

using i32 = int32_t;
using i64 = int64_t;

namespace {

struct bf16 {
  uint16_t bits;
  operator float() const {
    uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};

// The nearest number of the other type, the even one of two.
inline void narrow(float value, float* out) { *out = value; }
inline void narrow(double value, double* out) { *out = value; }
inline void narrow(float value, bf16* out) {
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  const bool nan = (wide & 0x7fffffff) > 0x7f800000;
  const uint32_t near = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
  out->bits = static_cast<uint16_t>(nan ? (wide >> 16) | 0x40 : near);
}

constexpr i64 AHEAD = 4;    // entries whose rows are fetched early
constexpr i64 FAR = 16;     // the same for single numbers, which cost less to fetch
constexpr i64 LINE = 64;    // bytes of a cache line
constexpr i64 RANGES = 64;  // of rows, taken by threads as they come
constexpr i64 PIECE = 128;  // rows of one relation that a thread multiplies at once
constexpr i64 PARTS = 16;   // of a sum over all edges at most; fixed, so that rounding is

// First row of range p of n, such that ranges hold about equally many entries.
inline i64 range_start(const i32* pointer, i64 rows, i64 p, i64 n) {
  if (p == n) return rows;
  const i64 entry = pointer[0] + static_cast<i64>(pointer[rows] - pointer[0]) * p / n;
  return std::lower_bound(pointer, pointer + rows, entry) - pointer;
}

// body(p, i, begin, end) for every row i with its entries; p is the row's range of `ranges`.
template <class Body>
inline void each_row(const i32* pointer, i64 rows, i64 ranges, Body body) {
#pragma omp parallel for schedule(dynamic, 1)
  for (i64 p = 0; p < ranges; ++p) {
    const i64 stop = range_start(pointer, rows, p + 1, ranges);
    for (i64 i = range_start(pointer, rows, p, ranges); i < stop; ++i)
      body(p, i, static_cast<i64>(pointer[i]), static_cast<i64>(pointer[i + 1]));
  }
}

template <class T>
inline void fetch(const T* row, i64 width) {
  const char* at = reinterpret_cast<const char*>(row);
  for (i64 byte = 0; byte < width * static_cast<i64>(sizeof(T)); byte += LINE)
    __builtin_prefetch(at + byte);
}

// Columns [first, first + W) of one output row, for B coefficients of each entry at once.
template <class T, class A, class O, int B, int W>
inline void sum_tile(i64 begin, i64 end, const i32* index, const i64* order, const A* coefficient,
                     i64 entries, const T* features, i64 width, i64 first, bool add, O* out) {
  A sum[B][W];
  for (int b = 0; b < B; ++b)
    for (int j = 0; j < W; ++j) sum[b][j] = add ? static_cast<A>(out[b * width + first + j]) : 0;
  for (i64 k = begin; k < end; ++k) {
    const T* __restrict row = features + static_cast<i64>(index[k]) * width + first;
    if (k + AHEAD < end) fetch(features + static_cast<i64>(index[k + AHEAD]) * width + first, W);
    const i64 e = order ? order[k] : k;
    for (int b = 0; b < B; ++b) {
      const A c = coefficient[b * entries + e];
#pragma omp simd
      for (int j = 0; j < W; ++j) sum[b][j] += c * static_cast<A>(row[j]);
    }
  }
  for (int b = 0; b < B; ++b)
#pragma omp simd
    for (int j = 0; j < W; ++j) narrow(sum[b][j], out + b * width + first + j);
}

// out[i, b, :] = Σ_k coefficient[b, order[k]] · features[index[k], :], plus out itself on `add`
template <class T, class A, class O, int B>
void sum_rows(i64 rows, i64 width, const i32* pointer, const i32* index, const i64* order,
              const A* coefficient, i64 entries, const T* features, bool add, O* out, i64 stride) {
  each_row(pointer, rows, RANGES, [=](i64, i64 i, i64 begin, i64 end) {
    if (add && begin == end) return;
    O* row = out + i * stride;
    i64 j = 0;
#define TILE(W) \
  for (; j + W <= width; j += W) \
    sum_tile<T, A, O, B, W>(begin, end, index, order, coefficient, entries, features, width, j, add, row)
    TILE(64);
    TILE(32);
    TILE(16);
    TILE(8);
    TILE(1);
#undef TILE
  });
}

template <class T, class A, class O>
void sum_all(i64 rows, i64 width, i64 bases, const i32* pointer, const i32* index,
             const i64* order, const A* coefficient, i64 entries, const T* features, bool add,
             O* out) {
  const i64 stride = bases * width;
  i64 b = 0;
#define BASES(B) \
  for (; b + B <= bases; b += B) \
    sum_rows<T, A, O, B>(rows, width, pointer, index, order, coefficient + b * entries, entries, \
                      features, add, out + b * width, stride)
  BASES(4);
  BASES(2);
  BASES(1);
#undef BASES
}

// The gradients of sum_all, on the transposed pattern, from grad [rows, B, width], the first of
// them added to what is there on `add`:
// to_features[i, :] = Σ_k Σ_b coefficient[b, order[k]] · grad[index[k], b, :]
// to_coefficient[b, order[k]] = ⟨grad[index[k], b, :], features[i, :]⟩
template <class T, class A, class O>
void sum_back(i64 rows, i64 width, i64 bases, const i32* pointer, const i32* index,
              const i64* order, const A* coefficient, i64 entries, const O* grad,
              const T* features, bool add, A* to_features, A* to_coefficient) {
  each_row(pointer, rows, RANGES, [=](i64, i64 i, i64 begin, i64 end) {
    static thread_local std::vector<A> own;
    if (add && begin == end) return;
    own.assign(features + i * width, features + (i + 1) * width);
    A* __restrict sum = to_features + i * width;
    const A* __restrict here = own.data();
    if (!add) std::fill(sum, sum + width, A(0));
    for (i64 k = begin; k < end; ++k) {
      const O* row = grad + static_cast<i64>(index[k]) * bases * width;
      if (k + 2 < entries)
        fetch(grad + static_cast<i64>(index[k + 2]) * bases * width, bases * width);
      if (k + FAR < entries)
        for (i64 b = 0; b < bases; ++b) {
          __builtin_prefetch(coefficient + b * entries + order[k + FAR]);
          __builtin_prefetch(to_coefficient + b * entries + order[k + FAR], 1);
        }
      const i64 e = order[k];
      for (i64 b = 0; b < bases; ++b) {
        const O* __restrict g = row + b * width;
        const A c = coefficient[b * entries + e];
        A dot = 0;
#pragma omp simd reduction(+ : dot)
        for (i64 j = 0; j < width; ++j) {
          const A value = g[j];
          sum[j] += c * value;
          dot += value * here[j];
        }
        to_coefficient[b * entries + e] = dot;
      }
    }
  });
}

// One message c · l ∘ r of real vectors, or of complex ones as [2, width]: real, then imaginary.
template <class A, bool Complex>
struct Product {
  // sum += c · l ∘ r
  static inline void add(A* __restrict sum, A c, const A* __restrict l, const A* __restrict r,
                         i64 width) {
    if (!Complex) {
#pragma omp simd
      for (i64 j = 0; j < width; ++j) sum[j] += c * l[j] * r[j];
      return;
    }
    const A *li = l + width, *ri = r + width;
    A* si = sum + width;
#pragma omp simd
    for (i64 j = 0; j < width; ++j) {
      sum[j] += c * (l[j] * r[j] - li[j] * ri[j]);
      si[j] += c * (l[j] * ri[j] + li[j] * r[j]);
    }
  }

  // to_l += c · g ∘ conj(r), to_r += c · g ∘ conj(l), returns Re⟨g, l ∘ r⟩
  static inline A back(A* __restrict to_l, A* __restrict to_r, A c, const A* __restrict g,
                       const A* __restrict l, const A* __restrict r, i64 width) {
    A dot = 0;
    if (!Complex) {
#pragma omp simd reduction(+ : dot)
      for (i64 j = 0; j < width; ++j) {
        const A m = g[j] * r[j];
        dot += m * l[j];
        to_l[j] += c * m;
        to_r[j] += c * g[j] * l[j];
      }
      return dot;
    }
    const A *gi = g + width, *li = l + width, *ri = r + width;
    A *ti = to_l + width, *ui = to_r + width;
#pragma omp simd reduction(+ : dot)
    for (i64 j = 0; j < width; ++j) {
      const A real = g[j] * r[j] + gi[j] * ri[j], imaginary = gi[j] * r[j] - g[j] * ri[j];
      dot += real * l[j] + imaginary * li[j];
      to_l[j] += c * real;
      ti[j] += c * imaginary;
      to_r[j] += c * (g[j] * l[j] + gi[j] * li[j]);
      ui[j] += c * (gi[j] * l[j] - g[j] * li[j]);
    }
    return dot;
  }
};

// out[i, :] = Σ_k coefficient[e] · left[index[k], :] ∘ right[other[e], :],  e = order[k]
template <class A, bool Complex>
void product_sum(i64 rows, i64 width, const i32* pointer, const i32* index, const i64* order,
                 const i64* other, const A* coefficient, const A* left, const A* right, A* out) {
  const i64 step = Complex ? 2 * width : width;
  each_row(pointer, rows, RANGES, [=](i64, i64 i, i64 begin, i64 end) {
    A* sum = out + i * step;
    std::fill(sum, sum + step, A(0));
    for (i64 k = begin; k < end; ++k) {
      if (k + AHEAD < end) fetch(left + static_cast<i64>(index[k + AHEAD]) * step, step);
      const i64 e = order ? order[k] : k;
      Product<A, Complex>::add(sum, coefficient[e], left + static_cast<i64>(index[k]) * step,
                               right + other[e] * step, width);
    }
  });
}

// The gradients of product_sum, on the transposed pattern (rows of `left`), from grad.
template <class A, bool Complex>
void product_back(i64 rows, i64 width, i64 relations, const i32* pointer, const i32* index,
                  const i64* order, const i64* other, const A* coefficient, const A* grad,
                  const A* left, const A* right, A* to_left, A* to_right, A* to_coefficient) {
  const i64 step = Complex ? 2 * width : width, size = relations * step, entries = pointer[rows];
  // where a row of `right` has few entries, clearing and adding parts would take the longest
  const i64 count = std::clamp<i64>(entries / std::max<i64>(relations, 1), 2, PARTS);
  std::vector<A> parts(count * size, A(0));
  A* part = parts.data();
  each_row(pointer, rows, count, [=](i64 p, i64 i, i64 begin, i64 end) {
    A* sum = to_left + i * step;
    std::fill(sum, sum + step, A(0));
    for (i64 k = begin; k < end; ++k) {
      if (k + AHEAD < entries) fetch(grad + static_cast<i64>(index[k + AHEAD]) * step, step);
      if (k + FAR < entries) {
        __builtin_prefetch(coefficient + order[k + FAR]);
        __builtin_prefetch(other + order[k + FAR]);
        __builtin_prefetch(to_coefficient + order[k + FAR], 1);
      }
      const i64 e = order[k];
      to_coefficient[e] = Product<A, Complex>::back(
          sum, part + p * size + other[e] * step, coefficient[e],
          grad + static_cast<i64>(index[k]) * step, left + i * step, right + other[e] * step, width);
    }
  });
#pragma omp parallel for
  for (i64 j = 0; j < size; ++j) {
    A sum = 0;
    for (i64 p = 0; p < count; ++p) sum += part[p * size + j];
    to_right[j] = sum;
  }
}

// R rows of in [·, k] times q [k, l], columns [j, j + W) of l.
template <class A, int R, int W>
inline void block_tile(const A* in, i64 in_step, const A* q, i64 k, i64 l, A* out, i64 out_step) {
  A sum[R][W];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < W; ++j) sum[r][j] = 0;
  for (i64 i = 0; i < k; ++i) {
    const A* __restrict row = q + i * l;
    for (int r = 0; r < R; ++r) {
      const A a = in[r * in_step + i];
#pragma omp simd
      for (int j = 0; j < W; ++j) sum[r][j] += a * row[j];
    }
  }
  for (int r = 0; r < R; ++r) std::memcpy(out + r * out_step, sum[r], W * sizeof(A));
}

template <class A, int R>
inline void block_rows(const A* in, const A* q, i64 blocks, i64 k, i64 l, A* out) {
  for (i64 b = 0; b < blocks; ++b, in += k, q += k * l, out += l) {
    i64 j = 0;
#define TILE(W) \
  for (; j + W <= l; j += W) block_tile<A, R, W>(in, blocks * k, q + j, k, l, out + j, blocks * l)
    TILE(16);
    TILE(8);
    TILE(1);
#undef TILE
  }
}

// out[g, b, :] = in[g, b, :] · q[relation[s], b] for the rows g of span s, [start[s], start[s + 1])
template <class A>
void block_product(i64 spans, i64 blocks, i64 k, i64 l, const i64* start, const i64* relation,
                   const A* in, const A* q, A* out) {
  std::vector<std::pair<i64, i64>> pieces;  // span and first row: a span may be most of the rows
  for (i64 s = 0; s < spans; ++s)
    for (i64 g = start[s]; g < start[s + 1]; g += PIECE) pieces.emplace_back(s, g);
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t p = 0; p < pieces.size(); ++p) {
    auto [s, g] = pieces[p];
    const i64 stop = std::min(g + PIECE, start[s + 1]);
    const A* weights = q + relation[s] * blocks * k * l;
#define ROWS(R) \
  for (; g + R <= stop; g += R) \
    block_rows<A, R>(in + g * blocks * k, weights, blocks, k, l, out + g * blocks * l)
    ROWS(8);
    ROWS(1);
#undef ROWS
  }
}

// to_q[relation[s], b] += Σ over the rows g of span s of in[g, b, :]^T · grad[g, b, :]
template <class A>
void block_gradient(i64 spans, i64 blocks, i64 k, i64 l, const i64* start, const i64* relation,
                    const A* in, const A* grad, A* to_q) {
  constexpr i64 I = 8, J = 16;
  const i64 tiles = (k + I - 1) / I;
#pragma omp parallel for collapse(3) schedule(dynamic, 1)
  for (i64 s = 0; s < spans; ++s)
    for (i64 b = 0; b < blocks; ++b)
      for (i64 tile = 0; tile < tiles; ++tile) {
        const i64 i = tile * I, rows = std::min(I, k - i);
        A* out = to_q + ((relation[s] * blocks + b) * k + i) * l;
        // a piece of the rows at a time, so that they are in the cache for every column
        for (i64 first = start[s]; first < start[s + 1]; first += PIECE) {
          const i64 stop = std::min(first + PIECE, start[s + 1]);
          for (i64 j = 0; j < l; j += J) {
            const i64 columns = std::min(J, l - j);
            A sum[I][J] = {};
            for (i64 g = first; g < stop; ++g) {
              const A* __restrict left = in + (g * blocks + b) * k + i;
              const A* __restrict right = grad + (g * blocks + b) * l + j;
              if (rows == I && columns == J) {
                for (int x = 0; x < I; ++x)
#pragma omp simd
                  for (int y = 0; y < J; ++y) sum[x][y] += left[x] * right[y];
              } else if (rows == I && columns == J / 2) {
                for (int x = 0; x < I; ++x)
#pragma omp simd
                  for (int y = 0; y < J / 2; ++y) sum[x][y] += left[x] * right[y];
              } else {
                for (i64 x = 0; x < rows; ++x)
                  for (i64 y = 0; y < columns; ++y) sum[x][y] += left[x] * right[y];
              }
            }
            for (i64 x = 0; x < rows; ++x)
              for (i64 y = 0; y < columns; ++y) out[x * l + j + y] += sum[x][y];
          }
        }
      }
}

// out[h, k] = exp(score[h, k]) / Σ over the entries of k's row; entries are in row order.
template <class A>
void softmax_rows(i64 rows, i64 heads, i64 entries, const i32* pointer, const A* score, A* out) {
  for (i64 h = 0; h < heads; ++h) {
    const A* s = score + h * entries;
    A* o = out + h * entries;
    each_row(pointer, rows, RANGES, [=](i64, i64, i64 begin, i64 end) {
      A most = -std::numeric_limits<A>::infinity(), total = 0;
      for (i64 k = begin; k < end; ++k) most = std::max(most, s[k]);
      if (most == -std::numeric_limits<A>::infinity()) most = 0;  // every edge was removed
      for (i64 k = begin; k < end; ++k) total += o[k] = std::exp(s[k] - most);
      for (i64 k = begin; k < end; ++k) o[k] /= total > 0 ? total : 1;
    });
  }
}

}  // namespace

// T of features, A of coefficients and sums, O of what is written and of its gradient
#define EXPORT(NAME, T, A, O) \
  void sum_##NAME(i64 rows, i64 width, i64 bases, const i32* pointer, const i32* index, \
                  const i64* order, const A* coefficient, i64 entries, const T* features, \
                  bool add, O* out) { \
    sum_all<T, A, O>(rows, width, bases, pointer, index, order, coefficient, entries, features, \
                     add, out); \
  } \
  void sum_back_##NAME(i64 rows, i64 width, i64 bases, const i32* pointer, const i32* index, \
                       const i64* order, const A* coefficient, i64 entries, const O* grad, \
                       const T* features, bool add, A* to_features, A* to_coefficient) { \
    sum_back<T, A, O>(rows, width, bases, pointer, index, order, coefficient, entries, grad, \
                      features, add, to_features, to_coefficient); \
  }

#define EXPORT_PRODUCT(NAME, A, COMPLEX) \
  void product_##NAME(i64 rows, i64 width, const i32* pointer, const i32* index, \
                      const i64* order, const i64* other, const A* coefficient, const A* left, \
                      const A* right, A* out) { \
    product_sum<A, COMPLEX>(rows, width, pointer, index, order, other, coefficient, left, right, \
                            out); \
  } \
  void product_back_##NAME(i64 rows, i64 width, i64 relations, const i32* pointer, \
                           const i32* index, const i64* order, const i64* other, \
                           const A* coefficient, const A* grad, const A* left, const A* right, \
                           A* to_left, A* to_right, A* to_coefficient) { \
    product_back<A, COMPLEX>(rows, width, relations, pointer, index, order, other, coefficient, \
                             grad, left, right, to_left, to_right, to_coefficient); \
  }

#define EXPORT_BLOCKS(NAME, A) \
  void block_product_##NAME(i64 spans, i64 blocks, i64 k, i64 l, const i64* start, \
                            const i64* relation, const A* in, const A* q, A* out) { \
    block_product<A>(spans, blocks, k, l, start, relation, in, q, out); \
  } \
  void block_gradient_##NAME(i64 spans, i64 blocks, i64 k, i64 l, const i64* start, \
                             const i64* relation, const A* in, const A* grad, A* to_q) { \
    block_gradient<A>(spans, blocks, k, l, start, relation, in, grad, to_q); \
  }

extern "C" {
EXPORT_BLOCKS(float32, float)
EXPORT_BLOCKS(float64, double)
EXPORT(float32_float32, float, float, float)
EXPORT(float64_float64, double, double, double)
EXPORT(bfloat16_float32, bf16, float, float)
EXPORT(float32_bfloat16, float, float, bf16)
EXPORT(bfloat16_bfloat16, bf16, float, bf16)
EXPORT_PRODUCT(float32, float, false)
EXPORT_PRODUCT(float64, double, false)
EXPORT_PRODUCT(complex64, float, true)
EXPORT_PRODUCT(complex128, double, true)
void softmax_float32(i64 rows, i64 heads, i64 entries, const i32* pointer, const float* score,
                     float* out) {
  softmax_rows<float>(rows, heads, entries, pointer, score, out);
}
void softmax_float64(i64 rows, i64 heads, i64 entries, const i32* pointer, const double* score,
                     double* out) {
  softmax_rows<double>(rows, heads, entries, pointer, score, out);
}
}
