// Differentiable blocks that would otherwise take many ops or hold a [tokens, vocabulary] tensor.
#include "common.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <algorithm>
#include <cmath>
#include <numeric>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::Variable;
using torch::autograd::variable_list;

namespace {

// RMSNorm (Zhang & Sennrich, arXiv 1910.07467): y = x / rms(x) * w, statistics in fp32. Llama rounds
// the normalised x to x's dtype before multiplying; Gemma multiplies by 1 + w in fp32 and rounds last.
struct RMSNorm : Function<RMSNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps, bool plus_one) {
    Tensor xf = x.to(at::kFloat);
    Tensor rstd = (xf.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();  // [..., 1]
    ctx->save_for_backward({x, w, rstd});
    ctx->saved_data["plus_one"] = plus_one;
    Tensor xhat = xf * rstd;
    if (plus_one) return xhat.mul(w.to(at::kFloat) + 1).to(x.scalar_type());
    return xhat.to(x.scalar_type()) * w;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &rstd = saved[2];
    Tensor gain = w.to(at::kFloat);
    if (ctx->saved_data["plus_one"].toBool()) gain = gain + 1;
    Tensor g = grad[0].to(at::kFloat);
    Tensor xhat = x.to(at::kFloat) * rstd;
    Tensor dx, dw;
    if (ctx->needs_input_grad(0)) {
      Tensor gw = g * gain;
      dx = ((gw - xhat * (gw * xhat).mean(-1, true)) * rstd).to(x.scalar_type());
    }
    if (ctx->needs_input_grad(1))
      dw = (g * xhat).reshape({-1, w.size(0)}).sum(0).to(w.scalar_type());
    return {dx, dw, Tensor(), Tensor()};
  }
};

// Rotary position embedding (Su et al., arXiv 2104.09864) in the half-split layout of Hugging Face:
// pairs are (x[i], x[i + D/2]). x [B, H, T, D]; cos, sin [B or 1, 1, T, D/2] in fp32.
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

