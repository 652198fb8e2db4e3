// The optimizer's step: the norm of all gradients, and AdamW with kernels of our own on the CPU and libtorch's elsewhere.
#pragma once
#include "adamw.h"
#include "common.h"
#include "team.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <algorithm>
#include <cmath>

namespace {

// Piece is a stretch of one tensor, the share of work that threads are handed; sums over pieces do not depend on them.
struct Piece {
  int tensor;
  int64_t from, to;
};

// cut appends the pieces of a tensor of n numbers.
inline void cut(std::vector<Piece>& all, int tensor, int64_t n) {
  constexpr int64_t size = 1 << 14;
  for (int64_t from = 0; from < n; from += size) all.push_back({tensor, from, std::min(n, from + size)});
}

// worth is how many pieces are worth a thread: those of 2^16 numbers, which take as long as it takes to wake it.
inline int64_t worth(const std::vector<Piece>& all) {
  int64_t numbers = 0, pieces = int64_t(all.size());
  for (const Piece& p : all) numbers += p.to - p.from;
  return pieces * (1 << 16) / std::max<int64_t>(numbers, 1) + 1;
}

inline bool plain(const at::Tensor& t) {
  return t.device().is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

inline uint16_t* halves(const at::Tensor& t) { return static_cast<uint16_t*>(t.data_ptr()); }
inline uint32_t* words(const at::Tensor& t) { return static_cast<uint32_t*>(t.data_ptr()); }

// check_state refuses what the kernels would read wrongly.
inline void check_state(const at::Tensor& w, const at::Tensor& rest, const at::Tensor& v) {
  TORCH_CHECK(plain(w) && w.is_contiguous() && v.is_contiguous() && v.scalar_type() == at::kFloat && v.numel() == w.numel(),
              "a float32 or bfloat16 weight on the CPU and its second moment are expected");
  bool half = w.scalar_type() == at::kBFloat16;
  TORCH_CHECK(rest.defined() == half && (!half || (rest.is_contiguous() && rest.scalar_type() == at::kShort && rest.numel() == w.numel())),
              "a bfloat16 weight needs the low half of its float32 value, and no other has one");
}

// Slot is where a parameter's numbers are, and its step. rest is null but for bf16.
struct Slot {
  at::Tensor grad;  // its elements in a row
  void *w, *rest;
  float *m, *v, *step;
  sn::AdamW by;

  Slot(const sn_adamw_state& s, const at::Tensor& g) : grad(g.contiguous()) {
    const at::Tensor &W = sn::ref(s.param), &M = sn::ref(s.m), &V = sn::ref(s.v), R = sn::opt(s.rest);
    check_state(W, R, V);
    TORCH_CHECK(g.scalar_type() == W.scalar_type() && g.device().is_cpu() && g.numel() == W.numel() && M.is_contiguous() &&
                    M.scalar_type() == at::kFloat && M.numel() == W.numel(),
                "a gradient of the weight's type and a float32 first moment are expected");
    w = W.data_ptr(), rest = R.defined() ? R.data_ptr() : nullptr;
    m = M.data_ptr<float>(), v = V.data_ptr<float>(), step = sn::ref(s.step).data_ptr<float>();
  }

  void move(int64_t from, int64_t to) const {
    int64_t n = to - from;
    if (rest)
      sn::adamw_half(by, static_cast<uint16_t*>(w) + from, static_cast<uint16_t*>(rest) + from, halves(grad) + from, m + from, v + from, n);
    else
      sn::adamw(by, static_cast<float*>(w) + from, static_cast<const float*>(grad.data_ptr()) + from, m + from, v + from, n);
  }
};

}  // namespace

extern "C" {

// The global L2 norm of all gradients; one host sync.
char* sn_grad_norm(sn_tensor* params, int n, double* total) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> own, others;
    for (int i = 0; i < n; i++) {
      at::Tensor g = sn::ref(params[i]).grad();
      if (!g.defined()) continue;
      if (plain(g)) own.push_back(g.contiguous());
      else others.push_back(g);
    }
    std::vector<Piece> all;
    for (size_t i = 0; i < own.size(); i++) cut(all, int(i), own[i].numel());
    std::vector<double> sums(all.size());
    sn::parallel_for(all.size(), worth(all), [&](int64_t from, int64_t to) {
      for (int64_t k = from; k < to; k++) {
        const Piece& p = all[k];
        const at::Tensor& g = own[p.tensor];
        sums[k] = g.scalar_type() == at::kFloat ? sn::squares(g.data_ptr<float>() + p.from, p.to - p.from)
                                                : sn::squares_half(halves(g) + p.from, p.to - p.from);
      }
    });
    double sum = 0;
    for (double s : sums) sum += s;
    if (!others.empty()) {
      double norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(others, 2, at::kFloat))).item<double>();
      sum += norm * norm;
    }
    *total = std::sqrt(sum);
  });
}

