// The arithmetic of decoding on vectors of VL floats. decode_simd.cpp includes this file once for each instruction set, in
// a namespace and under a target of its own, so nothing here may instantiate a function shared with other files.
//
// Every sum over an axis is made in an order that depends on the axis alone, never on how many rows are computed at
// once: a row's result is the same bit for bit whatever its companions.

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int vi __attribute__((vector_size(VL * 4)));
typedef unsigned vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef vf vf_any __attribute__((aligned(4), may_alias));
typedef vh vh_any __attribute__((aligned(2), may_alias));

static inline vf load(const float* p) { return *reinterpret_cast<const vf_any*>(p); }
static inline vf load(const bf16* p) {
  vu wide = __builtin_convertvector(*reinterpret_cast<const vh_any*>(p), vu) << 16;
  return (vf)wide;
}
static inline void store(float* p, vf v) { *reinterpret_cast<vf_any*>(p) = v; }
// Rounds as narrow does.
static inline void store(bf16* p, vf v) {
  vu u = (vu)v, r = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  r = v != v ? vu{} + 0x7fc0 : r;
  *reinterpret_cast<vh_any*>(p) = __builtin_convertvector(r, vh);
}

// a·b + c, rounded once where the processor can. Nothing else is contracted so: decode_simd.cpp forbids it, because the
// compiler would choose anew in each tile, and a row's last bit would depend on how many rows there are.
static inline vf madd(vf a, vf b, vf c) {
#if defined(__x86_64__) && VL == 16
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__x86_64__) && VL == 8
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// The last n < VL elements, zeros behind.
template <class T>
static inline vf load_part(const T* p, int64_t n) {
  T part[VL] = {};
  for (int64_t i = 0; i < n; i++) part[i] = p[i];
  return load(part);
}
#if defined(__x86_64__) && VL == 16
static inline vf load_part(const float* p, int64_t n) { return (vf)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p); }
#endif
static inline void store_part(float* p, vf v, int64_t n) {
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
}

