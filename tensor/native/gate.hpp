// The gated MLP's act(gate)·up in one pass, forward and backward.
#pragma once
#include "common.h"
#include "function.h"
#include "team.h"
#include "simd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

namespace {

using sn::LANES;
using sn::v16;

enum Act { SILU = 0, GELU = 1, GELU_TANH = 2 };

// Sigmoid of x, and of twice GELU's inner polynomial: 0.5(1 + tanh u) = σ(2u) (Hendrycks & Gimpel, arXiv 1606.08415).
SN_INLINE v16 sigmoid(v16 x) { return 1.f / (1.f + sn::exponential(-x)); }

// gated returns act(x), and its derivative in slope.
template <int ACT>
SN_INLINE v16 gated(v16 x, v16* slope) {
  if (ACT == SILU) {
    v16 s = sigmoid(x);
    *slope = s * (1.f + x * (1.f - s));
    return x * s;
  }
  constexpr float c = 1.5957691216057308f;  // 2·√(2/π)
  v16 s = sigmoid(c * (x + 0.044715f * x * x * x));
  *slope = s + x * s * (1.f - s) * c * (1.f + 0.134145f * x * x);
  return x * s;
}

template <int ACT, class T>
SN_INLINE void gate(const T* g, const T* u, T* y, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i += LANES) {
    v16 slope;
    v16 a = sn::rounded(gated<ACT>(sn::load(g + i, to - i), &slope), g);
    sn::store(y + i, a * sn::load(u + i, to - i), to - i);
  }
}

template <int ACT, class T>
SN_INLINE void gate_back(const T* g, const T* u, const T* dy, T* dg, T* du, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i += LANES) {
    int64_t n = to - i;
    v16 slope, d = sn::load(dy + i, n);
    v16 a = sn::rounded(gated<ACT>(sn::load(g + i, n), &slope), g);
    sn::store(du + i, d * a, n);
    sn::store(dg + i, sn::rounded(d * sn::load(u + i, n), g) * slope, n);
  }
}

#define SN_GATE(NAME, ACT, T)                                                                                          \
  SN_KERNEL void NAME(const T* g, const T* u, T* y, int64_t from, int64_t to) { gate<ACT>(g, u, y, from, to); }         \
  SN_KERNEL void NAME##_back(const T* g, const T* u, const T* dy, T* dg, T* du, int64_t from, int64_t to) {             \
    gate_back<ACT>(g, u, dy, dg, du, from, to);                                                                        \
  }
SN_GATE(silu_f32, SILU, float)
SN_GATE(silu_bf16, SILU, c10::BFloat16)
SN_GATE(gelu_f32, GELU_TANH, float)
SN_GATE(gelu_bf16, GELU_TANH, c10::BFloat16)
#undef SN_GATE

struct Gate : Function<Gate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& g0, const Tensor& u0, int64_t act) {
    Tensor g = g0.contiguous(), u = u0.contiguous(), y = at::empty_like(g);
    ctx->save_for_backward({g, u});
    ctx->saved_data["act"] = act;
    bool silu = act == SILU;
    sn::parallel_for(g.numel(), 1 << 14, [&](int64_t from, int64_t to) {
      if (g.scalar_type() == at::kFloat) (silu ? silu_f32 : gelu_f32)(g.data_ptr<float>(), u.data_ptr<float>(), y.data_ptr<float>(), from, to);
      else
        (silu ? silu_bf16 : gelu_bf16)(g.data_ptr<at::BFloat16>(), u.data_ptr<at::BFloat16>(), y.data_ptr<at::BFloat16>(), from, to);
    });
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &g = saved[0], &u = saved[1];
    bool silu = ctx->saved_data["act"].toInt() == SILU;
    Tensor dy = grad[0].contiguous(), dg = at::empty_like(g), du = at::empty_like(u);
    sn::parallel_for(g.numel(), 1 << 14, [&](int64_t from, int64_t to) {
      if (g.scalar_type() == at::kFloat)
        (silu ? silu_f32_back : gelu_f32_back)(g.data_ptr<float>(), u.data_ptr<float>(), dy.data_ptr<float>(), dg.data_ptr<float>(),
                                               du.data_ptr<float>(), from, to);
      else
        (silu ? silu_bf16_back : gelu_bf16_back)(g.data_ptr<at::BFloat16>(), u.data_ptr<at::BFloat16>(), dy.data_ptr<at::BFloat16>(),
                                                 dg.data_ptr<at::BFloat16>(), du.data_ptr<at::BFloat16>(), from, to);
    });
    return {dg, du, Tensor()};
  }
};

}  // namespace

// act: 0 silu, 1 gelu with erf, 2 gelu with tanh.
extern "C" char* sn_gate(sn_tensor* out, sn_tensor gate, sn_tensor up, int act) {
  return sn::guard([&] {
    const Tensor &g = sn::ref(gate), &u = sn::ref(up);
    TORCH_CHECK(g.sizes() == u.sizes(), "gate and up differ in shape");
    if (sn::fused(g, u) && act != GELU) *out = sn::own(Gate::apply(g, u, int64_t(act)));
    else if (act == SILU) *out = sn::own(at::silu(g) * u);
    else *out = sn::own(at::gelu(g, act == GELU_TANH ? "tanh" : "none") * u);
  });
}
