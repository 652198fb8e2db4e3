// The three products of a linear map: forward, and the gradients of its input and of its weight. By kernels of our own where
// they are chosen for the type (gemm.cpp, product_kernels.h), else by libtorch.
#pragma once
#include "common.h"
#include "decode_simd.h"
#include "function.h"
#include "native.h"
#include "simd.h"
#include "team.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <unistd.h>

namespace {

// Product is y [M, N] = the sum over K of a and b: rows of a and of b forward; rows of a and columns of b for an input's
// gradient; columns of both for a weight's.
template <class T>
struct Product {
  const T *a, *b;
  T* y;
  const T* bias;
  int64_t M, N, K, lda, ldb, ldy;
  bool a_columns, b_columns, add;
};

// Blocks: of the left operand what is laid out at a time, and the rows for which partial sums are kept.
constexpr int64_t product_left_bytes = 8 << 20, product_most_rows = 3072;

// product_panel_bytes is what of the right operand stays in a core's second-level cache: half of it.
int64_t product_panel_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  static const int64_t half = sysconf(_SC_LEVEL2_CACHE_SIZE) / 2;
#else
  constexpr int64_t half = 0;
#endif
  return half > 0 ? std::clamp<int64_t>(half, 128 << 10, 512 << 10) : 256 << 10;
}

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
    template <class U>
    U* get() { return static_cast<U*>(p); }
  } panels, sums;

  static Scratch& of_thread(int64_t panel_bytes, int64_t sum_bytes) {
    static thread_local Scratch s;
    s.panels.reserve(panel_bytes);
    s.sums.reserve(sum_bytes);
    return s;
  }
};

// Products computes one Product on all threads. Each takes panels of the right operand, lays them out for itself, and goes
// through the rows of the left one. Where that has to be laid out as well, all do it together, a stripe of rows at a time.
template <class T>
class Products {
 public:
  explicit Products(const Product<T>& p) : p_(p), k_(sn::product_kernels<T>()), laid_(p.a_columns || k_.lay_left_rows) {
    units_ = up(p.K, k_.terms);
    range_ = std::min(units_, k_.range);
    panels_ = up(p.N, k_.columns);
    most_ = std::max<int64_t>(1, product_panel_bytes() / (range_ * 4 * k_.columns));
    rows_ = range_ < units_ ? std::min(p.M, product_most_rows) : p.M;
    if (laid_) rows_ = std::clamp(product_left_bytes / (units_ * 4), std::min<int64_t>(8 * k_.rows, p.M), rows_);
    rows_ = up(rows_, k_.rows) * k_.rows;
  }

  void run() {
    int64_t panels = most_ * range_ * k_.columns, sums = range_ < units_ ? rows_ / k_.rows * most_ * k_.rows * k_.columns : 0;
    at::Tensor left;
    if (laid_) left = at::empty({rows_ * units_}, at::TensorOptions().dtype(at::kFloat));
    left_ = laid_ ? static_cast<char*>(left.data_ptr()) : nullptr;
    for (int64_t r = 0; r < p_.M; r += rows_) stripe(r, std::min(rows_, p_.M - r), panels, sums);
  }

 private:
  static int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

  // n rows of the left operand from row r on. Where there are fewer panels than threads need, each works on a part of the rows.
  void stripe(int64_t r, int64_t n, int64_t panels, int64_t sums) {
    if (laid_) sn::parallel_for(up(n, 8 * k_.rows), 1, [&](int64_t from, int64_t to) {
      int64_t c = from * 8 * k_.rows, rows = std::min(n, to * 8 * k_.rows) - c;
      if (p_.a_columns) k_.lay_left(left_ + c * units_ * 4, units_ * 4 * k_.rows, p_.a + r + c, p_.lda, p_.K, rows);
      else k_.lay_left_rows(left_ + c * units_ * 4, p_.a + (r + c) * p_.lda, p_.lda, p_.K, rows);
    });
    int64_t threads = at::get_num_threads(), tiles = up(n, k_.rows), parts = std::clamp<int64_t>(4 * threads / panels_, 1, tiles), each = up(tiles, parts) * k_.rows;
    sn::hand_out(threads, panels_ * parts, most_, [&](int64_t from, int64_t to) {
      Scratch& own = Scratch::of_thread(panels * 4, sums * 4);
      for (int64_t m; from < to; from += m) {
        int64_t begin = from / panels_ * each, panel = from % panels_;
        m = std::min(to - from, panels_ - panel);
        if (begin < n) block(r, begin, std::min(each, n - begin), panel, m, own.panels.template get<char>(), own.sums.template get<float>());
      }
    });
  }

