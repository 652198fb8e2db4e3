// Lets gotch 0.9.1, whose generated calls were made for libtorch 2.1, compile against libtorch 2.11.
// env.sh force-includes this file into every C++ file of the build; only gotch's own directory holds
// torch_api.h, so everywhere else it costs nothing.
//
// A change here must raise BUILD in scripts/libtorch.sh: Go's build cache does not look inside headers.
#pragma once
#if __has_include("torch_api.h")
#include <torch/torch.h>

namespace at {

// 2.11 added alpha, dtype and algorithm parameters in front of transpose_result.
inline Tensor _cslt_sparse_mm(const Tensor&, const Tensor&, const Tensor&, bool) {
  TORCH_CHECK(false, "_cslt_sparse_mm: gotch's signature does not exist in libtorch 2.11");
}

// 2.11 returns one tensor, takes scales first, and has no amax output.
inline std::tuple<Tensor, Tensor> _scaled_mm(const Tensor&, const Tensor&, const Tensor&,
                                             std::optional<ScalarType>, const Tensor&,
                                             const Tensor&, const Tensor&) {
  TORCH_CHECK(false, "_scaled_mm: gotch's signature does not exist in libtorch 2.11");
}

inline std::tuple<Tensor, Tensor> _scaled_mm_out(Tensor&, Tensor&, const Tensor&, const Tensor&,
                                                 const Tensor&, std::optional<ScalarType>,
                                                 const Tensor&, const Tensor&, const Tensor&) {
  TORCH_CHECK(false, "_scaled_mm_out: gotch's signature does not exist in libtorch 2.11");
}

// gotch passes an absent mask as an undefined tensor, which 2.11 rejects: turn it into nullopt.
inline Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                           Tensor mask, double dropout_p, bool is_causal,
                                           std::optional<double> scale) {
  std::optional<Tensor> m;
  if (mask.defined()) m = mask;
  return at::scaled_dot_product_attention(q, k, v, m, dropout_p, is_causal, scale, false);
}

}  // namespace at
#endif
