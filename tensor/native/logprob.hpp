// Log-probability, entropy and correctness of targets under a vocabulary head, with no [tokens, vocabulary] tensor.
//
// Works in chunks of tokens through one buffer of logits, in the weights' type, that the gradient with respect to
// the logits overwrites. Each row is read twice: for its maximum, and for all sums at once.
#pragma once
#include "common.h"
#include "function.h"
#include "products.hpp"
#include "team.h"
#include "simd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <algorithm>
#include <cmath>

namespace {

using sn::LANES;
using sn::v16;

// Head says how logits become the soft-max's arguments: x = softcap·tanh(z/softcap)/temperature, without the cap if 0.
struct Head {
  int64_t V;
  float inv_temp, softcap;
};

SN_INLINE v16 capped(v16 z, const Head& s) {
  if (s.softcap <= 0) return z;
  v16 e = sn::exponential(z * (2 / s.softcap));
  return s.softcap * (1.f - 2.f / (1.f + e));
}

constexpr int64_t BLOCK = 64 * LANES;  // sums of fp32 are carried on in double after this many elements

// What a row's target is scored by: see sn_linear_logprob.
struct Scores {
  float *logp, *lse, *entropy, *correct;
};

template <class T>
SN_INLINE void score_rows(const T* z, const int64_t* target, int64_t from, int64_t to, const Head& s, const Scores& out) {
  for (int64_t i = from; i < to; i++) {
    const T* zi = z + i * s.V;
    v16 top = v16{} - __builtin_inff();
    for (int64_t j = 0; j < s.V; j += LANES) {
      int64_t n = s.V - j;
      // A last, short vector is filled up from the row's end, which it overlaps.
      v16 x = n >= LANES || s.V < LANES ? sn::load(zi + j, n) : sn::load(zi + s.V - LANES);
      if (s.V < LANES)
        for (int64_t k = n; k < LANES; k++) x[k] = x[0];
      top = x > top ? x : top;
    }
    v16 cap = capped(v16{} + sn::highest(top), s);
    float m = cap[0] * s.inv_temp;
    double sum = 0, moment = 0;
    for (int64_t b = 0; b < s.V; b += BLOCK) {
      v16 e0 = {}, e1 = {};
      for (int64_t j = b; j < std::min(s.V, b + BLOCK); j += LANES) {
        int64_t n = s.V - j;
        v16 x = capped(sn::load(zi + j, n), s) * s.inv_temp - m;
        v16 e = sn::exponential(x);
        if (n < LANES)
          for (int64_t k = n; k < LANES; k++) e[k] = 0;
        e0 += e;
        e1 += e * (x < -87.f ? v16{} : x);  // 0 times -infinity
      }
      sum += sn::sum(e0);
      moment += sn::sum(e1);
    }
    int64_t t = target[i];
    v16 zt = capped(v16{} + float(zi[t]), s);
    float log_sum = float(std::log(sum));
    out.lse[i] = m + log_sum;
    out.logp[i] = (zt[0] * s.inv_temp - m) - log_sum;
    out.entropy[i] = float(std::log(sum) - moment / sum);
    float best = sn::highest(top);
    bool first = float(zi[t]) == best;
    for (int64_t j = 0; first && j < t; j++) first = float(zi[j]) != best;
    out.correct[i] = first;
  }
}

// Upstream gradients of a chunk's rows: with respect to log-probability and entropy; either may be absent.
struct Upstream {
  const float *logp, *entropy;
};

// Overwrites logits with the loss's gradient: p = soft-max(x), d logp[t]/dx = onehot(t) - p, dH/dx = -p (log p + H).
template <class T>
SN_INLINE void slope_rows(T* z, const int64_t* target, const float* lse, const float* entropy, int64_t from, int64_t to, const Head& s,
                          const Upstream& g) {
  for (int64_t i = from; i < to; i++) {
    T* zi = z + i * s.V;
    int64_t t = target[i];
    float gl = g.logp ? g.logp[i] : 0, ge = g.entropy ? g.entropy[i] : 0, l = lse[i], H = entropy[i];
    float scale = s.inv_temp;
    v16 zt = capped(v16{} + float(zi[t]), s);
    for (int64_t j = 0; j < s.V; j += LANES) {
      int64_t n = s.V - j;
      v16 c = capped(sn::load(zi + j, n), s), lp = c * s.inv_temp - l;
      v16 p = sn::exponential(lp);
      v16 d = p * -gl;
      if (ge != 0) d -= p * ((lp < -87.f ? v16{} : lp) + H) * ge;
      if (s.softcap > 0) d *= 1.f - (c / s.softcap) * (c / s.softcap);
      sn::store(zi + j, d * scale, n);
    }
    float lp = zt[0] * s.inv_temp - l, p = std::exp(lp), d = gl * (1 - p) - ge * p * ((lp < -87.f ? 0 : lp) + H);
    if (s.softcap > 0) d *= 1 - (zt[0] / s.softcap) * (zt[0] / s.softcap);
    zi[t] = T(d * scale);
  }
}

SN_KERNEL void score_f32(const float* z, const int64_t* t, int64_t from, int64_t to, const Head& s, const Scores& out) {
  score_rows(z, t, from, to, s, out);
}
SN_KERNEL void score_bf16(const c10::BFloat16* z, const int64_t* t, int64_t from, int64_t to, const Head& s, const Scores& out) {
  score_rows(z, t, from, to, s, out);
}
SN_KERNEL void slope_f32(float* z, const int64_t* t, const float* lse, const float* h, int64_t from, int64_t to, const Head& s,
                         const Upstream& g) {
  slope_rows(z, t, lse, h, from, to, s, g);
}
SN_KERNEL void slope_bf16(c10::BFloat16* z, const int64_t* t, const float* lse, const float* h, int64_t from, int64_t to, const Head& s,
                          const Upstream& g) {
  slope_rows(z, t, lse, h, from, to, s, g);
}

// Work is one call's operands and results on the fast path; [N] each but h [N, D] and w [V, D].
struct Work {
  Tensor h, w, targets, logp, lse, entropy, correct;
  Head head;
  int64_t chunk;