  // The rows `begin` and so many more of the stripe at row r, against m panels.
  void block(int64_t r, int64_t begin, int64_t rows, int64_t panel, int64_t m, char* panels, float* sums) {
    int64_t n = panel * k_.columns, columns = std::min(p_.N - n, m * k_.columns);
    sn::ProductSweep<T> s{};
    s.rows = rows, s.columns = columns, s.b = panels, s.sums = sums, s.add = p_.add;
    s.y = p_.y + (r + begin) * p_.ldy + n, s.ldy = p_.ldy, s.bias = p_.bias ? p_.bias + n : nullptr;
    s.row = p_.a_columns ? 4 : laid_ ? units_ * 4 : p_.lda * int64_t(sizeof(T));
    s.unit = p_.a_columns ? 4 * k_.rows : 4;
    s.tile = p_.a_columns ? units_ * s.unit : k_.rows * s.row;
    const char* a = laid_ ? left_ : reinterpret_cast<const char*>(p_.a + r * p_.lda);
    for (int64_t from = 0; from < units_; from += range_) {
      s.units = std::min(range_, units_ - from), s.first = from == 0, s.last = from + s.units == units_;
      int64_t k = from * k_.terms, terms = std::min(p_.K - k, s.units * k_.terms), size = s.units * 4 * k_.columns;
      if (p_.b_columns) k_.lay_columns(panels, size, p_.b + k * p_.ldb + n, p_.ldb, terms, columns);
      else
        for (int64_t c = 0; c < columns; c += k_.columns)
          k_.lay_rows(panels + c / k_.columns * size, p_.b + (n + c) * p_.ldb + k, p_.ldb, terms, std::min(k_.columns, columns - c));
      s.a = a + begin / k_.rows * s.tile + from * s.unit;
      k_.sweep(s);
    }
  }

  const Product<T> p_;
  const sn::ProductKernels<T>& k_;
  const bool laid_;  // the left operand
  int64_t units_, range_, panels_, most_, rows_;
  char* left_ = nullptr;
};

// lies tells whether the rows of a matrix lie one behind the other, each in one piece.
bool lies(const Tensor& t) { return t.dim() == 2 && t.stride(1) == 1 && t.stride(0) >= t.size(1); }

// chosen tells whether our kernels compute products of t's type.
bool chosen(const Tensor& t) {
  bool half = t.scalar_type() == at::kBFloat16;
  return t.device().is_cpu() && (half || t.scalar_type() == at::kFloat) && sn_gemm_own(half);
}

// whole tells whether K terms are so many units: rows cannot be filled up where they lie.
bool whole(const Tensor& t, int64_t K) {
  return K % (t.scalar_type() == at::kFloat ? sn::product_kernels<float>().terms : sn::product_kernels<sn::bf16>().terms) == 0;
}

// along tells whether b is a bias of w's rows that our kernels add; what else it may be, libtorch knows.
bool along(const Tensor& b, const Tensor& w) {
  return b.device().is_cpu() && b.scalar_type() == w.scalar_type() && b.dim() == 1 && b.size(0) == w.size(0) && b.is_contiguous();
}

// Over says what of an operand a sum goes over.
enum class Over { rows, columns };

