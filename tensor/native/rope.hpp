// Rotary positions: one pass that reads a transposed view as it lies and writes where the next op reads.
#pragma once
#include "common.h"
#include "function.h"
#include "team.h"
#include "simd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>

namespace {

using sn::LANES;
using sn::v16;

// Turn says where the rows of x, y [B, H, T, 2·half] and of the angles [B or 1, 1, T, half] lie, in elements; sign is
// -1 for the rotation by the negative angle.
struct Turn {
  int64_t H, T, half;
  int64_t xb, xh, xt, yb, yh, yt, cb;
  float sign;
};

// rows [from, to) of x, counted with t fastest if by_time, else with h fastest: in the order of y's memory. Angles are
// rounded to x's type first, as transformers does.
template <class T>
SN_INLINE void turn_rows(const T* x, T* y, const float* cos, const float* sin, int64_t from, int64_t to, bool by_time, const Turn& s) {
  for (int64_t i = from; i < to; i++) {
    int64_t b = i / (s.H * s.T), r = i % (s.H * s.T);
    int64_t h = by_time ? r / s.T : r % s.H, t = by_time ? r % s.T : r / s.H;
    const T* xi = x + b * s.xb + h * s.xh + t * s.xt;
    T* yi = y + b * s.yb + h * s.yh + t * s.yt;
    const float *ci = cos + b * s.cb + t * s.half, *si = sin + b * s.cb + t * s.half;
    for (int64_t j = 0; j < s.half; j += LANES) {
      int64_t n = s.half - j;
      v16 u = sn::load(xi + j, n), v = sn::load(xi + s.half + j, n);
      v16 c = sn::rounded(sn::load(ci + j, n), x), d = sn::rounded(sn::load(si + j, n), x) * s.sign;
      sn::store(yi + j, u * c - v * d, n);
      sn::store(yi + s.half + j, v * c + u * d, n);
    }
  }
}

SN_KERNEL void turn_f32(const float* x, float* y, const float* cos, const float* sin, int64_t from, int64_t to, bool by_time,
                        const Turn& s) {
  turn_rows(x, y, cos, sin, from, to, by_time, s);
}
SN_KERNEL void turn_bf16(const c10::BFloat16* x, c10::BFloat16* y, const float* cos, const float* sin, int64_t from, int64_t to,
                         bool by_time, const Turn& s) {
  turn_rows(x, y, cos, sin, from, to, by_time, s);
}

// by_rows tells whether x is [B, T, H, D] in memory, seen as [B, H, T, D].
bool by_rows(const Tensor& x) { return x.stride(2) > x.stride(1); }

// like_rows makes a [B, H, T, D] tensor that lies as [B, T, H, D] if rows, else as its shape says.
Tensor empty_heads(const Tensor& x, bool rows) {
  if (!rows) return at::empty(x.sizes(), x.options());
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

// simple tells whether the kernel can take x, cos and sin.
bool simple(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  return sn::fused(x) && x.dim() == 4 && x.stride(3) == 1 && x.size(3) % 2 == 0 && cos.scalar_type() == at::kFloat && cos.is_contiguous() &&
         sin.is_contiguous() && cos.sizes() == sin.sizes() && cos.dim() == 4 && cos.size(1) == 1 && cos.size(2) == x.size(2) &&
         2 * cos.size(3) == x.size(3) && (cos.size(0) == 1 || cos.size(0) == x.size(0));
}

Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, float sign, bool rows) {
  Tensor y = empty_heads(x, rows);
  int64_t H = x.size(1), T = x.size(2), half = x.size(3) / 2;
  Turn s{H, T, half, x.stride(0), x.stride(1), x.stride(2), y.stride(0), y.stride(1), y.stride(2), cos.size(0) == 1 ? 0 : T * half, sign};
  const float *c = cos.data_ptr<float>(), *d = sin.data_ptr<float>();
  sn::parallel_for(x.size(0) * H * T, sn::grain(2 * half), [&](int64_t from, int64_t to) {
    if (x.scalar_type() == at::kFloat) turn_f32(x.data_ptr<float>(), y.data_ptr<float>(), c, d, from, to, !rows, s);
    else turn_bf16(x.data_ptr<at::BFloat16>(), y.data_ptr<at::BFloat16>(), c, d, from, to, !rows, s);
  });
  return y;
}

// rotate is the same in libtorch's ops; c and s are of x's type.
Tensor rotate(const Tensor& x, const Tensor& c, const Tensor& s) {
  int64_t half = x.size(-1) / 2;
  Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  Tensor y = at::empty_like(x, at::MemoryFormat::Contiguous);
  Tensor ya = y.narrow(-1, 0, half), yb = y.narrow(-1, half, half);
  at::mul_out(ya, a, c);
  ya.addcmul_(b, s, -1);
  at::mul_out(yb, b, c);
  yb.addcmul_(a, s);
  return y;
}

// Rotary position embedding (Su et al., arXiv 2104.09864) in the half-split layout of Hugging Face:
// pairs are (x[i], x[i + D/2]). x [B, H, T, D]; cos, sin [B or 1, 1, T, D/2] in fp32.
struct Rope : Function<Rope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    if (simple(x, cos, sin)) {
      // The gradient will lie as x does: what made x from a [B, T, H·D] product then needs no copy.
      ctx->saved_data["rows"] = by_rows(x);
      return turned(x, cos, sin, 1, false);
    }
    ctx->saved_data["rows"] = false;
    return rotate(x, cos.to(x.scalar_type()), sin.to(x.scalar_type()));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &cos = saved[0], &sin = saved[1];
    Tensor g = grad[0].dim() == 4 && grad[0].stride(3) == 1 ? grad[0] : grad[0].contiguous();
    // A rotation's transpose is the rotation by the negative angle.
    if (simple(g, cos, sin)) return {turned(g, cos, sin, -1, ctx->saved_data["rows"].toBool()), Tensor(), Tensor()};
    return {rotate(g, cos.to(g.scalar_type()), sin.to(g.scalar_type()).neg()), Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" char* sn_rope(sn_tensor* out, sn_tensor x, sn_tensor cos, sn_tensor sin) {
  return sn::guard([&] { *out = sn::own(Rope::apply(sn::ref(x), sn::ref(cos), sn::ref(sin))); });
}