struct Rope : Function<Rope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos, const Tensor& sin) {
    Tensor c = cos.to(x.scalar_type()), s = sin.to(x.scalar_type());
    ctx->save_for_backward({c, s});
    return rotate(x, c, s);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    // A rotation's transpose is the rotation by the negative angle.
    return {rotate(grad[0], saved[0], saved[1].neg()), Tensor(), Tensor()};
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

// Log-probability of each target, entropy of each distribution and whether the target is the most likely
// token, [N] fp32 each, of the logits h W^T. Works in chunks of tokens, forward and backward: no [N, V] tensor ever exists.
struct LinearLogProb : Function<LinearLogProb> {
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
    return {logp, entropy, correct};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
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
      if (!dz.defined()) continue;
      if (inv_temp != 1) dz.mul_(inv_temp);
      if (softcap > 0) dz.mul_(1 - (c.capped / softcap).square_());
      dz = dz.to(w.scalar_type());
      if (need_h) dh.narrow(0, i, k).copy_(at::matmul(dz, w));
      if (need_w) dw.addmm_(dz.t(), hc);
    }
    return {dh, dw, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

// Settings of one sampling step; see sn_sample.
struct Sampling {
  double temperature;
  int64_t top_k;
  double top_p, min_p;
};

// pick draws one token of a row of logits by inverse CDF in id order with u in [0,1) after the filters in
// transformers' order (top-k, top-p, min-p), and returns its log-probability under the unfiltered
// softmax at this temperature: what PPO's ratio needs.
std::pair<int64_t, float> pick(const float* z, int64_t V, double u, const Sampling& s) {
  float top = *std::max_element(z, z + V);
  if (s.temperature == 0) {
    int64_t best = std::max_element(z, z + V) - z;
    double sum = 0;
    for (int64_t i = 0; i < V; i++) sum += std::exp(double(z[i] - top));
    return {best, float(-std::log(sum))};
  }
  std::vector<double> p(V);
  double total = 0;
  for (int64_t i = 0; i < V; i++) total += p[i] = std::exp((double(z[i]) - top) / s.temperature);
  std::vector<char> keep(V, 1);
  bool top_k = s.top_k > 0 && s.top_k < V, top_p = s.top_p < 1;
  if (top_k || top_p) {
    std::vector<int64_t> order(V);
    std::iota(order.begin(), order.end(), 0);
    auto above = [&](int64_t a, int64_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; };
    int64_t k = top_k ? s.top_k : V;
    if (top_p) std::sort(order.begin(), order.end(), above);
    else std::nth_element(order.begin(), order.begin() + k - 1, order.end(), above);
    std::fill(keep.begin(), keep.end(), 0);
    double mass = 0, kept = 0;
    for (int64_t i = 0; i < k; i++) mass += p[order[i]];
    for (int64_t i = 0; i < k; i++) {
      // The token that crosses top_p stays; at least one always does.
      if (top_p && i > 0 && kept >= s.top_p * mass) break;
      keep[order[i]] = 1;
      kept += p[order[i]];
    }
  }
  if (s.min_p > 0)
    for (int64_t i = 0; i < V; i++)
      if (p[i] < s.min_p) keep[i] = 0;  // the largest p is 1 here, so min_p needs no scaling
  double mass = 0;
  for (int64_t i = 0; i < V; i++)
    if (keep[i]) mass += p[i];
  double target = u * mass, run = 0;
  int64_t id = -1;
  for (int64_t i = 0; i < V; i++) {
    if (!keep[i] || p[i] == 0) continue;
    id = i;
    run += p[i];
    if (run > target) break;
  }
  return {id, float((double(z[id]) - top) / s.temperature - std::log(total))};
}

}  // namespace

extern "C" {

char* sn_sdpa(sn_tensor* out, sn_tensor q, sn_tensor k, sn_tensor v, sn_tensor mask, int causal,
              double scale, int gqa) {
  return sn::guard([&] {
    std::optional<Tensor> m;
    if (mask) m = sn::ref(mask);
    *out = sn::own(at::scaled_dot_product_attention(sn::ref(q), sn::ref(k), sn::ref(v), m, 0.0, causal != 0,
                                                    scale, gqa != 0));
  });
}

char* sn_rms_norm(sn_tensor* out, sn_tensor x, sn_tensor w, double eps, int plus_one) {
  return sn::guard([&] { *out = sn::own(RMSNorm::apply(sn::ref(x), sn::ref(w), eps, plus_one != 0)); });
}

char* sn_rope(sn_tensor* out, sn_tensor x, sn_tensor cos, sn_tensor sin) {
  return sn::guard([&] { *out = sn::own(Rope::apply(sn::ref(x), sn::ref(cos), sn::ref(sin))); });
}

char* sn_linear_logprob(sn_tensor* out, sn_tensor h, sn_tensor w, sn_tensor targets, double inv_temp,
                        double softcap, int64_t chunk) {
  return sn::guard([&] {
    const Tensor &H = sn::ref(h), &W = sn::ref(w), &T = sn::ref(targets);
    TORCH_CHECK(H.dim() == 2 && W.dim() == 2 && T.dim() == 1 && H.size(0) == T.size(0) && H.size(1) == W.size(1),
                "want h [N, D], w [V, D], targets [N]");
    auto r = LinearLogProb::apply(H, W, T, inv_temp, softcap, chunk);
    for (int i = 0; i < 3; i++) out[i] = sn::own(r[i]);
  });
}

// lincomb: each element is summed in double with the error of every addition carried along (Knuth's two-sum) and
// rounded once, so that equal members give themselves bit for bit at any weights that add up to 1, and the order
// of members does not matter.
char* sn_lincomb(sn_tensor dst, sn_tensor* src, const double* weights, int n) {
  return sn::guard([&] {
    Tensor& y = sn::ref(dst);
    std::vector<Tensor> xs = sn::list(src, n);
    for (Tensor& x : xs) {
      TORCH_CHECK(x.sizes() == y.sizes(), "shapes differ");
      x = x.detach().cpu().contiguous();
    }
    bool direct = y.device().is_cpu() && y.is_contiguous();
    Tensor result = direct ? y.detach() : at::empty(y.sizes(), y.options().device(at::kCPU));
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, result.scalar_type(), "lincomb", [&] {
      scalar_t* out = result.data_ptr<scalar_t>();
      at::parallel_for(0, result.numel(), 1 << 15, [&](int64_t from, int64_t to) {
        constexpr int64_t block = 1024;
        double sum[block], err[block];
        for (int64_t i = from; i < to; i += block) {
          int64_t m = std::min<int64_t>(block, to - i);
          std::fill(sum, sum + m, 0);
          std::fill(err, err + m, 0);
          for (int k = 0; k < n; k++) {
            if (weights[k] == 0) continue;  // 0 times infinity is not 0
            double w = weights[k];
            AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, xs[k].scalar_type(), "lincomb", [&] {
              const scalar_t* x = xs[k].data_ptr<scalar_t>() + i;
              for (int64_t j = 0; j < m; j++) {
                double a = sum[j], b = w * static_cast<double>(x[j]), s = a + b, back = s - a;
                err[j] += (a - (s - back)) + (b - back);
                sum[j] = s;
              }
            });
          }
          for (int64_t j = 0; j < m; j++) out[i + j] = static_cast<scalar_t>(sum[j] + err[j]);
        }
      });
    });
    if (!direct) y.detach().copy_(result);
  });
}

char* sn_sample(sn_tensor* out, sn_tensor logits, const double* u, double temperature, int64_t top_k,
                double top_p, double min_p) {
  return sn::guard([&] {
    Tensor z = sn::ref(logits).detach().to(at::kCPU, at::kFloat).contiguous();
    TORCH_CHECK(z.dim() == 2 && z.size(1) > 0, "want logits [B, V]");
    TORCH_CHECK(at::isfinite(z.amax(-1)).all().item<bool>(), "logits are not finite");
    int64_t B = z.size(0), V = z.size(1);
    Tensor ids = at::empty({B}, at::kLong), logp = at::empty({B}, at::kFloat);
    Sampling s{temperature, top_k, top_p, min_p};
    const float* zp = z.data_ptr<float>();
    int64_t* ip = ids.data_ptr<int64_t>();
    float* lp = logp.data_ptr<float>();
    at::parallel_for(0, B, 1, [&](int64_t b0, int64_t b1) {
      for (int64_t b = b0; b < b1; b++) std::tie(ip[b], lp[b]) = pick(zp + b * V, V, u[b], s);
    });
    out[0] = sn::own(ids);
    out[1] = sn::own(logp);
  });
}

}  // extern "C"