// product computes y, or adds to it, if our kernels can: sums over the columns of rows, or over the rows, of a and b.
bool product(Tensor& y, const Tensor& a, Over over_a, const Tensor& b, Over over_b, const Tensor& bias, bool add) {
  bool a_columns = over_a == Over::rows, b_columns = over_b == Over::rows;
  int64_t K = a.size(a_columns ? 0 : 1);
  auto fits = [&](const Tensor& t) { return t.scalar_type() == y.scalar_type() && t.device().is_cpu() && lies(t) && t.numel() > 0; };
  if (!chosen(y) || !fits(y) || !fits(a) || !fits(b) || (!(a_columns && b_columns) && !whole(y, K))) return false;
  if (bias.defined() && !along(bias, b)) return false;
  auto run = [&](auto* of) {
    using T = std::remove_pointer_t<decltype(of)>;
    auto at = [](const Tensor& t) { return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr; };
    Product<T> p{};
    p.a = at(a), p.b = at(b), p.y = at(y), p.bias = at(bias);
    p.M = y.size(0), p.N = y.size(1), p.K = K, p.lda = a.stride(0), p.ldb = b.stride(0), p.ldy = y.stride(0);
    p.a_columns = a_columns, p.b_columns = b_columns, p.add = add;
    Products<T>(p).run();
  };
  if (y.scalar_type() == at::kFloat) run(static_cast<float*>(nullptr));
  else run(static_cast<sn::bf16*>(nullptr));
  return true;
}

}  // namespace

namespace sn {

// y [N, out] = x [N, in] W^T, W [out, in], plus b [out] unless it is absent.
inline void map_into(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& b = {}) {
  if (product(y, x, Over::columns, w, Over::columns, b, false)) return;
  if (b.defined()) at::linear_out(y, x, w, b);
  else at::mm_out(y, x, w.t());
}

// dx [N, in] = dy [N, out] W, or that much more.
inline void map_back(Tensor& dx, const Tensor& dy, const Tensor& w, bool add = false) {
  if (product(dx, dy, Over::columns, w, Over::rows, {}, add)) return;
  if (add) dx.addmm_(dy, w);
  else at::mm_out(dx, dy, w);
}

// dW [out, in] = dy^T x, or that much more.
inline void map_grad(Tensor& dw, const Tensor& dy, const Tensor& x, bool add = false) {
  if (product(dw, dy, Over::rows, x, Over::rows, {}, add)) return;
  if (add) dw.addmm_(dy.t(), x);
  else at::mm_out(dw, dy.t(), x);
}

inline Tensor map_grad(const Tensor& dy, const Tensor& x) {
  Tensor dw = at::empty({dy.size(1), x.size(1)}, x.options());
  map_grad(dw, dy, x);
  return dw;
}

// linear is map_into for x [..., in].
inline Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& b) {
  if (!chosen(x) || !x.is_contiguous() || x.numel() == 0 || w.numel() == 0) return at::linear(x, w, b);
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

// linear_of is x [..., in] W^T, plus b, which may be absent, by the kernels that are chosen; differentiable.
Tensor linear_of(const Tensor& x, const Tensor& w, const std::optional<Tensor>& b) {
  bool own = chosen(x) && x.dim() > 0 && x.numel() > 0 && w.dim() == 2 && w.numel() > 0 && w.is_contiguous() && x.size(-1) == w.size(1) && sn::fused(x, w);
  if (own && b) own = along(*b, w);
  return own ? Linear::apply(x, w, b) : at::linear(x, w, b);
}

}  // namespace

extern "C" char* sn_linear(sn_tensor* out, sn_tensor x, sn_tensor w, sn_tensor b) {
  return sn::guard([&] {
    std::optional<Tensor> bias;
    if (b) bias = sn::ref(b);
    *out = sn::own(linear_of(sn::ref(x), sn::ref(w), bias));
  });
}
