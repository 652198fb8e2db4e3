// Products with weights that lie as panels: 2·VL rows of a weight side by side, their elements of one column together. A
// panel is read once from end to end, and each sum is a lane of its own: nothing is folded, which for short rows costs a
// tenth of the time that the products take. Included after decode_kernels.h, once for each instruction set.
//
// A sum is made in the order of the columns, whatever the number of rows of x.

static constexpr int64_t panel_width = 2 * VL;

// Term is what one load of x is multiplied with: one column of a panel, or two where the processor adds pairs.
template <class T>
struct Term {
  static constexpr int64_t columns = 1;
  static inline vf spread(const T* x) { return widen(*x) - vf{}; }
  static inline vf weights(const T* w) { return load(w); }
  static inline vf add(vf sum, vf x, vf w) { return madd(x, w, sum); }
};

#ifdef SN_DOT_BF16
template <>
struct Term<bf16> {
  static constexpr int64_t columns = 2;
  static inline __m512bh spread(const bf16* x) {
    int pair;
    __builtin_memcpy(&pair, x, 4);
    return (__m512bh)_mm512_set1_epi32(pair);
  }
  static inline __m512bh weights(const bf16* w) { return (__m512bh)_mm512_loadu_si512(w); }
  static inline vf add(vf sum, __m512bh x, __m512bh w) { return (vf)_mm512_dpbf16_ps((__m512)sum, x, w); }
};
#endif

// The products of R rows of x and the first `width` rows of a panel. Meanwhile `next` is drawn into the second-level cache, two lines at each step and
// `ahead` bytes from step to step: a processor that sees the lines only as they are read waits for memory half of the time.
template <class T, int R>
static void panel_tile(float* y, int64_t ldy, int64_t width, const T* x, int64_t ldx, const T* w, int64_t K, const char* next, int64_t ahead) {
  constexpr int64_t C = Term<T>::columns;
  vf acc[R][2];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vf{};
  for (int64_t k = 0; k < K; k += C, w += C * panel_width, next += ahead) {
    auto w0 = Term<T>::weights(w), w1 = Term<T>::weights(w + C * VL);
    if (R >= 4) {  // fewer rows wait for their own panel
      __builtin_prefetch(next, 0, 2);
      __builtin_prefetch(next + 64, 0, 2);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      auto a = Term<T>::spread(x + r * ldx + k);
      acc[r][0] = Term<T>::add(acc[r][0], a, w0);
      acc[r][1] = Term<T>::add(acc[r][1], a, w1);
    }
  }
  float part[R][panel_width];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    float* to = width == panel_width ? y + r * ldy : part[r];
    store(to, acc[r][0]);
    store(to + VL, acc[r][1]);
  }
  if (width == panel_width) return;
  for (int r = 0; r < R; r++)
    for (int64_t i = 0; i < width; i++) y[r * ldy + i] = part[r][i];
}

// PanelRows goes through the rows of x for one panel, and draws in the next panel in its first passes.
template <class T>
struct PanelRows {
  float* y;
  const T *x, *w;
  int64_t ldy, ldx, n, K, width;
  const char* next;
  int64_t ahead, c = 0;

  template <int R>
  inline void pass() {
    panel_tile<T, R>(y + c * ldy, ldy, width, x + c * ldx, ldx, w, K, next, ahead);
    next += K / Term<T>::columns * ahead;
    if (c > 0) ahead = 0;
    c += R;
  }
};

// y[c·ldy + r] = x[c] · w[r] for n rows of x and m rows of weights, K long each, that begin with a panel.
template <class T>
static void panel_product(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, const T* w, int64_t m, int64_t K) {
  constexpr int most = VL == 16 ? 12 : 6;  // 2·most sums, two weights and one of x fill the registers
  for (int64_t r = 0; r < m; r += panel_width, w += panel_width * K) {
    const char* next = reinterpret_cast<const char*>(w + panel_width * K);
    PanelRows<T> rows{y + r, x, w, ldy, ldx, n, K, m - r < panel_width ? m - r : panel_width, next, n <= most ? 128 : 64};
    while (rows.c + most <= n) rows.template pass<most>();
    if (most > 8 && rows.c + 8 <= n) rows.template pass<8>();
    if (rows.c + 4 <= n) rows.template pass<4>();
    if (rows.c + 2 <= n) rows.template pass<2>();
    if (rows.c < n) rows.template pass<1>();
  }
}

// Lays `width` rows of w, K long, into a panel; zeros stand for those that it has room for beyond. A few columns at a time are
// turned in the nearest cache, so that rows are read and the panel is written in whole lines. Where Terms are pairs,
// product_kernels.h has its own.
template <class T>
static void lay_panel(T* to, const T* w, int64_t K, int64_t width) {
  constexpr int64_t block = 16;
  T near[block][panel_width] = {};
  for (int64_t from = 0; from < K; from += block) {
    int64_t n = K - from < block ? K - from : block;
    for (int64_t r = 0; r < width; r++) {
      __builtin_prefetch(w + r * K + from + 4 * block);
      for (int64_t k = 0; k < n; k++) near[k][r] = w[r * K + from + k];
    }
    for (int64_t k = 0; k < n; k++)
      for (int64_t r = 0; r < panel_width; r++) to[(from + k) * panel_width + r] = near[k][r];
  }
}

template <class T>
static Kernels<T> kernels() {
  Kernels<T> k;
  k.product = product<T>;
  k.panel_product = panel_product<T>;
  k.lay_panel = lay_panel<T>;
  k.panel_width = panel_width;
  k.finish = finish<T>;
  k.norm = rms_norm<T, T>;
  k.norm_wide = rms_norm<T, float>;
  k.add = add<T>;
  k.pack = pack<T>;
  k.rotate = rotate<T>;
  k.exp_all = exp_all;
  k.mix = mix<T>;
  k.gate = gate<T>;
  return k;
}
