// Attention, linear combinations of weights, and drawing tokens.
#include "common.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <algorithm>
#include <cmath>
#include <numeric>

using at::Tensor;

namespace {

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
