// The three products of a linear map: forward, and the gradients of its input and of its weight. In bf16 by kernels of our
// own where the processor has the instructions (product_kernels.h), else by libtorch.
#pragma once
#include "common.h"
#include "decode_simd.h"
#include "function.h"
#include "simd.h"
#include "team.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>

namespace {

// Product is y [M, N] = the sum over K of a and b: in bf16, rows of a and of b forward; rows of a and columns of b for an
// input's gradient; columns of both for a weight's.
struct Product {
  const sn::bf16 *a, *b;
  sn::bf16* y;
  const sn::bf16* bias;
  int64_t M, N, K, lda, ldb, ldy;
  bool a_columns, b_columns, add;
};

// Blocks: of each sum, what of the right operand stays in a core's second-level cache, of the left one what is laid out at a
// time, and the rows for which partial sums are kept.
constexpr int64_t product_terms = 2048, product_panel_bytes = 512 << 10, product_left_bytes = 8 << 20, product_most_rows = 3072;

// Scratch is a thread's own memory, kept so that it stays in its cache.
struct Scratch {
  struct Block {
    void* p = nullptr;
    int64_t bytes = 0;
    ~Block() { free(p); }
    void reserve(int64_t n) {
      if (n <= bytes) return;
      free(p);
      bytes = 0;
      n = (n + 4095) / 4096 * 4096;
      TORCH_CHECK(p = aligned_alloc(4096, n), "no memory for ", n, " bytes");
      bytes = n;
    }
    template <class T>
    T* get() { return static_cast<T*>(p); }
  } panels, sums;

  static Scratch& of_thread(int64_t panel_bytes, int64_t sum_bytes) {
    static thread_local Scratch s;
    s.panels.reserve(panel_bytes);
    s.sums.reserve(sum_bytes);
    return s;
  }
};

// Products computes one Product on all threads. Each takes panels of the right operand, lays them out for itself, and goes
// through the rows of the left one.
class Products {
 public:
  explicit Products(const Product& p) : p_(p), k_(sn::product_kernels()) {
    pairs_ = (p.K + 1) / 2;
    range_ = std::min(pairs_, product_terms / 2);
    panels_ = up(p.N, k_.columns);
    most_ = std::max<int64_t>(1, product_panel_bytes / (range_ * 4 * k_.columns));
    rows_ = range_ < pairs_ ? std::min(p.M, product_most_rows) : p.M;
    if (p.a_columns) rows_ = std::clamp(product_left_bytes / (pairs_ * 4), std::min<int64_t>(8 * k_.rows, p.M), rows_);
    rows_ = up(rows_, k_.rows) * k_.rows;
  }

  void run() {
    int64_t panels = most_ * range_ * 2 * k_.columns, sums = range_ < pairs_ ? rows_ / k_.rows * most_ * k_.rows * k_.columns : 0;
    at::Tensor left;
    if (p_.a_columns) left = at::empty({rows_ * pairs_ * 2}, at::TensorOptions().dtype(at::kBFloat16));
    left_ = left.defined() ? static_cast<sn::bf16*>(left.data_ptr()) : nullptr;
    for (int64_t r = 0; r < p_.M; r += rows_) stripe(r, std::min(rows_, p_.M - r), panels, sums);
  }

 private:
  static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

