// Compiles the kernels for each instruction set and picks one at run time.
// Contraction: see madd in decode_kernels.h. O3: whole tiles are kept in registers only when their loops are unrolled.
#pragma GCC optimize("O3", "fp-contract=off")
#include "decode_simd.h"

#include <math.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sn {

namespace base {
#define VL 4
#include "decode_kernels.h"
#include "panel_kernels.h"
#include "draw_kernels.h"
#include "attention_kernels.h"
#undef VL
}  // namespace base

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#define VL 8
#include "decode_kernels.h"
#include "panel_kernels.h"
#include "draw_kernels.h"
#include "attention_kernels.h"
#include "product_kernels.h"
#undef VL
}  // namespace avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")
namespace avx512 {
#define VL 16
#include "decode_kernels.h"
#include "panel_kernels.h"
#include "draw_kernels.h"
#include "attention_kernels.h"
#undef VL
}  // namespace avx512
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prefer-vector-width=512")
namespace avx512_bf16 {
#define VL 16
#define SN_DOT_BF16
#include "decode_kernels.h"
#include "panel_kernels.h"
#include "draw_kernels.h"
#include "attention_kernels.h"
#include "product_kernels.h"
#undef SN_DOT_BF16
#undef VL
}  // namespace avx512_bf16
#pragma GCC pop_options
#endif

namespace {

// Set is what one instruction set offers.
struct Set {
  Kernels<float> f32;
  Kernels<bf16> half;
  DrawKernels draw;
  AttentionKernels<float> attention_f32;
  AttentionKernels<bf16> attention_half;
  ProductKernels<float> products_f32;
  ProductKernels<bf16> products_half;
};

#define SN_SET(NAME, ...) \
  Set{NAME::kernels<float>(), NAME::kernels<bf16>(), NAME::draw_kernels(), NAME::attention_kernels<float>(), NAME::attention_kernels<bf16>(), __VA_ARGS__}

const Set& chosen() {
  static const Set set = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq");
    if (wide && __builtin_cpu_supports("avx512bf16"))
      return SN_SET(avx512_bf16, {}, avx512_bf16::product_kernels<bf16>());
    if (wide) return SN_SET(avx512, {}, {});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      return SN_SET(avx2, avx2::product_kernels<float>(), avx2::product_kernels<bf16>());
#endif
    return SN_SET(base, {}, {});
  }();
  return set;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
  return chosen().f32;
}
template <>
const Kernels<bf16>& kernels<bf16>() {
  return chosen().half;
}
const DrawKernels& draw_kernels() { return chosen().draw; }
template <>
const AttentionKernels<float>& attention_kernels<float>() {
  return chosen().attention_f32;
}
template <>
const AttentionKernels<bf16>& attention_kernels<bf16>() {
  return chosen().attention_half;
}

template <>
const ProductKernels<float>& product_kernels<float>() {
  return chosen().products_f32;
}
template <>
const ProductKernels<bf16>& product_kernels<bf16>() {
  return chosen().products_half;
}

float to_float(float x) { return x; }
float to_float(bf16 x) { return base::widen(x); }
template <>
float from_float<float>(float x) {
  return x;
}
template <>
bf16 from_float<bf16>(float x) {
  bf16 y;
  base::narrow(x, &y);
  return y;
}

}  // namespace sn