  // Without lse and entropy, score is to compute them.
  Work(const Tensor& h0, const Tensor& w0, const Tensor& targets0, Head head, int64_t chunk, Tensor lse0 = {}, Tensor entropy0 = {})
      : h(h0.contiguous()), w(w0.contiguous()), targets(targets0.contiguous()), lse(lse0), entropy(entropy0), head(head), chunk(chunk) {
    if (lse.defined()) return;
    auto f32 = h.options().dtype(at::kFloat);
    logp = at::empty({n()}, f32), lse = at::empty({n()}, f32), entropy = at::empty({n()}, f32), correct = at::empty({n()}, f32);
  }

  int64_t n() const { return h.size(0); }
  int64_t rows(int64_t i) const { return std::min(chunk, n() - i); }
  Tensor buffer() const { return at::empty({std::min(chunk, n()), head.V}, w.options()); }

  // logits [k, V] of the chunk that begins at row i.
  Tensor logits(const Tensor& buf, int64_t i) const {
    Tensor z = buf.narrow(0, 0, rows(i));
    sn::map_into(z, h.narrow(0, i, rows(i)), w);
    return z;
  }

  void score(const Tensor& z, int64_t i) {
    Scores out{logp.data_ptr<float>() + i, lse.data_ptr<float>() + i, entropy.data_ptr<float>() + i, correct.data_ptr<float>() + i};
    const int64_t* t = targets.data_ptr<int64_t>() + i;
    sn::parallel_for(z.size(0), 1, [&](int64_t a, int64_t b) {
      if (z.scalar_type() == at::kFloat) score_f32(z.data_ptr<float>(), t, a, b, head, out);
      else score_bf16(z.data_ptr<at::BFloat16>(), t, a, b, head, out);
    });
  }

