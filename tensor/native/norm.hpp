// RMSNorm in one pass over the rows, forward and backward.
#pragma once
#include "common.h"
#include "function.h"
#include "team.h"
#include "simd.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <cmath>

namespace {

using sn::LANES;
using sn::v16;

// Shape of the rows: D elements each, gain w or 1+w.
struct Rows {
  int64_t D;
  float eps;
  bool plus_one;
};

// forward rows [from, to): y = x·r·gain with r = 1/rms(x), which it keeps. Llama rounds x·r to x's type first.
template <class T>
SN_INLINE void norm_rows(const T* x, const T* w, T* y, float* rstd, int64_t from, int64_t to, const Rows& s) {
  for (int64_t i = from; i < to; i++) {
    const T* xi = x + i * s.D;
    T* yi = y + i * s.D;
    v16 a = {}, b = {};
    int64_t j = 0;
    for (; j + 2 * LANES <= s.D; j += 2 * LANES) {
      v16 u = sn::load(xi + j), v = sn::load(xi + j + LANES);
      a += u * u;
      b += v * v;
    }
    for (; j < s.D; j += LANES) {
      v16 u = sn::load(xi + j, s.D - j);
      a += u * u;
    }
    float r = 1 / std::sqrt(sn::sum(a + b) / float(s.D) + s.eps);
    rstd[i] = r;
    for (j = 0; j < s.D; j += LANES) {
      int64_t n = s.D - j;
      v16 h = sn::load(xi + j, n) * r, g = sn::load(w + j, n);
      h = s.plus_one ? h * (g + 1.f) : sn::rounded(h, x) * g;
      sn::store(yi + j, h, n);
    }
  }
}

// backward rows [from, to): dx = r·(g·gain - x̂·mean(g·gain·x̂)) with x̂ = x·r, and dw += g·x̂ in fp32. dx or dw
// may be absent.
template <class T>
SN_INLINE void norm_back(const T* x, const T* w, const T* g, const float* rstd, T* dx, float* dw, int64_t from, int64_t to,
                         const Rows& s) {
  float one = s.plus_one ? 1.f : 0.f;
  for (int64_t i = from; i < to; i++) {
    const T *xi = x + i * s.D, *gi = g + i * s.D;
    float r = rstd[i];
    v16 dot = {};
    for (int64_t j = 0; j < s.D; j += LANES) {
      int64_t n = s.D - j;
      v16 gh = sn::load(gi + j, n) * (sn::load(xi + j, n) * r);
      dot += gh * (sn::load(w + j, n) + one);
      if (dw) sn::store(dw + j, sn::load(dw + j, n) + gh, n);
    }
    if (!dx) continue;
    float mean = sn::sum(dot) / float(s.D);
    for (int64_t j = 0; j < s.D; j += LANES) {
      int64_t n = s.D - j;
      v16 h = sn::load(xi + j, n) * r, gw = sn::load(gi + j, n) * (sn::load(w + j, n) + one);
      sn::store(dx + i * s.D + j, (gw - h * mean) * r, n);
    }
  }
}

SN_KERNEL void norm_f32(const float* x, const float* w, float* y, float* rstd, int64_t from, int64_t to, const Rows& s) {
  norm_rows(x, w, y, rstd, from, to, s);
}
SN_KERNEL void norm_bf16(const c10::BFloat16* x, const c10::BFloat16* w, c10::BFloat16* y, float* rstd, int64_t from, int64_t to,
                         const Rows& s) {
  norm_rows(x, w, y, rstd, from, to, s);
}
SN_KERNEL void norm_back_f32(const float* x, const float* w, const float* g, const float* rstd, float* dx, float* dw, int64_t from,
                             int64_t to, const Rows& s) {
  norm_back(x, w, g, rstd, dx, dw, from, to, s);
}
SN_KERNEL void norm_back_bf16(const c10::BFloat16* x, const c10::BFloat16* w, const c10::BFloat16* g, const float* rstd,
                              c10::BFloat16* dx, float* dw, int64_t from, int64_t to, const Rows& s) {
  norm_back(x, w, g, rstd, dx, dw, from, to, s);
}

// y and the rows' 1/rms.
std::pair<Tensor, Tensor> norm_all(const Tensor& x, const Tensor& w, double eps, bool plus_one) {
  Rows s{x.size(-1), float(eps), plus_one};
  int64_t rows = s.D ? x.numel() / s.D : 0;
  Tensor y = at::empty_like(x), rstd = at::empty({rows}, x.options().dtype(at::kFloat));
  float* r = rstd.data_ptr<float>();
  sn::parallel_for(rows, sn::grain(s.D), [&](int64_t from, int64_t to) {
    if (x.scalar_type() == at::kFloat) norm_f32(x.data_ptr<float>(), w.data_ptr<float>(), y.data_ptr<float>(), r, from, to, s);
    else norm_bf16(x.data_ptr<at::BFloat16>(), w.data_ptr<at::BFloat16>(), y.data_ptr<at::BFloat16>(), r, from, to, s);
  });
  return {y, rstd};
}

// Writes dx, which may be g itself or absent, and returns the weight's gradient if it is wanted, which is summed in blocks of
// rows that do not depend on the number of threads.
Tensor norm_all_back(const Tensor& x, const Tensor& w, const Tensor& rstd, const Tensor& g, bool plus_one, const Tensor& dx, bool need_w) {
  Rows s{x.size(-1), 0, plus_one};
  int64_t rows = rstd.numel(), block = std::max<int64_t>(16, (rows + 31) / 32), blocks = (rows + block - 1) / block;
  Tensor parts;
  if (need_w) parts = at::zeros({blocks, s.D}, rstd.options());
  const float* r = rstd.data_ptr<float>();
  sn::parallel_for(blocks, sn::grain(block * s.D), [&](int64_t b0, int64_t b1) {
    for (int64_t b = b0; b < b1; b++) {
      int64_t from = b * block, to = std::min(rows, from + block);
      float* dw = need_w ? parts.data_ptr<float>() + b * s.D : nullptr;
      if (x.scalar_type() == at::kFloat)
        norm_back_f32(x.data_ptr<float>(), w.data_ptr<float>(), g.data_ptr<float>(), r, dx.defined() ? dx.data_ptr<float>() : nullptr,
                      dw, from, to, s);
      else
        norm_back_bf16(x.data_ptr<at::BFloat16>(), w.data_ptr<at::BFloat16>(), g.data_ptr<at::BFloat16>(), r,
                       dx.defined() ? dx.data_ptr<at::BFloat16>() : nullptr, dw, from, to, s);
    }
  });
  return need_w ? parts.sum(0).to(w.scalar_type()) : Tensor();
}

// RMSNorm (Zhang & Sennrich, arXiv 1910.07467): y = x / rms(x) * w, statistics in fp32. Llama rounds
// the normalised x to x's dtype before multiplying; Gemma multiplies by 1 + w in fp32 and rounds last.
struct RMSNorm : Function<RMSNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x0, const Tensor& w, double eps, bool plus_one) {
    ctx->saved_data["plus_one"] = plus_one;
    if (sn::fused(x0, w) && w.dim() == 1 && w.size(0) == x0.size(-1)) return fast(ctx, x0.contiguous(), w.contiguous(), eps, plus_one);
    Tensor xf = x0.to(at::kFloat);
    Tensor rstd = (xf.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();  // [..., 1]
    ctx->save_for_backward({x0, w, rstd});
    Tensor xhat = xf * rstd;
    if (plus_one) return xhat.mul(w.to(at::kFloat) + 1).to(x0.scalar_type());
    return xhat.to(x0.scalar_type()) * w;
  }