  // n rows of the left operand from row r on. Where there are fewer panels than threads need, each works on a part of the rows.
  void stripe(int64_t r, int64_t n, int64_t panels, int64_t sums) {
    if (p_.a_columns) sn::parallel_for(up(n, 8 * k_.rows), 1, [&](int64_t from, int64_t to) {
      int64_t c = from * 8 * k_.rows, e = std::min(n, to * 8 * k_.rows);
      k_.lay_left(left_ + c * pairs_ * 2, pairs_ * 2 * k_.rows, p_.a + r + c, p_.lda, p_.K, e - c);
    });
    int64_t threads = at::get_num_threads(), tiles = up(n, k_.rows), parts = std::clamp<int64_t>(4 * threads / panels_, 1, tiles), each = up(tiles, parts) * k_.rows;
    sn::hand_out(threads, panels_ * parts, most_, [&](int64_t from, int64_t to) {
      Scratch& own = Scratch::of_thread(panels * 2, sums * 4);
      for (int64_t m; from < to; from += m) {
        int64_t begin = from / panels_ * each, panel = from % panels_;
        m = std::min(to - from, panels_ - panel);
        if (begin < n) block(r, begin, std::min(each, n - begin), panel, m, own.panels.get<sn::bf16>(), own.sums.get<float>());
      }
    });
  }

  // The rows `begin` and so many more of the stripe at row r, against m panels.
  void block(int64_t r, int64_t begin, int64_t rows, int64_t panel, int64_t m, sn::bf16* panels, float* sums) {
    int64_t n = panel * k_.columns, columns = std::min(p_.N - n, m * k_.columns);
    sn::ProductSweep s{};
    s.rows = rows, s.columns = columns, s.b = panels, s.sums = sums, s.add = p_.add;
    s.y = p_.y + (r + begin) * p_.ldy + n, s.ldy = p_.ldy, s.bias = p_.bias ? p_.bias + n : nullptr;
    if (p_.a_columns) s.row = 2, s.term = 2 * k_.rows, s.tile = pairs_ * s.term;
    else s.row = p_.lda, s.term = 2, s.tile = k_.rows * p_.lda;
    for (int64_t from = 0; from < pairs_; from += range_) {
      s.pairs = std::min(range_, pairs_ - from), s.first = from == 0, s.last = from + s.pairs == pairs_;
      int64_t k = 2 * from, terms = std::min(p_.K - k, 2 * s.pairs), size = s.pairs * 2 * k_.columns;
      if (p_.b_columns) k_.lay_columns(panels, size, p_.b + k * p_.ldb + n, p_.ldb, terms, columns);
      else
        for (int64_t c = 0; c < columns; c += k_.columns)
          k_.lay_rows(panels + c / k_.columns * size, p_.b + (n + c) * p_.ldb + k, p_.ldb, terms, std::min(k_.columns, columns - c));
      s.a = (p_.a_columns ? left_ : p_.a + r * p_.lda) + begin / k_.rows * s.tile + from * s.term;
      k_.sweep(s);
    }
  }

  const Product p_;
  const sn::ProductKernels& k_;
  int64_t pairs_, range_, panels_, most_, rows_;
  sn::bf16* left_ = nullptr;
};

// lies tells whether the rows of a matrix lie one behind the other, each in one piece.
bool lies(const Tensor& t) { return t.dim() == 2 && t.stride(1) == 1 && t.stride(0) >= t.size(1); }

// ours tells whether our kernels compute a product of these: sums over rows (K columns each) need pairs.
template <class... Ts>
bool ours(int64_t K, const Ts&... ts) {
  return sn_gemm_half_own() && K > 0 && ((ts.device().is_cpu() && ts.scalar_type() == at::kBFloat16 && lies(ts) && ts.numel() > 0) && ...);
}

// along tells whether b is a bias of w's rows that our kernels add; what else it may be, libtorch knows.
bool along(const Tensor& b, const Tensor& w) {
  return b.device().is_cpu() && b.scalar_type() == at::kBFloat16 && b.dim() == 1 && b.size(0) == w.size(0) && b.is_contiguous();
}

sn::bf16* bits(const Tensor& t) { return static_cast<sn::bf16*>(t.data_ptr()); }

}  // namespace

