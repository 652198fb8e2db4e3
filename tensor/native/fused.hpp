// Attention and linear combinations of weights.
#pragma once
#include "common.h"
#include "team.h"
#include "mix.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <atomic>

using at::Tensor;

namespace sn {

// mixes tells whether mix.h knows a tensor's type.
inline bool mixes(const Tensor& t) {
  at::ScalarType s = t.scalar_type();
  return s == at::kFloat || s == at::kBFloat16 || s == at::kHalf || s == at::kDouble;
}

}  // namespace sn

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
// of members does not matter. The arithmetic is mix.cpp's.
char* sn_lincomb(sn_tensor dst, sn_tensor* src, const double* weights, int n) {
  return sn::guard([&] {
    Tensor& y = sn::ref(dst);
    std::vector<Tensor> xs = sn::list(src, n);
    std::vector<int> types;
    std::vector<int64_t> sizes;
    for (Tensor& x : xs) {
      TORCH_CHECK(x.sizes() == y.sizes(), "shapes differ");
      TORCH_CHECK(sn::mixes(x), "not a type that is mixed");
      x = x.detach().cpu().contiguous();
      types.push_back(static_cast<int>(x.scalar_type()));
      sizes.push_back(x.element_size());
    }
    TORCH_CHECK(sn::mixes(y), "not a type that is mixed");
    bool direct = y.device().is_cpu() && y.is_contiguous();
    Tensor result = direct ? y.detach() : at::empty(y.sizes(), y.options().device(at::kCPU));
    char* out = static_cast<char*>(result.data_ptr());
    sn::parallel_for(result.numel(), 1 << 15, [&](int64_t from, int64_t to) {
      std::vector<const void*> at;
      for (int k = 0; k < n; k++) at.push_back(static_cast<const char*>(xs[k].data_ptr()) + from * sizes[k]);
      sn_mix_lincomb(out + from * result.element_size(), static_cast<int>(result.scalar_type()), at.data(), types.data(), weights,
                     n, to - from);
    });
    if (!direct) y.detach().copy_(result);
  });
}

// all_finite goes through a tensor once; libtorch's isfinite and all make five temporaries.
char* sn_all_finite(sn_tensor t, int* yes) {
  return sn::guard([&] {
    Tensor x = sn::ref(t).detach().cpu().contiguous();
    TORCH_CHECK(sn::mixes(x), "not a type of weights");
    const char* p = static_cast<const char*>(x.data_ptr());
    std::atomic<bool> bad{false};
    sn::parallel_for(x.numel(), 1 << 16, [&](int64_t from, int64_t to) {
      if (!sn_mix_finite(p + from * x.element_size(), static_cast<int>(x.scalar_type()), to - from)) bad = true;
    });
    *yes = !bad;
  });
}

}  // extern "C"