  static Tensor fast(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps, bool plus_one) {
    auto [y, rstd] = norm_all(x, w, eps, plus_one);
    ctx->save_for_backward({x, w, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &rstd = saved[2];
    bool plus_one = ctx->saved_data["plus_one"].toBool();
    bool need_x = ctx->needs_input_grad(0), need_w = ctx->needs_input_grad(1);
    if (rstd.dim() == 1 && x.is_contiguous() && sn::fused(x, w, grad[0])) {
      Tensor g = grad[0].contiguous(), dx = need_x ? at::empty_like(x) : Tensor();
      Tensor dw = norm_all_back(x, w, rstd, g, plus_one, dx, need_w);
      return {dx, dw, Tensor(), Tensor()};
    }
    Tensor r = rstd.reshape(x.sizes().slice(0, x.dim() - 1)).unsqueeze(-1);
    Tensor gain = w.to(at::kFloat);
    if (plus_one) gain = gain + 1;
    Tensor g = grad[0].to(at::kFloat);
    Tensor xhat = x.to(at::kFloat) * r;
    Tensor dx, dw;
    if (need_x) {
      Tensor gw = g * gain;
      dx = ((gw - xhat * (gw * xhat).mean(-1, true)) * r).to(x.scalar_type());
    }
    if (need_w) dw = (g * xhat).reshape({-1, w.size(0)}).sum(0).to(w.scalar_type());
    return {dx, dw, Tensor(), Tensor()};
  }
};

}  // namespace

extern "C" char* sn_rms_norm(sn_tensor* out, sn_tensor x, sn_tensor w, double eps, int plus_one) {
  return sn::guard([&] { *out = sn::own(RMSNorm::apply(sn::ref(x), sn::ref(w), eps, plus_one != 0)); });
}