static inline float widen(float x) { return x; }
static inline float widen(bf16 x) {
  uint32_t u = uint32_t(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
// To the nearest, ties to even, as libtorch rounds.
static inline void narrow(float x, float* y) { *y = x; }
static inline void narrow(float x, bf16* y) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  y->bits = x != x ? 0x7fc0 : uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
template <class T>
static inline float round_to(float x) {
  T y;
  narrow(x, &y);
  return widen(y);
}

// Lane i of fold<S>(a, b) adds the lanes S apart of the blocks of 2S lanes of a, then of b.
template <int S>
static inline vf fold(vf a, vf b) {
  vi low, high;
  for (int i = 0; i < VL; i++) {
    int from = i < VL / 2 ? i : i - VL / 2;
    int lane = (from / S) * 2 * S + from % S + (i < VL / 2 ? 0 : VL);
    low[i] = lane;
    high[i] = lane + S;
  }
  return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

// Sums<N, M> adds up the lanes of M vectors, M a divisor of N: with N = VL, lane i of the result is the sum of vector i mod M.
template <int N, int M>
struct Sums {
  static inline vf of(const vf* a) {
    constexpr int H = M > 1 ? M / 2 : 1;
    vf half[H];
#pragma GCC unroll 16
    for (int i = 0; i < H; i++) half[i] = fold<N / 2>(a[2 * i % M], a[(2 * i + 1) % M]);
    return Sums<N / 2, H>::of(half);
  }
};
template <>
struct Sums<1, 1> {
  static inline vf of(const vf* a) { return a[0]; }
};

static inline float sum(vf v) { return Sums<VL, 1>::of(&v)[0]; }

static inline vf vmax(vf a, vf b) { return a > b ? a : b; }
static inline vf vmin(vf a, vf b) { return a < b ? a : b; }

// e^x to 2 units in the last place; 0 below -87.3, where results would be subnormal.
static inline vf vexp(vf x) {
  vf y = vmin(vmax(x, vf{} - 87.3f), vf{} + 88.0f);
  vf n = y * 1.44269504088896341f;
  vf half = n < 0 ? vf{} - 0.5f : vf{} + 0.5f;
  vi e = __builtin_convertvector(n + half, vi);  // rounds to the nearest
  vf r = __builtin_convertvector(e, vf);
  y = madd(r, vf{} - 0.693359375f, y);
  y = madd(r, vf{} + 2.12194440e-4f, y);
  vf p = vf{} + 1.9875691500e-4f;
  p = madd(p, y, vf{} + 1.3981999507e-3f);
  p = madd(p, y, vf{} + 8.3334519073e-3f);
  p = madd(p, y, vf{} + 4.1665795894e-2f);
  p = madd(p, y, vf{} + 1.6666665459e-1f);
  p = madd(p, y, vf{} + 5.0000001201e-1f);
  p = madd(p, y * y, y) + 1.0f;
  vi bits = (e + 127) << 23;
  return x < -87.3f ? vf{} : p * (vf)bits;
}

// Ahead draws memory in before it is wanted: rows of w, ld apart, a line at each step, or line by line one stretch.
template <class T>
struct Ahead {
#ifdef SN_DOT_BF16
  static constexpr int64_t line = VL * 4 / sizeof(T);  // of one step
#else
  static constexpr int64_t line = VL;
#endif
  const T* p;
  int64_t step, ld;

  template <int P>
  inline void ask() {
#pragma GCC unroll 16
    for (int r = 0; r < P; r++) __builtin_prefetch(p + r * ld);
    p += step;
  }
};

// Tile is the products of R rows of w and C rows of x, R·C a divisor of VL. Its loops are unrolled by name: a sum whose
// place is computed would live in memory.
template <class T, int R, int C>
struct Tile {
  vf acc[R][C];

  // Adds K products to each sum, and asks at each step for P lines of what is wanted next.
  template <int P>
  inline void run(const T* w, int64_t ldw, const T* x, int64_t ldx, int64_t K, Ahead<T> next) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) acc[r][c] = vf{};
    int64_t k = from<P>(w, ldw, x, ldx, K, next);
    for (; k + VL <= K; k += VL) {
      vf a[C];
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) a[c] = load(x + c * ldx + k);
      next.template ask<P>();
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        vf b = load(w + r * ldw + k);
#pragma GCC unroll 16
        for (int c = 0; c < C; c++) acc[r][c] = madd(a[c], b, acc[r][c]);
      }
    }
    if (k == K) return;
    vf a[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) a[c] = load_part(x + c * ldx + k, K - k);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      vf b = load_part(w + r * ldw + k, K - k);
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) acc[r][c] = madd(a[c], b, acc[r][c]);
    }
  }

#ifdef SN_DOT_BF16
  // The processor's own products of pairs; returns how far it came.
  template <int P>
  inline int64_t from(const bf16* w, int64_t ldw, const bf16* x, int64_t ldx, int64_t K, Ahead<T>& next) {
    int64_t k = 0;
    for (; k + 2 * VL <= K; k += 2 * VL) {
      __m512bh a[C];
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) a[c] = (__m512bh)_mm512_loadu_si512(x + c * ldx + k);
      next.template ask<P>();
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        __m512bh b = (__m512bh)_mm512_loadu_si512(w + r * ldw + k);
#pragma GCC unroll 16
        for (int c = 0; c < C; c++) acc[r][c] = (vf)_mm512_dpbf16_ps((__m512)acc[r][c], a[c], b);
      }
    }
    return k;
  }
#else
  template <int P>
  inline int64_t from(const bf16*, int64_t, const bf16*, int64_t, int64_t, Ahead<T>&) {
    return 0;
  }
#endif
  template <int P>
  inline int64_t from(const float*, int64_t, const float*, int64_t, int64_t, Ahead<T>&) {
    return 0;
  }

  // Writes the sums to y[c·ldy + r].
  inline void put(float* y, int64_t ldy) {
    vf all[R * C];
#pragma GCC unroll 16
    for (int i = 0; i < R * C; i++) all[i] = acc[i % R][i / R];
    vf s = Sums<VL, R * C>::of(all);
#pragma GCC unroll 16
    for (int i = 0; i < R * C; i++) y[i / R * ldy + i % R] = s[i];
  }
};

