// Linear maps of a normalised input, as one differentiable block.
#pragma once
#include "norm.hpp"
#include "products.hpp"

namespace {

// NormedLinears keeps x alone, of maps n weights and then n biases or none: the normalised rows, which the gradient of every weight needs, are made again from it. The
// gradient of those rows takes their place once the weights have theirs, and is added up by the products themselves.
struct NormedLinears : Function<NormedLinears> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x0, const Tensor& gain0, at::TensorList maps, int64_t n, double eps, bool plus_one) {
    Tensor x = x0.contiguous(), gain = gain0.contiguous();
    auto [y, rstd] = norm_all(x, gain, eps, plus_one);
    bool biased = int64_t(maps.size()) > n;
    variable_list saved{x, gain}, out;
    for (int64_t i = 0; i < n; i++) {
      saved.push_back(maps[i]);
      out.push_back(sn::linear(y, maps[i], biased ? std::optional<Tensor>(maps[n + i]) : std::nullopt));
    }
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["biased"] = biased;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["plus_one"] = plus_one;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &gain = saved[1];
    bool plus_one = ctx->saved_data["plus_one"].toBool();
    auto [y, rstd] = norm_all(x, gain, ctx->saved_data["eps"].toDouble(), plus_one);
    bool biased = ctx->saved_data["biased"].toBool();
    size_t n = grad.size();
    variable_list out(2 + n + (biased ? n : 0) + 3);
    Tensor rows = y.view({-1, x.size(-1)});  // [N, in]
    for (size_t i = 0; i < n; i++) {
      grad[i] = grad[i].reshape({-1, saved[2 + i].size(0)}).contiguous();  // [N, out]
      if (ctx->needs_input_grad(2 + i)) out[2 + i] = sn::map_grad(grad[i], rows);
      if (biased && ctx->needs_input_grad(2 + n + i)) out[2 + n + i] = grad[i].sum(0);
    }
    bool need_x = ctx->needs_input_grad(0), need_gain = ctx->needs_input_grad(1);
    if (need_x || need_gain) {
      for (size_t i = 0; i < n; i++) sn::map_back(rows, grad[i], saved[2 + i], i > 0);
      out[1] = norm_all_back(x, gain, rstd, y, plus_one, need_x ? y : Tensor(), need_gain);
      if (need_x) out[0] = y;
    }
    return out;
  }
};

}  // namespace

// The maps w[i] of the normalised x, and b[i] more unless b is absent; of the row kernels' kinds alone.
extern "C" char* sn_normed_linears(sn_tensor* out, sn_tensor x, sn_tensor gain, sn_tensor* w, sn_tensor* b, int n, double eps,
                                   int plus_one) {
  return sn::guard([&] {
    const Tensor &X = sn::ref(x), &g = sn::ref(gain);
    std::vector<Tensor> maps = sn::list(w, n);
    TORCH_CHECK(sn::fused(X, g) && X.dim() > 0 && g.dim() == 1 && g.size(0) == X.size(-1),
                "want x [..., in] and its gain [in], both in fp32 or bf16 on the CPU");
    for (const Tensor& m : maps) TORCH_CHECK(sn::fused(X, m) && m.dim() == 2 && m.size(1) == X.size(-1), "want weights [out, in] of x's type");
    for (int i = 0; b && i < n; i++) maps.push_back(sn::ref(b[i]));
    variable_list ys = NormedLinears::apply(X, g, at::TensorList(maps), int64_t(n), eps, plus_one != 0);
    for (int i = 0; i < n; i++) out[i] = sn::own(ys[i]);
  });
}
