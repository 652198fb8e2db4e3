// Gradients.
#pragma once
#include "common.h"
#include "function.h"

#include <torch/csrc/autograd/autograd.h>

namespace {

// Known is y, as a function of two tensors whose gradients are known: see sn_with_grads.
struct Known : Function<Known> {
  static Tensor forward(AutogradContext* ctx, const Tensor& y, const Tensor&, const Tensor&, Tensor* grads) {
    for (int i = 0; i < 2; i++)
      if (grads[i].defined()) ctx->saved_data[name(i)] = std::move(grads[i]);
    return y.detach().clone();
  }
  // The gradients are handed out, not copied: there is no second backward.
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    TORCH_CHECK(!ctx->saved_data.empty(), "the gradients of this loss have been taken by a backward pass before");
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

}  // extern "C"
