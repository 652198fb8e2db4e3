// Attention and linear combinations of weights.
#pragma once
#include "common.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <algorithm>
#include <cmath>

using at::Tensor;

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

}  // extern "C"