template <int P, class T, int R, int C>
static inline void tile(float* y, int64_t ldy, const T* x, int64_t ldx, const T* w, int64_t ldw, int64_t K, Ahead<T> next) {
  Tile<T, R, C> t;
  t.template run<P>(w, ldw, x, ldx, K, next);
  t.put(y, ldy);
}

// R rows of w by n rows of x. The next R rows of w are drawn in meanwhile, each tile of the rows asking for its share:
// asking for all of them each time costs a fifth of the speed where the weights are near, and asking at once most of it
// where they are far.
template <class T, int R>
static inline void strip(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, const T* w, int64_t ldw, int64_t K, int64_t ahead) {
  constexpr int C = VL / R;
  int64_t c = 0, whole = n / C;
  Ahead<T> next{w + ahead, 0, ldw};
  if (whole >= R) {
    next.step = (R * Ahead<T>::line + whole - 1) / whole;
    for (; c + C <= n; c += C) {
      tile<1, T, R, C>(y + c * ldy, ldy, x + c * ldx, ldx, w, ldw, K, next);
      next.p += K / Ahead<T>::line * next.step;
    }
  } else if (whole > 1) {
    next.step = R / 2 * Ahead<T>::line;
    next.ld = Ahead<T>::line;
    for (; c + C <= n; c += C) {
      tile<R / 2, T, R, C>(y + c * ldy, ldy, x + c * ldx, ldx, w, ldw, K, next);
      next.p += K / Ahead<T>::line * next.step;
    }
  }
  next = {w + ahead, Ahead<T>::line, ldw};
  for (; c + C <= n; c += C) tile<R, T, R, C>(y + c * ldy, ldy, x + c * ldx, ldx, w, ldw, K, next);
  if (C > 2 && c + 2 <= n) {
    tile<R, T, R, 2 < C ? 2 : 1>(y + c * ldy, ldy, x + c * ldx, ldx, w, ldw, K, next);
    c += 2;
  }
  for (; c < n; c++) tile<R, T, R, 1>(y + c * ldy, ldy, x + c * ldx, ldx, w, ldw, K, next);
}

// y[c·ldy + r] = x[c] · w[r] for n rows of x and m rows of w, K long each.
template <class T>
static void product(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, const T* w, int64_t ldw, int64_t m, int64_t K) {
  constexpr int64_t block = 32;  // rows of x that stay in the second-level cache
  for (int64_t c = 0; c < n; c += block) {
    int64_t cs = n - c < block ? n - c : block, r = 0;
    for (; r + 4 <= m; r += 4) strip<T, 4>(y + c * ldy + r, ldy, x + c * ldx, ldx, cs, w + r * ldw, ldw, K, 4 * ldw);
    for (; r < m; r++) strip<T, 1>(y + c * ldy + r, ldy, x + c * ldx, ldx, cs, w + r * ldw, ldw, K, 0);
  }
}

// Adds a bias to n rows of m and rounds them to T.
template <class T>
static void finish(float* y, int64_t ldy, int64_t n, const T* bias, int64_t m) {
  if (!bias && sizeof(T) == 4) return;
  for (int64_t c = 0; c < n; c++)
    for (int64_t r = 0; r < m; r++) y[c * ldy + r] = round_to<T>(y[c * ldy + r] + (bias ? widen(bias[r]) : 0.0f));
}

// RMSNorm of one row (Zhang & Sennrich, arXiv 1910.07467) with libtorch's roundings: Llama's before the gain, Gemma's
// (plus_one) after it.
template <class T, class Y>
static void rms_norm(Y* y, const float* x, const T* w, int64_t n, float eps, bool plus_one) {
  vf acc = vf{};
  int64_t i = 0;
  for (; i + VL <= n; i += VL) acc = madd(load(x + i), load(x + i), acc);
  if (i < n) acc += load_part(x + i, n - i) * load_part(x + i, n - i);
  float scale = 1.0f / __builtin_sqrtf(sum(acc) / float(n) + eps);
  for (i = 0; i < n; i++)
    narrow(plus_one ? x[i] * scale * (widen(w[i]) + 1.0f) : round_to<T>(x[i] * scale) * widen(w[i]), &y[i]);
}

