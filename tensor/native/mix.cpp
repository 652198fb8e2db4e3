// Mixing stretches of weights that lie in plain memory. No call here touches libtorch's state, so several threads may
// mix different stretches at once.
//
// A multiply and an add are never made one rounding (fp-contract): each instruction set gives the same bits, and the
// same as Go.
// Nothing here traps, so what a lane does not take may be computed in it.
#pragma GCC optimize("O3", "fp-contract=off", "no-trapping-math")
#include "mix.h"

#include <algorithm>
#include <c10/util/Half.h>
#include <cstring>

#if defined(__x86_64__)
#define SN_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SN_KERNEL
#endif
#define SN_INLINE static inline __attribute__((always_inline))

namespace {

// The numbers that at::ScalarType gives the types.
enum { F16 = 5, F32 = 6, F64 = 7, BF16 = 15 };

constexpr int64_t block = 1024;  // elements whose sums stay in a core's first cache

struct half {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

SN_INLINE double widen(float x) { return x; }
SN_INLINE double widen(double x) { return x; }
SN_INLINE double widen(bf16 x) {
  uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}
SN_INLINE double widen(half x) { return c10::detail::fp16_ieee_to_fp32_value(x.bits); }

// narrow rounds as libtorch does: half types by way of float.
SN_INLINE void narrow(double v, float* out) { *out = static_cast<float>(v); }
SN_INLINE void narrow(double v, double* out) { *out = v; }
SN_INLINE void narrow(double v, bf16* out) {
  float f = static_cast<float>(v);
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  uint32_t r = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  out->bits = static_cast<uint16_t>(f != f ? 0x7fc0 : r);
}
SN_INLINE void narrow(double v, half* out) { out->bits = c10::detail::fp16_ieee_from_fp32_value(static_cast<float>(v)); }

// add takes one member into sums and the errors of their additions (Knuth's two-sum).
template <class T>
SN_INLINE void add(double* sum, double* err, const T* x, double w, int64_t m) {
  for (int64_t j = 0; j < m; j++) {
    double a = sum[j], b = w * widen(x[j]), s = a + b, back = s - a;
    err[j] += (a - (s - back)) + (b - back);
    sum[j] = s;
  }
}

template <class T>
SN_INLINE void finish(T* out, const double* sum, const double* err, int64_t m) {
  for (int64_t j = 0; j < m; j++) narrow(sum[j] + err[j], out + j);
}

template <class T>
SN_INLINE void less(double* out, const T* x, const double* base, int64_t n) {
  if (!base) {
    for (int64_t j = 0; j < n; j++) out[j] = widen(x[j]);
    return;
  }
  for (int64_t j = 0; j < n; j++) out[j] = widen(x[j]) - base[j];
}

// magnitude is the bits of a float without sign.
SN_INLINE uint32_t magnitude(double v) {
  float f = static_cast<float>(v);
  uint32_t m;
  memcpy(&m, &f, sizeof m);
  return m & 0x7fffffff;
}

// fold adds scale times cols from of row b of a product to m elements; each sum is a chain of fused multiply-adds, as
// matrix products of so few terms are.
template <class T, class O>
SN_INLINE void fold(O* out, const T* w, const float* b, const float* a, int rank, int64_t cols, float scale, int64_t m) {
  float sum[block];
  memset(sum, 0, sizeof sum);
  for (int k = 0; k < rank; k++) {
    const float* row = a + k * cols;
    for (int64_t j = 0; j < m; j++) sum[j] = __builtin_fmaf(b[k], row[j], sum[j]);
  }
  for (int64_t j = 0; j < m; j++) out[j] = static_cast<O>(widen(w[j])) + static_cast<O>(sum[j] * scale);
}

// finite tells whether no exponent is all ones.
template <class U>
SN_INLINE int finite(const U* x, int64_t n, U exponent) {
  U bad = 0;
  for (int64_t j = 0; j < n; j++) bad |= static_cast<U>((x[j] & exponent) == exponent);
  return !bad;
}

template <class T>
SN_INLINE void convert(T* out, const double* x, int64_t n) {
  for (int64_t j = 0; j < n; j++) narrow(x[j], out + j);
}

// masked is v where all bits of a mask are set and 0 where none is: compilers make branches of the other way to say it.
SN_INLINE double masked(double v, uint64_t mask) {
  uint64_t u;
  memcpy(&u, &v, sizeof u);
  u &= mask;
  memcpy(&v, &u, sizeof v);
  return v;
}

// elect leaves in sum the total of the entries that have the sign of all entries' sum, or their mean.
SN_INLINE void elect(double* sum, const double* const* tau, const double* weights, int members, int64_t from, int64_t m, int mean) {
  double total[block], share[block];
  memset(total, 0, sizeof total);
  memset(share, 0, sizeof share);
  for (int k = 0; k < members; k++) {
    const double* t = tau[k] + from;
    double w = weights[k];
    for (int64_t j = 0; j < m; j++) {
      double v = w * t[j];
      uint64_t agrees = -static_cast<uint64_t>((sum[j] >= 0 ? v : -v) > 0);
      total[j] += masked(v, agrees);
      share[j] += masked(w, agrees);
    }
  }
  for (int64_t j = 0; j < m; j++) sum[j] = mean && share[j] != 0 ? total[j] / share[j] : total[j];
}

}  // namespace

extern "C" {

SN_KERNEL void sn_mix_lincomb(void* out, int type, const void* const* xs, const int* types, const double* weights,
                              int members, int64_t n) {
  double sum[block], err[block];
  for (int64_t i = 0; i < n; i += block) {
    int64_t m = std::min(block, n - i);
    memset(sum, 0, sizeof sum);
    memset(err, 0, sizeof err);
    for (int k = 0; k < members; k++) {
      double w = weights[k];
      if (w == 0) continue;  // 0 times infinity is not 0
      switch (types[k]) {
        case F16: add(sum, err, static_cast<const half*>(xs[k]) + i, w, m); break;
        case F32: add(sum, err, static_cast<const float*>(xs[k]) + i, w, m); break;
        case F64: add(sum, err, static_cast<const double*>(xs[k]) + i, w, m); break;
        case BF16: add(sum, err, static_cast<const bf16*>(xs[k]) + i, w, m); break;
      }
    }
    switch (type) {
      case F16: finish(static_cast<half*>(out) + i, sum, err, m); break;
      case F32: finish(static_cast<float*>(out) + i, sum, err, m); break;
      case F64: finish(static_cast<double*>(out) + i, sum, err, m); break;
      case BF16: finish(static_cast<bf16*>(out) + i, sum, err, m); break;
    }
  }
}

SN_KERNEL void sn_mix_widen(double* out, const void* x, int type, const double* base, int64_t n) {
  switch (type) {
    case F16: less(out, static_cast<const half*>(x), base, n); break;
    case F32: less(out, static_cast<const float*>(x), base, n); break;
    case F64: less(out, static_cast<const double*>(x), base, n); break;
    case BF16: less(out, static_cast<const bf16*>(x), base, n); break;
  }
}

SN_KERNEL int sn_mix_finite(const void* x, int type, int64_t n) {
  switch (type) {
    case F16: return finite<uint16_t>(static_cast<const uint16_t*>(x), n, 0x7c00);
    case F32: return finite<uint32_t>(static_cast<const uint32_t*>(x), n, 0x7f800000);
    case F64: return finite<uint64_t>(static_cast<const uint64_t*>(x), n, 0x7ff0000000000000);
    case BF16: return finite<uint16_t>(static_cast<const uint16_t*>(x), n, 0x7f80);
  }
  return 0;
}

SN_KERNEL double sn_mix_dot(const double* a, const double* b, int64_t n) {
  double s[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int l = 0; l < 4; l++) s[l] += a[i + l] * b[i + l];
  for (; i < n; i++) s[0] += a[i] * b[i];
  return s[0] + s[1] + s[2] + s[3];
}

SN_KERNEL void sn_mix_narrow(void* out, int type, const double* x, int64_t n) {
  switch (type) {
    case F16: convert(static_cast<half*>(out), x, n); break;
    case F32: convert(static_cast<float*>(out), x, n); break;
    case F64: convert(static_cast<double*>(out), x, n); break;
    case BF16: convert(static_cast<bf16*>(out), x, n); break;
  }
}

SN_KERNEL void sn_mix_fold(void* out, const void* w, int type, const float* b, const float* a, int rank, int64_t cols,
                           float scale, int64_t at, int64_t n) {
  for (int64_t i = 0, m; i < n; i += m) {
    int64_t row = (at + i) / cols, col = (at + i) % cols;
    m = std::min({block, n - i, cols - col});
    const float* x = b + row * rank;
    const float* y = a + col;
    switch (type) {
      case F16: fold(static_cast<float*>(out) + i, static_cast<const half*>(w) + i, x, y, rank, cols, scale, m); break;
      case F32: fold(static_cast<float*>(out) + i, static_cast<const float*>(w) + i, x, y, rank, cols, scale, m); break;
      case F64: fold(static_cast<double*>(out) + i, static_cast<const double*>(w) + i, x, y, rank, cols, scale, m); break;
      case BF16: fold(static_cast<float*>(out) + i, static_cast<const bf16*>(w) + i, x, y, rank, cols, scale, m); break;
    }
  }
}

SN_KERNEL void sn_mix_count(int64_t* counts, const double* tau, int64_t high, int64_t n) {
  constexpr int low = 15;
  constexpr int64_t few = 64;  // looked at together: most such runs hold no entry of one bin
  uint32_t m[few], want = static_cast<uint32_t>(high);
  for (int64_t i = 0; i < n; i += few) {
    int64_t now = std::min(few, n - i);
    uint32_t any = 0;
    for (int64_t j = 0; j < now; j++) {
      m[j] = magnitude(tau[i + j]);
      any |= static_cast<uint32_t>(m[j] >> low == want);
    }
    if (high < 0) {
      for (int64_t j = 0; j < now; j++) counts[m[j] >> low]++;
    } else if (any) {
      for (int64_t j = 0; j < now; j++)
        if (m[j] >> low == want) counts[m[j] & ((1 << low) - 1)]++;
    }
  }
}

SN_KERNEL int64_t sn_mix_equals(const double* tau, uint32_t least, int64_t n) {
  int64_t equals = 0;
  for (int64_t j = 0; j < n; j++) equals += magnitude(tau[j]) == least;
  return equals;
}

SN_KERNEL void sn_mix_consensus(double* out, const double* const* tau, const double* weights, int members, int how, double lambda,
                                int64_t n) {
  double sum[block];
  for (int64_t i = 0; i < n; i += block) {
    int64_t m = std::min(block, n - i);
    memset(sum, 0, sizeof sum);
    for (int k = 0; k < members; k++) {
      const double* t = tau[k] + i;
      double w = weights[k];
      for (int64_t j = 0; j < m; j++) sum[j] += w * t[j];
    }
    if (how) elect(sum, tau, weights, members, i, m, how == 1);
    for (int64_t j = 0; j < m; j++) out[i + j] += lambda * sum[j];
  }
}

SN_KERNEL void sn_mix_trim(double* tau, uint32_t least, int64_t equals, int64_t n) {
  for (int64_t j = 0; j < n; j++) {
    uint32_t m = magnitude(tau[j]);
    tau[j] = m > least || (m == least && j < equals) ? tau[j] : 0;
  }
}

SN_KERNEL void sn_mix_drop(double* tau, uint64_t stream, int64_t at, uint64_t below, double gain, int64_t n) {
  for (int64_t j = 0; j < n; j++) {
    uint64_t x = (stream ^ static_cast<uint64_t>(at + j)) + 0x9e3779b97f4a7c15;  // SplitMix64's finaliser, as in rng.go
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    x ^= x >> 31;
    tau[j] = x >> 11 < below ? tau[j] * gain : 0;
  }
}

}  // extern "C"
