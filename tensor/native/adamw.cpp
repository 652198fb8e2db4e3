// AdamW's kernels: each element is read once and written once.
//
// fp-contract is off: each instruction set gives the same bits, those of libtorch's vectorised fused AdamW. Two
// multiplies are fused with an add, by name; processors that cannot do that compute it in software.
#pragma GCC optimize("O3", "fp-contract=off")
#include "adamw.h"

#include <cmath>
#include <cstring>

#if defined(__x86_64__)
#define SN_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SN_KERNEL
#endif
#define SN_INLINE static inline __attribute__((always_inline))

namespace sn {

namespace {

SN_INLINE uint32_t bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

SN_INLINE float number(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

// nearest is the high half of u rounded to the nearest, ties to even.
SN_INLINE uint32_t nearest(uint32_t u) { return (u + 0x7fff + ((u >> 16) & 1)) >> 16; }

// half rounds to bf16 as libtorch does: what is not a number becomes one that is not.
SN_INLINE uint16_t half(uint32_t u) { return static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : nearest(u)); }

// up tells, as a sign bit, whether u lies half way between two bf16 and the one farther from 0 is nearest.
SN_INLINE uint32_t up(uint32_t u) { return static_cast<uint32_t>((u & 0x1ffff) == 0x18000) << 31; }

// join is the master of a weight: the low half, and the high half without what rounding added.
SN_INLINE uint32_t join(uint32_t w, uint32_t low, uint32_t v) {
  uint32_t added = static_cast<uint32_t>(low + (v >> 31) > 0x8000);
  return ((w - added) << 16) | low;
}

// moved is a weight after the step, in this order: w·decay; m + lerp·(g - m); v·beta2 + ((1 - beta2)·g)·g; and then
// w + rate·m / (√v / root + eps).
SN_INLINE float moved(const AdamW& c, float w, float g, float* m, float* v) {
  float a = *m, b = *v;
  a = __builtin_fmaf(c.lerp, g - a, c.near ? a : g);
  b = __builtin_fmaf(c.square * g, g, b * c.beta2);
  *m = a;
  *v = b;
  return w * c.decay + c.rate * a / (__builtin_sqrtf(b) / c.root + c.eps);
}

}  // namespace

AdamW::AdamW(double step, double lr, double beta1, double beta2, double weight_decay, double eps, double clip)
    : clip(static_cast<float>(clip)), decay(static_cast<float>(1 - lr * weight_decay)), lerp(static_cast<float>(1 - beta1)),
      beta2(static_cast<float>(beta2)), square(static_cast<float>(1 - beta2)),
      root(static_cast<float>(std::sqrt(1 - std::pow(beta2, step)))), eps(static_cast<float>(eps)),
      rate(static_cast<float>(-(lr / (1 - std::pow(beta1, step))))), near(std::fabs(lerp) < 0.5f) {
  if (!near) lerp -= 1;
}

SN_KERNEL void adamw(const AdamW& step, float* __restrict w, const float* __restrict g, float* __restrict m,
                     float* __restrict v, int64_t n) {
  const AdamW c = step;
  for (int64_t i = 0; i < n; i++) w[i] = moved(c, w[i], g[i] * c.clip, m + i, v + i);
}

// Elements go through loops of one kind each, which compilers vectorise, a block at a time in the core's first cache.
SN_KERNEL void adamw_half(const AdamW& step, uint16_t* __restrict w, uint16_t* __restrict rest, const uint16_t* __restrict g,
                          float* __restrict m, float* __restrict v, int64_t n) {
  constexpr int64_t block = 512;
  const AdamW c = step;
  float p[block], d[block], b[block];
  for (int64_t at = 0; at < n; at += block, w += block, rest += block, g += block, m += block, v += block) {
    int64_t some = n - at < block ? n - at : block;
    for (int64_t i = 0; i < some; i++) {
      uint32_t signs = bits(v[i]);
      p[i] = number(join(w[i], rest[i], signs));
      b[i] = number(signs & 0x7fffffff);
    }
    for (int64_t i = 0; i < some; i++) d[i] = number(static_cast<uint32_t>(g[i]) << 16) * c.clip;
    for (int64_t i = 0; i < some; i++) p[i] = moved(c, p[i], d[i], m + i, b + i);
    for (int64_t i = 0; i < some; i++) {
      uint32_t u = bits(p[i]);
      w[i] = half(u);
      rest[i] = static_cast<uint16_t>(u);
      v[i] = number(bits(b[i]) | up(u));
    }
  }
}

SN_KERNEL void master_join(uint32_t* __restrict master, const uint16_t* __restrict w, const uint16_t* __restrict rest,
                           const uint32_t* __restrict v, int64_t n) {
  for (int64_t i = 0; i < n; i++) master[i] = join(w[i], rest[i], v[i]);
}

SN_KERNEL void master_split(const uint32_t* __restrict master, uint16_t* __restrict w, uint16_t* __restrict rest,
                            uint32_t* __restrict v, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t u = master[i];
    w[i] = half(u);
    rest[i] = static_cast<uint16_t>(u);
    v[i] = (v[i] & 0x7fffffff) | up(u);
  }
}

namespace {

constexpr int64_t lanes = 16;

SN_INLINE double widen(float x) { return x; }
SN_INLINE double widen(uint16_t x) { return number(static_cast<uint32_t>(x) << 16); }

// sum_squares sums in lanes, whatever the instruction set.
template <class T>
SN_INLINE double sum_squares(const T* x, int64_t n) {
  double s[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int l = 0; l < lanes; l++) {
      double d = widen(x[i + l]);
      s[l] += d * d;
    }
  for (int l = 0; i + l < n; l++) s[l] += widen(x[i + l]) * widen(x[i + l]);
  for (int w = lanes / 2; w > 0; w /= 2)
    for (int l = 0; l < w; l++) s[l] += s[l + w];
  return s[0];
}

}  // namespace

SN_KERNEL double squares(const float* x, int64_t n) { return sum_squares(x, n); }
SN_KERNEL double squares_half(const uint16_t* x, int64_t n) { return sum_squares(x, n); }

}  // namespace sn
