// Matrix products in bf16 with the instructions that add pairs of products to a sum in fp32 (AVX512_BF16). Included for that
// set alone.
//
// A tile of 12 rows and 32 columns stays in registers. The right operand is laid into panels of 32 columns, the two terms of a
// pair side by side; the left one is read as it lies or, where the sum goes over its rows, laid likewise, 12 columns wide. While
// a tile is computed the lines of the next are drawn into the second-level cache.
//
// A sum is made in the order of its pairs and rounded once, whatever the tiles, blocks and threads: a row's result depends on
// no other row.

static constexpr int product_rows = 12, product_columns = 32;

// Turns a block of 16 by 16: lane j of row i becomes lane i of row j. Four times, the rows of one half are dealt between those
// of the other.
static inline void turn(vi* r) {
  vi low, high;
  for (int i = 0; i < 16; i++) low[i] = i / 2 + 16 * (i % 2), high[i] = low[i] + 8;
  for (int round = 0; round < 4; round++) {
    vi t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 8; i++) {
      t[2 * i] = __builtin_shuffle(r[i], r[i + 8], low);
      t[2 * i + 1] = __builtin_shuffle(r[i], r[i + 8], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) r[i] = t[i];
  }
}

// Lays `width` rows of w into a panel, K terms of each, an even number; zeros stand for rows beyond.
static void lay_rows(bf16* to, const bf16* w, int64_t ld, int64_t K, int64_t width) {
  for (int64_t half = 0; half < product_columns; half += 16) {
    int64_t rows = width - half;
    for (int64_t k = 0; k < K; k += 32) {
      int64_t pairs = (K - k) / 2 < 16 ? (K - k) / 2 : 16;
      __mmask16 some = __mmask16((1u << pairs) - 1);
      vi r[16];
      for (int64_t i = 0; i < 16; i++) r[i] = i < rows ? (vi)_mm512_maskz_loadu_epi32(some, w + (half + i) * ld + k) : vi{};
      turn(r);
      for (int64_t i = 0; i < pairs; i++) _mm512_storeu_si512(to + (k / 2 + i) * 2 * product_columns + 2 * half, (__m512i)r[i]);
    }
  }
}

static_assert(product_columns == panel_width, "decoding's panels are laid likewise");
template <>
void lay_panel<bf16>(bf16* to, const bf16* w, int64_t K, int64_t width) {
  lay_rows(to, w, K, K, width);
}

// Lays `width` columns of w into a panel that is W wide, K rows of each; a zero row makes an odd number even.
template <int W>
static inline void lay_columns(bf16* to, const bf16* w, int64_t ld, int64_t K, int64_t width) {
  static_assert(W == product_columns || W == product_rows, "the tile's sides");
  alignas(64) uint16_t order[2][32];
  for (int i = 0; i < 32; i++) order[0][i] = uint16_t(i / 2 + 32 * (i % 2)), order[1][i] = uint16_t(order[0][i] + 16);
  __m512i low = _mm512_load_si512(order[0]), high = _mm512_load_si512(order[1]);
  __mmask32 some = width >= 32 ? ~__mmask32(0) : (__mmask32(1) << width) - 1;
  for (int64_t k = 0; k < K; k += 2, to += 2 * W) {
    __m512i a = _mm512_maskz_loadu_epi16(some, w + k * ld);
    __m512i b = k + 1 < K ? _mm512_maskz_loadu_epi16(some, w + (k + 1) * ld) : _mm512_setzero_si512();
    __m512i first = _mm512_permutex2var_epi16(a, low, b);
    if (W == product_rows) {
      _mm512_mask_storeu_epi32(to, (1u << product_rows) - 1, first);
      continue;
    }
    _mm512_storeu_si512(to, first);
    _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(a, high, b));
  }
}

