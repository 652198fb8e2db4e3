// Matrix products that sum in fp32. Included after panel_kernels.h, for the sets of which product_kernels tells.
//
// A unit is what fills one lane of a register: a float or, where the processor adds pairs of products (SN_DOT_BF16), two terms
// of bf16 side by side. A tile of 6 rows, or 12 of the wide registers, and of two registers' columns stays in registers. The
// right operand is laid into panels of a tile's columns. The left one is read as it lies or, where the sum goes over its rows,
// laid likewise, a tile's rows wide; bf16 becomes float on the way where units are floats. While a tile is computed the lines of
// the next are drawn into the second-level cache.
//
// A sum is made in the order of its units, a range of them at a time, and rounded once, whatever the tiles, blocks and threads:
// a row's result depends on no other row.

#ifdef SN_DOT_BF16
typedef bf16 laid;
#else
typedef float laid;
#endif
static constexpr int64_t unit_terms = Term<laid>::columns, product_range = 512 * unit_terms;
static constexpr int64_t product_step = 16;  // units between two steps of NextTile
static constexpr int product_rows = VL == 16 ? 12 : 6, product_columns = 2 * VL;
static_assert(unit_terms * sizeof(laid) == 4, "a lane's size");

// Turns a block of VL by VL: lane j of row i becomes lane i of row j. Each time, the rows of one half are dealt between those
// of the other.
template <class V>
static inline void turn(V* r) {
  vi low, high;
  for (int i = 0; i < VL; i++) low[i] = i / 2 + VL * (i % 2), high[i] = low[i] + VL / 2;
  for (int round = 1; round < VL; round *= 2) {
    V t[VL];
#pragma GCC unroll 16
    for (int i = 0; i < VL / 2; i++) {
      t[2 * i] = __builtin_shuffle(r[i], r[i + VL / 2], low);
      t[2 * i + 1] = __builtin_shuffle(r[i], r[i + VL / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) r[i] = t[i];
  }
}

#ifdef SN_DOT_BF16
// The units of n ≤ VL pairs, zeros behind.
static inline vi units_of(const bf16* p, int64_t n) { return (vi)_mm512_maskz_loadu_epi32(__mmask16((1u << n) - 1), p); }

// Lays two rows of `width` columns as units; without a second one, zeros stand for it.
template <int W>
static inline void lay_units(bf16* to, const bf16* first, const bf16* second, int64_t width) {
  alignas(64) uint16_t order[2][32];
  for (int i = 0; i < 32; i++) order[0][i] = uint16_t(i / 2 + 32 * (i % 2)), order[1][i] = uint16_t(order[0][i] + 16);
  __m512i low = _mm512_load_si512(order[0]), high = _mm512_load_si512(order[1]);
  __mmask32 some = width >= 32 ? ~__mmask32(0) : (__mmask32(1) << width) - 1;
  __m512i a = _mm512_maskz_loadu_epi16(some, first);
  __m512i b = second ? _mm512_maskz_loadu_epi16(some, second) : _mm512_setzero_si512();
  __m512i dealt = _mm512_permutex2var_epi16(a, low, b);
  if (W == product_rows) {
    _mm512_mask_storeu_epi32(to, (1u << product_rows) - 1, dealt);
    return;
  }
  _mm512_storeu_si512(to, dealt);
  _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(a, high, b));
}

// Some of 16 elements, zeros behind.
static inline vf some_of(const bf16* p, __mmask16 some) {
  return (vf)(__builtin_convertvector((vh)_mm256_maskz_loadu_epi16(some, p), vu) << 16);
}

// Rounds a tile's row, after what the place holds and the bias are added where they are wanted.
static inline void put(bf16* y, vf a, vf b, int64_t width, const bf16* bias, bool add) {
  __mmask32 some = width >= 32 ? ~__mmask32(0) : (__mmask32(1) << width) - 1;
  if (add) a += some_of(y, __mmask16(some)), b += some_of(y + 16, __mmask16(some >> 16));
  if (bias) a += some_of(bias, __mmask16(some)), b += some_of(bias + 16, __mmask16(some >> 16));
  _mm512_mask_storeu_epi16(y, some, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
}

// Decoding's panels are laid likewise.
static_assert(product_columns == panel_width, "one layout of panels");
#else
template <class T>
static inline vf units_of(const T* p, int64_t n) { return n == VL ? load(p) : load_part(p, n); }

template <int W, class T>
static inline void lay_units(float* to, const T* from, const T*, int64_t width) {
  static_assert(W <= product_columns, "two registers");
  if (width < W || (W % VL != 0 && width < VL)) {
    for (int64_t i = 0; i < W; i++) to[i] = i < width ? widen(from[i]) : 0;
    return;
  }
  for (int i = 0; i < W; i += VL) {
    vf v = load(from + i);
    __builtin_memcpy(to + i, &v, 4 * (W - i < VL ? W - i : VL));
  }
}

// Rounds a tile's row, after what the place holds and the bias are added where they are wanted.
template <class T>
static inline void put(T* y, vf a, vf b, int64_t width, const T* bias, bool add) {
  if (width < product_columns) {
    T there[product_columns] = {}, more[product_columns] = {};
    for (int64_t i = 0; i < width; i++) there[i] = y[i];
    for (int64_t i = 0; bias && i < width; i++) more[i] = bias[i];
    put(there, a, b, product_columns, bias ? more : nullptr, add);
    for (int64_t i = 0; i < width; i++) y[i] = there[i];
    return;
  }
  if (add) a += load(y), b += load(y + VL);
  if (bias) a += load(bias), b += load(bias + VL);
  store(y, a), store(y + VL, b);
}
#endif

// Lays `width` rows of w into a panel, K terms of each, whole units; zeros stand for rows beyond.
template <class T>
static void lay_rows(void* to, const T* w, int64_t ld, int64_t K, int64_t width) {
  for (int64_t half = 0; half < product_columns; half += VL) {
    int64_t rows = width - half;
    for (int64_t k = 0; k < K; k += VL * unit_terms) {
      int64_t units = (K - k) / unit_terms < VL ? (K - k) / unit_terms : VL;
      decltype(units_of(w, 0)) r[VL];
      for (int64_t i = 0; i < VL; i++) r[i] = i < rows ? units_of(w + (half + i) * ld + k, units) : decltype(units_of(w, 0)){};
      turn(r);
      char* panel = static_cast<char*>(to) + 4 * (k / unit_terms * product_columns + half);
      for (int64_t i = 0; i < units; i++) __builtin_memcpy(panel + 4 * i * product_columns, &r[i], sizeof r[i]);
    }
  }
}

// Lays `width` columns of w into a panel that is W wide, K rows of each; zeros fill up the last unit.
template <int W, class T>
static inline void lay_columns(laid* to, const T* w, int64_t ld, int64_t K, int64_t width) {
  static_assert(W == product_columns || W == product_rows, "the tile's sides");
  for (int64_t k = 0; k < K; k += unit_terms, to += unit_terms * W) lay_units<W>(to, w + k * ld, k + 1 < K ? w + (k + 1) * ld : nullptr, width);
}

// Several panels that lie side by side in w, `panel` bytes each, a few rows at a time of all of them.
template <int W, class T>
static void lay_side_by_side(void* to, int64_t panel, const T* w, int64_t ld, int64_t K, int64_t columns) {
  constexpr int64_t block = 16;
  for (int64_t k = 0; k < K; k += block)
    for (int64_t c = 0; c < columns; c += W)
      lay_columns<W>(reinterpret_cast<laid*>(static_cast<char*>(to) + c / W * panel + 4 * (k / unit_terms) * W), w + k * ld + c, ld,
                     K - k < block ? K - k : block, columns - c < W ? columns - c : W);
}

// Lays rows of the left operand as floats, one behind the other.
template <class T>
static void lay_floats(void* to, const T* w, int64_t ld, int64_t K, int64_t rows) {
  float* y = static_cast<float*>(to);
  for (int64_t r = 0; r < rows; r++, w += ld, y += K) {
    int64_t k = 0;
    for (; k + VL <= K; k += VL) store(y + k, load(w + k));
    for (; k < K; k++) y[k] = widen(w[k]);
  }
}

// NextTile draws the lines of the next tile into the second-level cache, a few at a time: many at once would wait for one another.
struct NextTile {
  const char* row;         // of the next tile, or all of it where it is laid out
  int64_t stride, length;  // from row to row, and of one, in bytes
  int64_t rows, each;      // still to come; lines to draw in a step
  int64_t at = 0;

  inline void step() {
    for (int64_t i = 0; i < each && rows > 0; i++) {
      __builtin_prefetch(row + at, 0, 2);
      if ((at += 64) >= length) at = 0, row += stride, rows--;
    }
  }
};

// R rows of a against a panel. sums, [product_rows, product_columns], hold what earlier ranges gave, and then this one as well.
template <class T, int R>
static void product_tile(const ProductSweep<T>& s, NextTile& ahead, const char* a, const laid* w, float* sums, T* y, int64_t width, const T* bias) {
  vf acc[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vf{};
  // Six rows from each of two places, so that their distances fit into registers.
  const int64_t row = s.row, row3 = 3 * row, row5 = 5 * row, unit = s.unit;
  const char *upper = a, *lower = upper + 6 * row;
  for (int64_t left = s.units; left > 0; left -= product_step) {
    ahead.step();
    for (int64_t u = left < product_step ? left : product_step; u > 0; u--) {
      auto w0 = Term<laid>::weights(w), w1 = Term<laid>::weights(w + unit_terms * VL);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const char* from = r < 6 ? upper : lower;
        const int i = r % 6;
        auto x = Term<laid>::spread(reinterpret_cast<const laid*>(from + (i == 5 ? row5 : i == 4 ? 4 * row : i == 3 ? row3 : i * row)));
        acc[r][0] = Term<laid>::add(acc[r][0], x, w0);
        acc[r][1] = Term<laid>::add(acc[r][1], x, w1);
      }
      w += unit_terms * product_columns, upper += unit, lower += unit;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    float* before = sums + r * product_columns;
    if (!s.first) acc[r][0] += load(before), acc[r][1] += load(before + VL);
    if (s.last) put(y + r * s.ldy, acc[r][0], acc[r][1], width, bias, s.add);
    else store(before, acc[r][0]), store(before + VL, acc[r][1]);
  }
}

// product_tiles<T>[R - 1] is product_tile<T, R>.
template <class T>
using ProductTile = void (*)(const ProductSweep<T>&, NextTile&, const char*, const laid*, float*, T*, int64_t, const T*);
template <class T>
static constexpr ProductTile<T> product_tiles[] = {
    product_tile<T, 1>, product_tile<T, 2>, product_tile<T, 3>,  product_tile<T, 4>,  product_tile<T, 5>,  product_tile<T, 6>,
#if VL == 16
    product_tile<T, 7>, product_tile<T, 8>, product_tile<T, 9>, product_tile<T, 10>, product_tile<T, 11>, product_tile<T, 12>,
#endif
};

// What is drawn in while s goes through a tile of which `rest` rows lie behind.
template <class T>
static inline NextTile next_tile(const ProductSweep<T>& s, const char* next, int64_t rest, int64_t panels) {
  const bool by_columns = s.row == 4;
  int64_t rows = rest < product_rows ? rest : product_rows, length = 4 * s.units;
  if (by_columns) length *= product_rows, rows = rest > 0;
  const int64_t lines = rows * ((length + 63) / 64), steps = panels * ((s.units + product_step - 1) / product_step);
  return {next, s.row, length, rows, (lines + steps - 1) / steps};
}

// All rows of the left operand against some panels of the right one.
template <class T>
static void product_sweep(const ProductSweep<T>& s) {
  const int64_t panels = (s.columns + product_columns - 1) / product_columns, panel = s.units * unit_terms * product_columns;
  for (int64_t r = 0; r < s.rows; r += product_rows) {
    const int64_t tile = r / product_rows, some = s.rows - r < product_rows ? s.rows - r : product_rows;
    const char* a = s.a + tile * s.tile;
    NextTile ahead = next_tile(s, a + s.tile, s.rows - r - some, panels);
    for (int64_t p = 0; p < panels; p++) {
      const int64_t c = p * product_columns, width = s.columns - c < product_columns ? s.columns - c : product_columns;
      T* y = s.y + r * s.ldy + c;
      if (p + 1 < panels)
        for (int64_t i = 0; i < some; i++) __builtin_prefetch(y + i * s.ldy + product_columns, 1, 2);
      product_tiles<T>[some - 1](s, ahead, a, static_cast<const laid*>(s.b) + p * panel, s.sums + (tile * panels + p) * product_rows * product_columns, y,
                                 width, s.bias ? s.bias + c : nullptr);
    }
  }
}

template <class T>
static ProductKernels<T> product_kernels() {
  ProductKernels<T> k{product_sweep<T>, lay_rows<T>, lay_side_by_side<product_columns, T>, lay_side_by_side<product_rows, T>, nullptr, product_rows,
                      product_columns, unit_terms, product_range};
  if (sizeof(T) * unit_terms < 4) k.lay_left_rows = lay_floats<T>;
  return k;
}

#ifdef SN_DOT_BF16
template <>
void lay_panel<bf16>(bf16* to, const bf16* w, int64_t K, int64_t width) {
  lay_rows(to, w, K, K, width);
}
#endif