char* sn_scale_grads(sn_tensor* params, int n, double factor) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> G;
    for (int i = 0; i < n; i++)
      if (at::Tensor g = sn::ref(params[i]).grad(); g.defined()) G.push_back(g);
    if (!G.empty()) at::_foreach_mul_(G, factor);
  });
}

// Decoupled weight decay Adam (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2) over all tensors at once, by libtorch.
char* sn_fused_adamw(sn_tensor* params, sn_tensor* grads, sn_tensor* m, sn_tensor* v, sn_tensor* steps, int n, double lr,
                     double beta1, double beta2, double weight_decay, double eps) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> P = sn::list(params, n), G = sn::list(grads, n), M = sn::list(m, n), V = sn::list(v, n),
                            S = sn::list(steps, n);
    at::_foreach_add_(S, 1);
    at::_fused_adamw_(P, G, M, V, {}, S, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

// The same by our kernels, of gradients times clip and of parameters that have one: a single fork for all tensors.
char* sn_adamw(const sn_adamw_state* states, int n, double lr, double beta1, double beta2, double weight_decay, double eps, double clip) {
  return sn::guard([&] {
    at::NoGradGuard no_grad;
    std::vector<Slot> slots;
    std::vector<Piece> all;
    slots.reserve(n);
    for (int i = 0; i < n; i++) {
      const at::Tensor& g = sn::ref(states[i].param).grad();
      if (!g.defined()) continue;
      cut(all, int(slots.size()), g.numel());
      slots.emplace_back(states[i], g);
    }
    for (Slot& s : slots) s.by = sn::AdamW(*s.step += 1, lr, beta1, beta2, weight_decay, eps, clip);
    sn::parallel_for(all.size(), worth(all), [&](int64_t from, int64_t to) {
      for (int64_t k = from; k < to; k++) slots[all[k].tensor].move(all[k].from, all[k].to);
    });
    for (int i = 0; i < n; i++)
      if (sn::ref(states[i].param).grad().defined()) sn::ref(states[i].param).unsafeGetTensorImpl()->bump_version();
  });
}

// The float32 value of a bf16 weight, of w.numel() elements, and the way back.
char* sn_master_join(void* master, sn_tensor w, sn_tensor rest, sn_tensor v) {
  return sn::guard([&] {
    const at::Tensor &W = sn::ref(w), &R = sn::ref(rest), &V = sn::ref(v);
    check_state(W, R, V);
    sn::master_join(static_cast<uint32_t*>(master), halves(W), halves(R), words(V), W.numel());
  });
}

char* sn_master_split(const void* master, sn_tensor w, sn_tensor rest, sn_tensor v) {
  return sn::guard([&] {
    const at::Tensor &W = sn::ref(w), &R = sn::ref(rest), &V = sn::ref(v);
    check_state(W, R, V);
    sn::master_split(static_cast<const uint32_t*>(master), halves(W), halves(R), words(V), W.numel());
    W.unsafeGetTensorImpl()->bump_version();
  });
}

}  // extern "C"
