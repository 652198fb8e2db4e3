// Sixteen floats at a time for the row kernels: loads and stores in fp32 and bf16, exp, sums.
//
// The type is the compiler's own vector: SN_KERNEL compiles a function once per instruction set (AVX-512, AVX2,
// the baseline) and picks at run time. Sums run over sixteen lanes whatever the set, so that it decides only
// where a multiply and an add are rounded once.
#pragma once
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#define SN_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SN_KERNEL
#endif
#define SN_INLINE static inline __attribute__((always_inline))

namespace sn {

constexpr int64_t LANES = 16;
typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef uint16_t h16 __attribute__((vector_size(32)));

// load reads n <= 16 elements and fills up with zeros.
SN_INLINE v16 load(const float* p, int64_t n = LANES) {
  v16 v = {};
  if (n >= LANES) memcpy(&v, p, sizeof v);
  else memcpy(&v, p, n * sizeof(float));
  return v;
}

SN_INLINE v16 load(const c10::BFloat16* p, int64_t n = LANES) {
  h16 h = {};
  if (n >= LANES) memcpy(&h, p, sizeof h);
  else memcpy(&h, p, n * sizeof(uint16_t));
  return (v16)(__builtin_convertvector(h, u16) << 16);
}

SN_INLINE void store(float* p, v16 v, int64_t n = LANES) {
  if (n >= LANES) memcpy(p, &v, sizeof v);
  else memcpy(p, &v, n * sizeof(float));
}

// half rounds to the nearest bf16, ties to even, as libtorch does.
SN_INLINE h16 half(v16 v) {
  u16 u = (u16)v;
  u16 r = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  r = (v != v) ? (u16){} + 0x7fc0 : r;
  return __builtin_convertvector(r, h16);
}

SN_INLINE void store(c10::BFloat16* p, v16 v, int64_t n = LANES) {
  h16 h = half(v);
  if (n >= LANES) memcpy(p, &h, sizeof h);
  else memcpy(p, &h, n * sizeof(uint16_t));
}

// rounded is v as it comes back from an array of T.
SN_INLINE v16 rounded(v16 v, const float*) { return v; }
SN_INLINE v16 rounded(v16 v, const c10::BFloat16*) { return (v16)(__builtin_convertvector(half(v), u16) << 16); }

SN_INLINE float sum(v16 v) {
  float s[LANES];
  memcpy(s, &v, sizeof v);
  for (int w = LANES / 2; w > 0; w /= 2)
    for (int i = 0; i < w; i++) s[i] += s[i + w];
  return s[0];
}

SN_INLINE float highest(v16 v) {
  float s[LANES];
  memcpy(s, &v, sizeof v);
  for (int w = LANES / 2; w > 0; w /= 2)
    for (int i = 0; i < w; i++) s[i] = s[i + w] > s[i] ? s[i + w] : s[i];
  return s[0];
}

// exponential is e^x to 2e-7 relative: 2^n times a polynomial on ±ln(2)/2 (Cephes' coefficients). Below -87 it
// is 0 and above 88 infinity.
SN_INLINE v16 exponential(v16 x) {
  const v16 zero = {};
  v16 c = x < -87.f ? zero - 87.f : x;
  c = c > 88.f ? zero + 88.f : c;
  const v16 magic = zero + 12582912.f;  // 1.5·2^23: adding it rounds to a whole number
  v16 n = (c * 1.44269504088896341f + magic) - magic;
  v16 r = c - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  v16 p = zero + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  i16 e = (__builtin_convertvector(n, i16) + 127) << 23;
  v16 y = p * (v16)e;
  y = x < -87.f ? zero : y;
  y = x > 88.f ? zero + __builtin_inff() : y;
  return x != x ? x : y;
}

// fused tells whether the row kernels take these tensors: on the CPU, all of one type, fp32 or bf16. Others go
// through libtorch's own ops.
template <class... Ts>
inline bool fused(const at::Tensor& t, const Ts&... more) {
  bool kind = t.device().is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
  return kind && ((more.device().is_cpu() && more.scalar_type() == t.scalar_type()) && ...);
}

// each runs f<T>(from, to) over ranges of n items, as many at a time as make some work worth a thread.
inline int64_t grain(int64_t item) { return std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, item)); }

}  // namespace sn
