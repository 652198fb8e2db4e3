// Gradients, clipping and the fused AdamW step.
#pragma once
#include "common.h"
#include "function.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <cmath>

namespace {

// Known is y, as a function of two tensors whose gradients are known: see sn_with_grads.
struct Known : Function<Known> {
  static Tensor forward(AutogradContext* ctx, const Tensor& y, const Tensor&, const Tensor&, Tensor* grads) {
    for (int i = 0; i < 2; i++)
      if (grads[i].defined()) ctx->saved_data[name(i)] = std::move(grads[i]);
    return y.detach().clone();
  }
  // The gradients are handed out, not copied: a second backward would find none.
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    variable_list out(4);
    double g = grad[0].item<double>();
    for (int i = 0; i < 2; i++) {
      out[i + 1] = sn::taken(ctx, name(i));
      if (out[i + 1].defined() && g != 1) out[i + 1].mul_(g);
    }
    return out;
  }
  static const char* name(int i) { return i ? "second" : "first"; }
};

}  // namespace

extern "C" {

char* sn_backward(sn_tensor* ys, sn_tensor* grads, int n) {
  return sn::guard([&] { torch::autograd::backward(sn::list(ys, n), sn::list(grads, n)); });
}

// The scalar y as a function of a and b whose gradients are those of grads; an absent one is not asked for. grads are
// emptied, so that nobody else holds what backward hands on.
char* sn_with_grads(sn_tensor* out, sn_tensor y, sn_tensor a, sn_tensor b, sn_tensor* grads) {
  return sn::guard([&] {
    Tensor known[2];
    for (int i = 0; i < 2; i++)
      if (grads[i]) known[i] = std::move(sn::ref(grads[i]));
    *out = sn::own(Known::apply(sn::ref(y), sn::ref(a), sn::ref(b), known));
  });
}

char* sn_zero_grads(sn_tensor* params, int n) {
  return sn::guard([&] {
    for (int i = 0; i < n; i++) sn::ref(params[i]).mutable_grad().reset();
  });
}

// Decoupled weight decay Adam (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2) over all tensors
// at once.
char* sn_adamw(sn_tensor* params, sn_tensor* grads, sn_tensor* m, sn_tensor* v, sn_tensor* steps, int n,
               double lr, double beta1, double beta2, double weight_decay, double eps) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> P = sn::list(params, n), G = sn::list(grads, n), M = sn::list(m, n),
                            V = sn::list(v, n), S = sn::list(steps, n);
    at::_foreach_add_(S, 1);
    at::_fused_adamw_(P, G, M, V, {}, S, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
                      /*maximize=*/false);
  });
}

// Global-norm clipping; one host sync, for the norm that is reported. A norm that is not finite
// leaves the gradients alone: the caller refuses the step.
char* sn_clip(sn_tensor* params, int n, double max_norm, double* total) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> G;
    for (int i = 0; i < n; i++) {
      at::Tensor g = sn::ref(params[i]).grad();
      if (g.defined()) G.push_back(g);
    }
    *total = 0;
    if (G.empty()) return;
    std::vector<at::Tensor> norms = at::_foreach_norm(G, 2, at::kFloat);
    *total = at::linalg_vector_norm(at::stack(norms)).item<double>();
    if (max_norm > 0 && std::isfinite(*total) && *total > max_norm)
      at::_foreach_mul_(G, max_norm / (*total + 1e-6));
  });
}

}  // extern "C"
