// Attention over rows of any length that lie in one line of tokens: nothing is computed for padding, and tokens that rows
// begin with alike stand in the line once.
#pragma once
#include "common.h"
#include "function.h"
#include "team.h"
#include "decode_simd.h"
#include "simd.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <atomic>
#include <memory>

namespace {

// drain runs items on all threads, each taking the next one when it is done; scratch is each thread's own.
template <class F>
void drain(int64_t items, int64_t scratch, F&& run) {
  std::atomic<int64_t> next{0};
  int64_t team = std::min<int64_t>(items, at::get_num_threads());
  sn::parallel_for(team, 1, [&](int64_t, int64_t) {
    std::unique_ptr<float[]> own(new float[scratch]);
    for (int64_t i; (i = next++) < items;) run(i, own.get());
  });
}

template <class T>
sn::AttentionHeads<T> heads(const Tensor& x) {  // [1, H, N, K]
  return {static_cast<T*>(x.data_ptr()), x.stride(1), x.stride(2)};
}

// Lines is the int64 tensors that lay out rows, the numbers of the formula, and the queries' side.
struct Lines {
  Tensor slots, starts, own, trees;  // [S], [R+1], [R], [trees+1]: the first row of each tree
  int64_t window;
  double scale, cap;

  int64_t rows() const { return own.numel(); }
  int64_t longest() const {
    int64_t most = 0, *at = starts.data_ptr<int64_t>();
    for (int64_t r = 0; r < rows(); r++) most = std::max(most, at[r + 1] - at[r]);
    return most;
  }
  template <class T>
  sn::AttentionJob<T> job(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& lse) const {
    sn::AttentionJob<T> j{};
    j.rows = {slots.data_ptr<int64_t>(), starts.data_ptr<int64_t>(), own.data_ptr<int64_t>(), window};
    j.tokens = q.size(2), j.K = q.size(3), j.share = q.size(1) / k.size(1);
    j.scale = scale, j.cap = cap;
    j.q = heads<T>(q), j.k = heads<T>(k), j.v = heads<T>(v), j.o = heads<T>(o);
    j.lse = lse.data_ptr<float>();
    return j;
  }
};

template <class T>
void rows_forward(const Lines& l, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o, const Tensor& lse) {
  auto job = l.job<T>(q, k, v, o, lse);
  auto& kernels = sn::attention_kernels<T>();
  int64_t H = q.size(1);
  drain(l.rows() * H, kernels.scratch(l.longest(), job.K, false), [&](int64_t i, float* s) { kernels.forward(job, i / H, i % H, s); });
}

// Rows of a tree share tokens, whose gradients they add to: one thread takes a head of all of them, in their order.
template <class T>
void rows_backward(const Lines& l, sn::AttentionJob<T> job, const Tensor& g, const Tensor& dq, const Tensor& dk, const Tensor& dv) {
  job.g = heads<T>(g), job.dq = heads<T>(dq), job.dk = heads<float>(dk), job.dv = heads<float>(dv);
  auto& kernels = sn::attention_kernels<T>();
  const int64_t* trees = l.trees.data_ptr<int64_t>();
  int64_t H = dq.size(1);
  drain((l.trees.numel() - 1) * H, kernels.scratch(l.longest(), job.K, true), [&](int64_t i, float* s) {
    for (int64_t r = trees[i / H]; r < trees[i / H + 1]; r++) kernels.backward(job, r, i % H, s);
  });
}

// lying is the shape that x's elements have in memory where linear layers write and read them: [1, N, H, K].
std::vector<int64_t> lying(const Tensor& x) { return {1, x.size(2), x.size(1), x.size(3)}; }

Tensor inner(const Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

struct RowsAttention : Function<RowsAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q0, const Tensor& k0, const Tensor& v0, const Lines& l) {
    Tensor q = inner(q0), k = inner(k0), v = inner(v0);
    Tensor y = at::empty(lying(q), q.options()), o = y.transpose(1, 2), lse = at::empty({q.size(1), q.size(2)}, q.options().dtype(at::kFloat));
    if (q.scalar_type() == at::kFloat) rows_forward<float>(l, q, k, v, o, lse);
    else rows_forward<sn::bf16>(l, q, k, v, o, lse);
    ctx->save_for_backward({q, k, v, y, lse});
    ctx->saved_data["rows"] = std::vector<Tensor>{l.slots, l.starts, l.own, l.trees};
    ctx->saved_data["window"] = l.window, ctx->saved_data["scale"] = l.scale, ctx->saved_data["cap"] = l.cap;
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &lse = saved[4];
    Tensor o = saved[3].transpose(1, 2);
    auto rows = ctx->saved_data["rows"].toTensorVector();
    Lines l{rows[0], rows[1], rows[2], rows[3], ctx->saved_data["window"].toInt(), ctx->saved_data["scale"].toDouble(), ctx->saved_data["cap"].toDouble()};
    Tensor g = inner(grad[0]).transpose(1, 2), dq = at::empty(q.sizes(), q.options());
    Tensor dk = at::zeros(q.sizes(), q.options().dtype(at::kFloat)), dv = at::zeros(lying(q), dk.options()).transpose(1, 2);
    if (q.scalar_type() == at::kFloat) rows_backward(l, l.job<float>(q, k, v, o, lse), g, dq, dk, dv);
    else rows_backward(l, l.job<sn::bf16>(q, k, v, o, lse), g, dq, dk, dv);
    return {dq, joined(dk, k), joined(dv, v), Tensor()};
  }
  // joined adds up the query heads of each of like's heads, in like's type.
  static Tensor joined(const Tensor& d, const Tensor& like) {
    int64_t H = d.size(1), G = like.size(1);
    if (H == G) return d.to(like.scalar_type());
    return d.unflatten(1, {G, H / G}).sum(2).to(like.scalar_type());
  }
};

}  // namespace

// q [1, H, N, K], k and v [1, G, N, K], fp32 or bf16 on the CPU; the result is [1, H, N, K], in memory [1, N, H, K].
extern "C" char* sn_attention_rows(sn_tensor* out, sn_tensor q, sn_tensor k, sn_tensor v, sn_tensor* rows, int64_t window, double scale,
                                   double cap) {
  return sn::guard([&] {
    const Tensor &Q = sn::ref(q), &K = sn::ref(k), &V = sn::ref(v);
    TORCH_CHECK(sn::fused(Q, K, V), "q, k and v are not all fp32 or all bf16 on the CPU");
    TORCH_CHECK(Q.dim() == 4 && Q.size(0) == 1 && K.sizes() == V.sizes() && Q.size(2) == K.size(2) && Q.size(3) == K.size(3) &&
                    K.size(1) > 0 && Q.size(1) % K.size(1) == 0,
                "want q [1, H, N, K] and k, v [1, G, N, K] with H a multiple of G");
    *out = sn::own(RowsAttention::apply(Q, K, V, Lines{sn::ref(rows[0]), sn::ref(rows[1]), sn::ref(rows[2]), sn::ref(rows[3]), window, scale, cap}).transpose(1, 2));
  });
}
