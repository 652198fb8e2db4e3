// What a differentiable block of our own is written with.
#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/custom_function.h>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace sn {

// taken removes a tensor from the saved ones, for what is overwritten or handed on: a second backward must not find it.
inline Tensor taken(AutogradContext* ctx, const char* name) {
  auto at = ctx->saved_data.find(name);
  if (at == ctx->saved_data.end()) return Tensor();
  Tensor t = at->second.toTensor();
  ctx->saved_data.erase(at);
  return t;
}

}  // namespace sn