// Several panels that lie side by side in w, a few rows at a time of all of them.
template <int W>
static void lay_side_by_side(bf16* to, int64_t panel, const bf16* w, int64_t ld, int64_t K, int64_t columns) {
  constexpr int64_t block = 16;
  for (int64_t k = 0; k < K; k += block)
    for (int64_t c = 0; c < columns; c += W)
      lay_columns<W>(to + c / W * panel + k * W, w + k * ld + c, ld, K - k < block ? K - k : block, columns - c < W ? columns - c : W);
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

static constexpr int64_t product_step = 16;  // pairs between two steps of NextTile

// R rows of a against a panel. sums, [product_rows, product_columns], hold what earlier columns gave, and this.
template <int R>
static void product_tile(const ProductSweep& s, NextTile& ahead, const bf16* a, const bf16* w, float* sums, bf16* y, int64_t width, const bf16* bias) {
  vf acc[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
    for (int h = 0; h < 2; h++) acc[r][h] = s.first ? vf{} : load(sums + r * product_columns + 16 * h);
  // Six rows from each of two places, so that their distances fit into registers.
  const int64_t row = 2 * s.row, row3 = 3 * row, row5 = 5 * row, term = 2 * s.term;
  const char *upper = (const char*)a, *lower = upper + 6 * row;
  for (int64_t left = s.pairs; left > 0; left -= product_step) {
    ahead.step();
    for (int64_t p = left < product_step ? left : product_step; p > 0; p--) {
      auto w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + 32);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const char* from = r < 6 ? upper : lower;
        int pair, i = r % 6;
        __builtin_memcpy(&pair, from + (i == 5 ? row5 : i == 4 ? 4 * row : i == 3 ? row3 : i * row), 4);
        auto x = (__m512bh)_mm512_set1_epi32(pair);
        acc[r][0] = (vf)_mm512_dpbf16_ps((__m512)acc[r][0], x, w0);
        acc[r][1] = (vf)_mm512_dpbf16_ps((__m512)acc[r][1], x, w1);
      }
      w += 2 * product_columns, upper += term, lower += term;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    if (s.last) {
      put(y + r * s.ldy, acc[r][0], acc[r][1], width, bias, s.add);
      continue;
    }
    store(sums + r * product_columns, acc[r][0]);
    store(sums + r * product_columns + 16, acc[r][1]);
  }
}

using ProductTile = void (*)(const ProductSweep&, NextTile&, const bf16*, const bf16*, float*, bf16*, int64_t, const bf16*);

static constexpr ProductTile product_tiles[] = {product_tile<1>, product_tile<2>, product_tile<3>,  product_tile<4>,  product_tile<5>,  product_tile<6>,
                                                product_tile<7>, product_tile<8>, product_tile<9>, product_tile<10>, product_tile<11>, product_tile<12>};

// What is drawn in while s goes through a tile of which `rest` rows lie behind.
static inline NextTile next_tile(const ProductSweep& s, const bf16* next, int64_t rest, int64_t panels) {
  const bool laid = s.row == 2;
  int64_t rows = rest < product_rows ? rest : product_rows, length = 4 * s.pairs;
  if (laid) length *= product_rows, rows = rest > 0;
  const int64_t lines = rows * ((length + 63) / 64), steps = panels * ((s.pairs + product_step - 1) / product_step);
  return {(const char*)next, 2 * s.row, length, rows, (lines + steps - 1) / steps};
}

// All rows of the left operand against some panels of the right one.
static void product_sweep(const ProductSweep& s) {
  const int64_t panels = (s.columns + product_columns - 1) / product_columns, panel = s.pairs * 2 * product_columns;
  for (int64_t r = 0; r < s.rows; r += product_rows) {
    const int64_t tile = r / product_rows, some = s.rows - r < product_rows ? s.rows - r : product_rows;
    const bf16* a = s.a + tile * s.tile;
    NextTile ahead = next_tile(s, a + s.tile, s.rows - r - some, panels);
    for (int64_t p = 0; p < panels; p++) {
      const int64_t c = p * product_columns, width = s.columns - c < product_columns ? s.columns - c : product_columns;
      bf16* y = s.y + r * s.ldy + c;
      if (p + 1 < panels)
        for (int64_t i = 0; i < some; i++) __builtin_prefetch(y + i * s.ldy + product_columns, 1, 2);
      product_tiles[some - 1](s, ahead, a, s.b + p * panel, s.sums + (tile * panels + p) * product_rows * product_columns, y, width, s.bias ? s.bias + c : nullptr);
    }
  }
}

static ProductKernels product_kernels() {
  return {product_sweep, lay_rows, lay_side_by_side<product_columns>, lay_side_by_side<product_rows>, product_rows, product_columns};
}