// x += y, each rounded to T as libtorch would store it.
template <class T>
static void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = round_to<T>(x[i] + round_to<T>(y[i]));
}

// y = x rounded to T.
template <class T>
static void pack(T* y, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; i++) narrow(x[i], &y[i]);
}

// Rotates a head by cos, sin [K/2] (Su et al., arXiv 2104.09864), pairs (i, i + K/2).
template <class Y>
static void rotate(Y* y, const float* x, const float* cos, const float* sin, int64_t K) {
  for (int64_t i = 0; i < K / 2; i++) {
    float a = x[i], b = x[i + K / 2];
    narrow(a * cos[i] - b * sin[i], &y[i]);
    narrow(b * cos[i] + a * sin[i], &y[i + K / 2]);
  }
}

// p[i] = e^(p[i] - max p); returns the sum.
static float exp_all(float* p, int64_t n) {
  vf top = vf{} - __builtin_inff();
  float most = -__builtin_inff();
  int64_t i = 0;
  for (; i + VL <= n; i += VL) top = vmax(top, load(p + i));
  for (int lane = 0; lane < VL; lane++) most = top[lane] > most ? top[lane] : most;
  for (; i < n; i++) most = p[i] > most ? p[i] : most;
  vf acc = vf{};
  for (i = 0; i + VL <= n; i += VL) {
    vf e = vexp(load(p + i) - most);
    store(p + i, e);
    acc += e;
  }
  if (i < n) {
    vf e = vexp(load_part(p + i, n - i) - most);
    store_part(p + i, e, n - i);
    acc += load_part(p + i, n - i);
  }
  return sum(acc);
}

// y = (Σ p[s] v[s]) / total over n rows v of K, rounded to T.
template <class T>
static void mix(T* y, const float* p, float total, const T* v, int64_t n, int64_t K) {
  constexpr int P = 4;
  int64_t k = 0;
  float inv = 1.0f / total;
  for (; k + P * VL <= K; k += P * VL) {
    vf acc[P] = {};
    for (int64_t s = 0; s < n; s++)
      for (int j = 0; j < P; j++) acc[j] = madd(vf{} + p[s], load(v + s * K + k + j * VL), acc[j]);
    for (int j = 0; j < P; j++)
      for (int l = 0; l < VL; l++) narrow(acc[j][l] * inv, &y[k + j * VL + l]);
  }
  for (; k < K; k += VL) {
    int64_t part = K - k < VL ? K - k : VL;
    vf acc = vf{};
    for (int64_t s = 0; s < n; s++) acc = madd(vf{} + p[s], part == VL ? load(v + s * K + k) : load_part(v + s * K + k, part), acc);
    for (int64_t l = 0; l < part; l++) narrow(acc[l] * inv, &y[k + l]);
  }
}

// y = act(g)·u, each rounded to T as libtorch's three ops do; act 0 SiLU, 1 GELU, 2 its tanh form.
template <class T>
static void gate(T* y, const float* g, const float* u, int64_t n, int act) {
  for (int64_t i = 0; i < n; i += VL) {
    int64_t part = n - i < VL ? n - i : VL;
    vf x = part == VL ? load(g + i) : load_part(g + i, part), a = x;
    if (act == 0) {
      a = x / (vexp(vf{} - x) + 1.0f);
    } else {
      for (int64_t l = 0; l < part; l++)
        a[l] = act == 1 ? 0.5f * x[l] * (1.0f + erff(x[l] * 0.70710678118654752f))
                        : 0.5f * x[l] * (1.0f + tanhf(0.79788456080286536f * (x[l] + 0.044715f * x[l] * x[l] * x[l])));
    }
    for (int64_t l = 0; l < part; l++) narrow(round_to<T>(a[l]) * u[i + l], &y[i + l]);
  }
}