  void slope(Tensor& z, int64_t i, const Upstream& g) const {
    const int64_t* t = targets.data_ptr<int64_t>() + i;
    const float *l = lse.data_ptr<float>() + i, *e = entropy.data_ptr<float>() + i;
    sn::parallel_for(z.size(0), 1, [&](int64_t a, int64_t b) {
      if (z.scalar_type() == at::kFloat) slope_f32(z.data_ptr<float>(), t, l, e, a, b, head, g);
      else slope_bf16(z.data_ptr<at::BFloat16>(), t, l, e, a, b, head, g);
    });
  }

  // Writes the chunk's part of dh, and writes dw or adds to it; either may be absent.
  void spread(const Tensor& dz, int64_t i, const Tensor& dh, const Tensor& dw, bool first) const {
    if (dh.defined()) {
      Tensor d = dh.narrow(0, i, dz.size(0));
      sn::map_back(d, dz, w);
    }
    if (!dw.defined()) return;
    Tensor d = dw;
    sn::map_grad(d, dz, h.narrow(0, i, dz.size(0)), !first);
  }
};

// Slopes are the upstream gradients of all rows, of which either may be absent.
struct Slopes {
  Tensor logp, entropy;
  Slopes(const Tensor& l, const Tensor& e) {
    if (l.defined()) logp = l.to(at::kFloat).contiguous();
    if (e.defined()) entropy = e.to(at::kFloat).contiguous();
  }
  Upstream from(int64_t i) const {
    return {logp.defined() ? logp.data_ptr<float>() + i : nullptr, entropy.defined() ? entropy.data_ptr<float>() + i : nullptr};
  }
};

// Fast is the path of the row kernels.
struct Fast : Function<Fast> {
  static variable_list forward(AutogradContext* ctx, const Tensor& h, const Tensor& w, const Tensor& targets, double inv_temp,
                               double softcap, int64_t chunk, bool grads) {
    Work k(h, w, targets, Head{w.size(0), float(inv_temp), float(softcap)}, chunk);
    Tensor buf = k.buffer();
    for (int64_t i = 0; i < k.n(); i += chunk) {
      Tensor z = k.logits(buf, i);
      k.score(z, i);
    }
    ctx->save_for_backward({k.h, k.w, k.targets, k.lse, k.entropy});
    ctx->saved_data["inv_temp"] = inv_temp;
    ctx->saved_data["softcap"] = softcap;
    ctx->saved_data["chunk"] = chunk;
    // One chunk's logits are within the memory that backward needs anyhow.
    if (grads && k.n() <= chunk) ctx->saved_data["logits"] = buf;
    ctx->mark_non_differentiable({k.correct});
    ctx->set_materialize_grads(false);  // what nobody asks for stays absent instead of becoming zeros
    return {k.logp, k.entropy, k.correct};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    Tensor none;
    if (!grad[0].defined() && !grad[1].defined()) return {none, none, none, none, none, none, none};
    auto saved = ctx->get_saved_variables();
    Head head{saved[1].size(0), float(ctx->saved_data["inv_temp"].toDouble()), float(ctx->saved_data["softcap"].toDouble())};
    Work k(saved[0], saved[1], saved[2], head, ctx->saved_data["chunk"].toInt(), saved[3], saved[4]);
    Slopes g(grad[0], grad[1]);
    Tensor dh = ctx->needs_input_grad(0) ? at::empty_like(k.h) : none;
    Tensor dw = ctx->needs_input_grad(1) ? k.n() > 0 ? at::empty_like(k.w) : at::zeros_like(k.w) : none;
    Tensor kept = sn::taken(ctx, "logits"), buf = kept.defined() ? kept : k.buffer();
    for (int64_t i = 0; i < k.n(); i += k.chunk) {
      Tensor z = kept.defined() ? kept : k.logits(buf, i);
      k.slope(z, i, g.from(i));
      k.spread(z, i, dh, dw, i == 0);
    }
    return {dh, dw, none, none, none, none, none};
  }
};

// Logits of one chunk in fp32: the projection, the optional soft cap, the temperature.
// capped is softcap*tanh(z/softcap) before the temperature (z itself without a cap).
struct Chunk {
  Tensor z, capped;
  Chunk(const Tensor& h, const Tensor& wt, double inv_temp, double softcap) {
    capped = at::matmul(h, wt).to(at::kFloat);  // [n, V]
    if (softcap > 0) capped = (capped / softcap).tanh_().mul_(softcap);
    z = inv_temp == 1 ? capped : capped * inv_temp;
  }
};

// Plain is the same in libtorch's ops, for other devices and types; chunk by chunk too.
struct Plain : Function<Plain> {
  static variable_list forward(AutogradContext* ctx, const Tensor& h, const Tensor& w, const Tensor& targets,
                               double inv_temp, double softcap, int64_t chunk) {
    int64_t n = h.size(0);
    auto f32 = h.options().dtype(at::kFloat);
    Tensor logp = at::empty({n}, f32), lse = at::empty({n}, f32), entropy = at::empty({n}, f32), correct = at::empty({n}, f32);
    Tensor wt = w.t();
    for (int64_t i = 0; i < n; i += chunk) {
      int64_t k = std::min(chunk, n - i);
      Chunk c(h.narrow(0, i, k), wt, inv_temp, softcap);
      Tensor l = at::logsumexp(c.z, -1);  // [k]
      Tensor t = targets.narrow(0, i, k).unsqueeze(-1);
      logp.narrow(0, i, k).copy_(c.z.gather(-1, t).squeeze(-1) - l);
      lse.narrow(0, i, k).copy_(l);
      Tensor p = (c.z - l.unsqueeze(-1)).exp_();
      entropy.narrow(0, i, k).copy_(l - p.mul_(c.z).sum(-1));
      correct.narrow(0, i, k).copy_((c.z.argmax(-1, /*keepdim=*/true) == t).squeeze(-1));
    }
    ctx->save_for_backward({h, w, targets, lse, entropy});
    ctx->saved_data["inv_temp"] = inv_temp;
    ctx->saved_data["softcap"] = softcap;
    ctx->saved_data["chunk"] = chunk;
    ctx->mark_non_differentiable({correct});
    ctx->set_materialize_grads(false);
    return {logp, entropy, correct};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    if (!grad[0].defined() && !grad[1].defined()) return variable_list(6);
    auto saved = ctx->get_saved_variables();
    const Tensor &h = saved[0], &w = saved[1], &targets = saved[2], &lse = saved[3], &entropy = saved[4];
    double inv_temp = ctx->saved_data["inv_temp"].toDouble();
    double softcap = ctx->saved_data["softcap"].toDouble();
    int64_t chunk = ctx->saved_data["chunk"].toInt(), n = h.size(0);
    bool need_h = ctx->needs_input_grad(0), need_w = ctx->needs_input_grad(1);
    Tensor dh = need_h ? at::empty_like(h) : Tensor();
    Tensor dw = need_w ? at::zeros_like(w) : Tensor();
    Tensor wt = w.t();
    for (int64_t i = 0; i < n; i += chunk) {
      int64_t k = std::min(chunk, n - i);
      Tensor hc = h.narrow(0, i, k);
      Chunk c(hc, wt, inv_temp, softcap);
      Tensor logp = c.z - lse.narrow(0, i, k).unsqueeze(-1);  // [k, V]
      Tensor p = logp.exp();
      Tensor dz;
      if (grad[0].defined()) {  // d logp[t] / dz = onehot(t) - p
        Tensor g = grad[0].narrow(0, i, k).unsqueeze(-1);
        dz = p * g.neg();
        dz.scatter_add_(-1, targets.narrow(0, i, k).unsqueeze(-1), g.to(at::kFloat));
      }
      if (grad[1].defined()) {  // dH/dz = -p (log p + H)
        Tensor g = grad[1].narrow(0, i, k).unsqueeze(-1);
        Tensor de = p * (logp + entropy.narrow(0, i, k).unsqueeze(-1)) * g.neg();
        dz = dz.defined() ? dz.add_(de) : de;
      }
      if (inv_temp != 1) dz.mul_(inv_temp);
      if (softcap > 0) dz.mul_(1 - (c.capped / softcap).square_());
      dz = dz.to(w.scalar_type());
      if (need_h) dh.narrow(0, i, k).copy_(at::matmul(dz, w));
      if (need_w) dw.addmm_(dz.t(), hc);
    }
    return {dh, dw, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

namespace {

// rows tells whether the row kernels take a head's operands.
bool rows(const Tensor& h, const Tensor& w, const Tensor& t) {
  TORCH_CHECK(h.dim() == 2 && w.dim() == 2 && t.dim() == 1 && h.size(0) == t.size(0) && h.size(1) == w.size(1),
              "want h [N, D], w [V, D], targets [N]");
  return sn::fused(h, w) && t.device().is_cpu() && t.scalar_type() == at::kLong;
}

void within(const Tensor& t, const Tensor& w) {
  if (t.numel() == 0) return;
  TORCH_CHECK(t.min().item<int64_t>() >= 0 && t.max().item<int64_t>() < w.size(0), "a target is outside the vocabulary");
}

}  // namespace

// Of the logits h W^T: the log-probability of each target, the entropy of its distribution and whether the target is
// the most likely token, [N] fp32 each. In chunks of that many tokens.
extern "C" char* sn_linear_logprob(sn_tensor* out, sn_tensor h, sn_tensor w, sn_tensor targets, double inv_temp, double softcap,
                                   int64_t chunk) {
  return sn::guard([&] {
    const Tensor &H = sn::ref(h), &W = sn::ref(w), &T = sn::ref(targets);
    bool fast = rows(H, W, T), grads = at::GradMode::is_enabled() && (H.requires_grad() || W.requires_grad());
    if (fast) within(T, W);
    variable_list r = fast ? Fast::apply(H, W, T, inv_temp, softcap, chunk, grads) : Plain::apply(H, W, T, inv_temp, softcap, chunk);
    for (int i = 0; i < 3; i++) out[i] = sn::own(r[i]);
  });
}

extern "C" char* sn_logprob_rows(int* yes, sn_tensor h, sn_tensor w, sn_tensor targets) {
  return sn::guard([&] { *yes = rows(sn::ref(h), sn::ref(w), sn::ref(targets)); });
}

// One chunk: its logits into buf [n or more, V], and of them log-probabilities, entropies, correctness and log-sums [n].
extern "C" char* sn_logprob_score(sn_tensor* out, sn_tensor buf, sn_tensor h, sn_tensor w, sn_tensor targets, double inv_temp, double softcap) {
  return sn::guard([&] {
    at::NoGradGuard none;
    const Tensor &H = sn::ref(h), &W = sn::ref(w), &T = sn::ref(targets);
    TORCH_CHECK(rows(H, W, T), "not on the path of the row kernels");
    within(T, W);
    Work k(H, W, T, Head{W.size(0), float(inv_temp), float(softcap)}, H.size(0));
    Tensor z = k.logits(sn::ref(buf), 0);
    k.score(z, 0);
    Tensor all[] = {k.logp, k.entropy, k.correct, k.lse};
    for (int i = 0; i < 4; i++) out[i] = sn::own(all[i]);
  });
}

// The gradients of that chunk, whose logits in buf they overwrite: dh [n, D] is written, dw [V, D] written if first, else
// added to; either may be absent, and so may the upstream gradients of log-probabilities and entropies [n].
extern "C" char* sn_logprob_spread(sn_tensor dh, sn_tensor dw, int first, sn_tensor buf, sn_tensor h, sn_tensor w, sn_tensor targets,
                                   sn_tensor lse, sn_tensor entropy, sn_tensor glogp, sn_tensor gentropy, double inv_temp, double softcap) {
  return sn::guard([&] {
    at::NoGradGuard none;
    const Tensor& W = sn::ref(w);
    Work k(sn::ref(h), W, sn::ref(targets), Head{W.size(0), float(inv_temp), float(softcap)}, sn::ref(h).size(0), sn::ref(lse), sn::ref(entropy));
    Tensor z = sn::ref(buf).narrow(0, 0, k.n());
    Slopes g(sn::opt(glogp), sn::opt(gentropy));
    k.slope(z, 0, g.from(0));
    k.spread(z, 0, sn::opt(dh), sn::opt(dw), first != 0);
  });
}