namespace sn {

// y [N, out] = x [N, in] W^T, W [out, in], plus b [out] unless it is absent.
inline void map_into(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& b = {}) {
  int64_t K = x.size(1);
  if (K % 2 == 0 && ours(K, x, w, y) && (!b.defined() || along(b, w)))
    return Products({bits(x), bits(w), bits(y), b.defined() ? bits(b) : nullptr, x.size(0), w.size(0), K, x.stride(0), w.stride(0), y.stride(0), false, false, false}).run();
  if (b.defined()) at::linear_out(y, x, w, b);
  else at::mm_out(y, x, w.t());
}

// dx [N, in] = dy [N, out] W, or that much more.
inline void map_back(Tensor& dx, const Tensor& dy, const Tensor& w, bool add = false) {
  int64_t K = dy.size(1);
  if (K % 2 == 0 && ours(K, dy, w, dx))
    Products({bits(dy), bits(w), bits(dx), nullptr, dy.size(0), w.size(1), K, dy.stride(0), w.stride(0), dx.stride(0), false, true, add}).run();
  else if (add) dx.addmm_(dy, w);
  else at::mm_out(dx, dy, w);
}

// dW [out, in] = dy^T x, or that much more.
inline void map_grad(Tensor& dw, const Tensor& dy, const Tensor& x, bool add = false) {
  int64_t K = dy.size(0);
  if (ours(K, dy, x, dw))
    Products({bits(dy), bits(x), bits(dw), nullptr, dy.size(1), x.size(1), K, dy.stride(0), x.stride(0), dw.stride(0), true, true, add}).run();
  else if (add) dw.addmm_(dy.t(), x);
  else at::mm_out(dw, dy.t(), x);
}

inline Tensor map_grad(const Tensor& dy, const Tensor& x) {
  Tensor dw = at::empty({dy.size(1), x.size(1)}, x.options());
  map_grad(dw, dy, x);
  return dw;
}

// linear is map_into for x [..., in].
inline Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& b) {
  if (x.scalar_type() != at::kBFloat16 || !sn_gemm_half_own() || !x.is_contiguous() || x.numel() == 0 || w.numel() == 0) return at::linear(x, w, b);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = w.size(0);
  Tensor y = at::empty(shape, x.options()), rows = y.view({-1, w.size(0)});
  map_into(rows, x.view({-1, x.size(-1)}), w, b ? *b : Tensor());
  return y;
}

}  // namespace sn

namespace {

// Linear is the map where our kernels compute it.
struct Linear : Function<Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x0, const Tensor& w, const std::optional<Tensor>& b) {
    Tensor x = x0.contiguous();
    ctx->save_for_backward({x, w});
    ctx->saved_data["bias"] = b.has_value();
    return sn::linear(x, w, b);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1];
    Tensor d = grad[0].reshape({-1, w.size(0)}).contiguous(), dx, dw, db;  // [N, out]
    if (ctx->needs_input_grad(0)) {
      dx = at::empty_like(x);
      Tensor rows = dx.view({-1, x.size(-1)});
      sn::map_back(rows, d, w);
    }
    if (ctx->needs_input_grad(1)) dw = sn::map_grad(d, x.view({-1, x.size(-1)}));
    if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) db = d.sum(0);
    return {dx, dw, db};
  }
};

}  // namespace

// x [..., in] W^T, plus b, which may be absent.
extern "C" char* sn_linear(sn_tensor* out, sn_tensor x, sn_tensor w, sn_tensor b) {
  return sn::guard([&] {
    const Tensor &X = sn::ref(x), &W = sn::ref(w);
    std::optional<Tensor> bias;
    if (b) bias = sn::ref(b);
    bool own = sn_gemm_half_own() && X.dim() > 0 && X.numel() > 0 && W.dim() == 2 && W.numel() > 0 && W.is_contiguous() && X.size(-1) == W.size(1) && sn::fused(X, W) &&
               X.scalar_type() == at::kBFloat16;
    if (own && bias) own = along(*bias, W);
    *out = sn::own(own ? Linear::apply(X, W, bias) : at::linear(X, W, bias));
  });
}
