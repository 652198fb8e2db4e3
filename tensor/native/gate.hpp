// The gated MLP's act(gate)·up in one pass, forward and backward, and the map behind it.
#pragma once
#include "common.h"
#include "function.h"
#include "products.hpp"
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

// gate_back also writes the product over its gradient dy, where KEEP is false.
template <int ACT, bool KEEP, class T>
SN_INLINE void gate_back(const T* g, const T* u, T* dy, T* dg, T* du, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i += LANES) {
    int64_t n = to - i;
    v16 slope, d = sn::load(dy + i, n), up = sn::load(u + i, n);
    v16 a = sn::rounded(gated<ACT>(sn::load(g + i, n), &slope), g);
    sn::store(du + i, d * a, n);
    sn::store(dg + i, sn::rounded(d * up, g) * slope, n);
    if (!KEEP) sn::store(dy + i, a * up, n);
  }
}

#define SN_GATE(NAME, ACT, T)                                                                                          \
  SN_KERNEL void NAME(const T* g, const T* u, T* y, int64_t from, int64_t to) { gate<ACT>(g, u, y, from, to); }         \
  SN_KERNEL void NAME##_back(const T* g, const T* u, T* dy, T* dg, T* du, int64_t from, int64_t to, bool keep) {        \
    if (keep) gate_back<ACT, true>(g, u, dy, dg, du, from, to);                                                        \
    else gate_back<ACT, false>(g, u, dy, dg, du, from, to);                                                            \
  }
SN_GATE(silu_f32, SILU, float)
SN_GATE(silu_bf16, SILU, c10::BFloat16)
SN_GATE(gelu_f32, GELU_TANH, float)
SN_GATE(gelu_bf16, GELU_TANH, c10::BFloat16)
#undef SN_GATE

Tensor gate_all(const Tensor& g, const Tensor& u, bool silu) {
  Tensor y = at::empty_like(g);
  sn::parallel_for(g.numel(), 1 << 14, [&](int64_t from, int64_t to) {
    if (g.scalar_type() == at::kFloat) (silu ? silu_f32 : gelu_f32)(g.data_ptr<float>(), u.data_ptr<float>(), y.data_ptr<float>(), from, to);
    else (silu ? silu_bf16 : gelu_bf16)(g.data_ptr<at::BFloat16>(), u.data_ptr<at::BFloat16>(), y.data_ptr<at::BFloat16>(), from, to);
  });
  return y;
}

// The gradients of g and u from that of the product, which is replaced by the product itself unless it is to be kept.
std::pair<Tensor, Tensor> gate_all_back(const Tensor& g, const Tensor& u, const Tensor& dy, bool silu, bool keep) {
  Tensor dg = at::empty_like(g), du = at::empty_like(u);
  sn::parallel_for(g.numel(), 1 << 14, [&](int64_t from, int64_t to) {
    if (g.scalar_type() == at::kFloat)
      (silu ? silu_f32_back : gelu_f32_back)(g.data_ptr<float>(), u.data_ptr<float>(), dy.data_ptr<float>(), dg.data_ptr<float>(),
                                             du.data_ptr<float>(), from, to, keep);
    else
      (silu ? silu_bf16_back : gelu_bf16_back)(g.data_ptr<at::BFloat16>(), u.data_ptr<at::BFloat16>(), dy.data_ptr<at::BFloat16>(),
                                               dg.data_ptr<at::BFloat16>(), du.data_ptr<at::BFloat16>(), from, to, keep);
  });
  return {dg, du};
}

struct Gate : Function<Gate> {
  static Tensor forward(AutogradContext* ctx, const Tensor& g0, const Tensor& u0, int64_t act) {
    Tensor g = g0.contiguous(), u = u0.contiguous();
    ctx->save_for_backward({g, u});
    ctx->saved_data["act"] = act;
    return gate_all(g, u, act == SILU);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    auto [dg, du] = gate_all_back(saved[0], saved[1], grad[0].contiguous(), ctx->saved_data["act"].toInt() == SILU, true);
    return {dg, du, Tensor()};
  }
};

// GatedLinear keeps gate and up alone: the product between them and the map, as large as either, is made again where the
// gradients of both are, which need all of it but one multiplication.
struct GatedLinear : Function<GatedLinear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& g0, const Tensor& u0, const Tensor& w, const std::optional<Tensor>& b, int64_t act) {
    Tensor g = g0.contiguous(), u = u0.contiguous();
    ctx->save_for_backward({g, u, w});
    ctx->saved_data["act"] = act;
    ctx->saved_data["bias"] = b.has_value();
    return sn::linear(gate_all(g, u, act == SILU), w, b);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &g = saved[0], &u = saved[1], &w = saved[2];
    Tensor d = grad[0].reshape({-1, w.size(0)}).contiguous();      // [N, out]
    Tensor y = at::empty({d.size(0), w.size(1)}, d.options());     // [N, in]: the product's gradient, then the product if it is wanted
    sn::map_back(y, d, w);
    bool need_w = ctx->needs_input_grad(2);
    auto [dg, du] = gate_all_back(g, u, y, ctx->saved_data["act"].toInt() == SILU, !need_w);
    Tensor dw = need_w ? sn::map_grad(d, y) : Tensor();
    Tensor db = ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(3) ? d.sum(0) : Tensor();
    return {dg, du, dw, db, Tensor()};
  }
};

Tensor gate_of(const Tensor& g, const Tensor& u, int act) {
  TORCH_CHECK(g.sizes() == u.sizes(), "gate and up differ in shape");
  if (sn::fused(g, u) && act != GELU) return Gate::apply(g, u, int64_t(act));
  if (act == SILU) return at::silu(g) * u;
  return at::gelu(g, act == GELU_TANH ? "tanh" : "none") * u;
}

}  // namespace

// act: 0 silu, 1 gelu with erf, 2 gelu with tanh.
extern "C" char* sn_gate(sn_tensor* out, sn_tensor gate, sn_tensor up, int act) {
  return sn::guard([&] { *out = sn::own(gate_of(sn::ref(gate), sn::ref(up), act)); });
}

// The product times W^T, plus b, which may be absent.
extern "C" char* sn_gated_linear(sn_tensor* out, sn_tensor gate, sn_tensor up, sn_tensor w, sn_tensor b, int act) {
  return sn::guard([&] {
    const Tensor &g = sn::ref(gate), &u = sn::ref(up), &W = sn::ref(w);
    std::optional<Tensor> bias;
    if (b) bias = sn::ref(b);
    TORCH_CHECK(g.sizes() == u.sizes() && g.dim() > 0 && W.dim() == 2 && g.size(-1) == W.size(1), "want gate and up [..., in], w [out, in]");
    if (sn::fused(g, u, W) && act != GELU) *out = sn::own(GatedLinear::apply(g, u, W, bias, int64_t(act)));
    else *out = sn::own(linear_of(gate_of(g, u, act), W, bias));
  });
}
