// Decoding on the CPU. A token passes through a model in so little time that the calls of some hundred ops, their
// temporaries and thread teams would outweigh it; here one call and one team compute all layers, phase by phase.
#include "common.h"
#include "decode.h"
#include "decode_map.hpp"
#include "decode_simd.h"
#include "team.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace sn {
namespace {

constexpr int64_t run_length = 8;  // tokens of one row that attend together

// Segment is a run of consecutive tokens of one row.
struct Segment {
  int64_t from, count;
};

struct Decoder {
  virtual ~Decoder() = default;
  virtual at::Tensor run(const sn_decoder_step& s) = 0;
};

template <class T>
struct Layer {
  std::vector<at::Tensor> held;
  const T* w[SN_LAYER_TENSORS];
  Map<T> q, k, v, o, gate, up, down;
  int64_t window;
  bool local;
};

// Plan computes with weights of type T. Activations are floats that hold values of T, where libtorch would store a T.
template <class T>
struct Plan : Decoder {
  sn_decoder_shape c;
  std::vector<Layer<T>> layers;
  std::vector<at::Tensor> held;
  const T* w[SN_MODEL_TENSORS];
  Map<T> top;  // the head
  Panels<T> panels;
  const Kernels<T>& k = kernels<T>();

  // The state of one call.
  const sn_decoder_step* s;
  int64_t n, qd, kd;                     // tokens, widths of q and of k or v
  std::vector<float> x, qkv, o, g, u;    // [n, …]
  std::vector<T> h, q, y, m;
  std::vector<Segment> segments;
  std::vector<std::vector<float>> scores;  // by thread
  const float *cos[2], *sin[2];

  void lay_out();
  at::Tensor run(const sn_decoder_step& step) override;
  void prepare(const sn_decoder_step& step);
  void embed(Team& t);
  void project(Team& t, float* out, const T* in, const Map<T>& map, const T* bias);
  void attention(Team& t, int me, int64_t layer);
  void rotate_and_store(int64_t i, int64_t layer);
  void attend(int me, const Segment& seg, int64_t group, int64_t layer);
  void mlp(Team& t, const Layer<T>& l);
  void add(int64_t i, const T* post);
  void norm(int64_t i, const T* gain) { k.norm(&h[i * c.hidden], &x[i * c.hidden], gain, c.hidden, c.eps, c.plus_one); }
  void head(Team& t, float* logits);
};

// Rows of weights that a thread takes at once: a panel, which is at least a line of results, so that no two threads write
// to one; up to what the second-level cache holds when there are more tokens than stay near and the rows are read more
// than once.
constexpr int64_t least_piece = 32, most_piece = 128;

// lay_out says how the weights of the linear maps lie.
template <class T>
void Plan<T>::lay_out() {
  int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  for (Layer<T>& l : layers) {
    l.q = {l.w[SN_Q], q, c.hidden};
    l.k = {l.w[SN_K], kv, c.hidden};
    l.v = {l.w[SN_V], kv, c.hidden};
    l.o = {l.w[SN_O], c.hidden, q};
    l.gate = {l.w[SN_GATE], c.inner, c.hidden};
    l.up = {l.w[SN_UP], c.inner, c.hidden};
    l.down = {l.w[SN_DOWN], c.hidden, c.inner};
    panels.add({&l.q, &l.k, &l.v}, c.panels);
    for (Map<T>* map : {&l.o, &l.gate, &l.up, &l.down}) panels.add({map}, c.panels);
  }
  top = {w[SN_HEAD], c.vocab, c.hidden};
  panels.add({&top}, c.panels);
  panels.lay();
}

template <class T>
void Plan<T>::prepare(const sn_decoder_step& step) {
  s = &step;
  n = step.n;
  qd = c.heads * c.head_dim;
  kd = c.kv_heads * c.head_dim;
  x.resize(n * c.hidden);
  o.resize(n * c.hidden);
  h.resize(n * c.hidden);
  qkv.resize(n * (qd + 2 * kd));
  q.resize(n * qd);
  y.resize(n * qd);
  g.resize(n * c.inner);
  u.resize(n * c.inner);
  m.resize(n * c.inner);
  segments.clear();
  int64_t longest = 0;
  for (int64_t i = 0; i < n; i++) {
    longest = std::max(longest, step.slots[i] + 1);
    bool joins = i > 0 && step.rows[i] == step.rows[i - 1] && segments.back().count < run_length;
    if (joins) segments.back().count++;
    else segments.push_back({i, 1});
  }
  for (int64_t l = 0; l < c.layers; l++) {
    for (sn_tensor t : {step.keys[l], step.values[l]}) {
      const at::Tensor& cache = ref(t);
      TORCH_CHECK(cache.dim() == 4 && cache.is_contiguous() && cache.size(1) == c.kv_heads && cache.size(2) >= longest &&
                      cache.size(3) == c.head_dim && cache.scalar_type() == held[0].scalar_type(),
                  "the cache does not fit the model");
    }
  }
  scores.resize(std::max<size_t>(scores.size(), at::get_num_threads()));
  for (auto& buffer : scores) buffer.resize(run_length * (c.heads / c.kv_heads) * longest);
  const sn_tensor tables[4] = {step.cos, step.sin, step.local_cos, step.local_sin};
  for (int i = 0; i < 2; i++) {
    cos[i] = ref(tables[2 * i]).template data_ptr<float>();
    sin[i] = ref(tables[2 * i + 1]).template data_ptr<float>();
  }
}

template <class T>
void Plan<T>::embed(Team& t) {
  float by = to_float(from_float<T>(c.embed_scale));  // the scale is rounded first
  t.each(n, 1, [&](int64_t i, int64_t) {
    const T* e = w[SN_EMBED] + s->ids[i] * c.hidden;
    for (int64_t j = 0; j < c.hidden; j++) x[i * c.hidden + j] = to_float(from_float<T>(to_float(e[j]) * by));
    norm(i, layers[0].w[SN_NORM]);
  });
}

// project computes a linear map of all tokens: [n, map.K] to [n, map.m].
template <class T>
void Plan<T>::project(Team& t, float* out, const T* in, const Map<T>& map, const T* bias) {
  t.shrinking(map.m, least_piece, most_piece, [&](int64_t a, int64_t b) {
    map.product(out + a, map.m, in, map.K, n, a, b);
    k.finish(out + a, map.m, n, bias ? bias + a : nullptr, b - a);
  });
}

// rotate_and_store normalises and turns q and k of token i and stores k and v.
template <class T>
void Plan<T>::rotate_and_store(int64_t i, int64_t layer) {
  const Layer<T>& l = layers[layer];
  int64_t K = c.head_dim;
  const float *co = cos[l.local] + s->turns[i] * (K / 2), *si = sin[l.local] + s->turns[i] * (K / 2);
  float* row = &qkv[i * (qd + 2 * kd)];
  for (int64_t a = 0; a < c.heads; a++) {
    if (l.w[SN_Q_NORM]) k.norm_wide(row + a * K, row + a * K, l.w[SN_Q_NORM], K, c.eps, c.plus_one);
    k.rotate(&q[i * qd + a * K], row + a * K, co, si, K);
  }
  at::Tensor &keys = ref(s->keys[layer]), &values = ref(s->values[layer]);
  int64_t S = keys.size(2), T_ = values.size(2);
  T* kc = static_cast<T*>(keys.data_ptr());
  T* vc = static_cast<T*>(values.data_ptr());
  for (int64_t a = 0; a < c.kv_heads; a++) {
    float *kh = row + qd + a * K, *vh = row + qd + kd + a * K;
    if (l.w[SN_K_NORM]) k.norm_wide(kh, kh, l.w[SN_K_NORM], K, c.eps, c.plus_one);
    k.rotate(kc + ((s->rows[i] * c.kv_heads + a) * S + s->slots[i]) * K, kh, co, si, K);
    k.pack(vc + ((s->rows[i] * c.kv_heads + a) * T_ + s->slots[i]) * K, vh, K);
  }
}

// attend computes the heads that share key-value head `group` for a segment's tokens.
template <class T>
void Plan<T>::attend(int me, const Segment& seg, int64_t group, int64_t layer) {
  const Layer<T>& l = layers[layer];
  int64_t K = c.head_dim, r = c.heads / c.kv_heads, last = s->slots[seg.from + seg.count - 1];
  int64_t low = l.window > 0 ? std::max<int64_t>(0, s->slots[seg.from] - l.window + 1) : 0, len = last + 1 - low;
  at::Tensor &keys = ref(s->keys[layer]), &values = ref(s->values[layer]);
  const T* kc = static_cast<const T*>(keys.data_ptr()) + ((s->rows[seg.from] * c.kv_heads + group) * keys.size(2) + low) * K;
  const T* vc = static_cast<const T*>(values.data_ptr()) + ((s->rows[seg.from] * c.kv_heads + group) * values.size(2) + low) * K;
  float* p = scores[me].data();
  for (int64_t i = 0; i < seg.count; i++)
    k.product(p + i * r * len, len, &q[(seg.from + i) * qd + group * r * K], K, r, kc, K, len, K);
  for (int64_t i = 0; i < seg.count; i++) {
    int64_t at = s->slots[seg.from + i], from = l.window > 0 ? std::max(low, at - l.window + 1) : low;
    for (int64_t a = 0; a < r; a++) {
      float* z = p + (i * r + a) * len + from - low;
      int64_t count = at + 1 - from;
      for (int64_t j = 0; j < count; j++) z[j] *= float(c.scale);
      if (c.softcap > 0)
        for (int64_t j = 0; j < count; j++) z[j] = std::tanh(z[j] / float(c.softcap)) * float(c.softcap);
      float total = k.exp_all(z, count);
      k.mix(&y[(seg.from + i) * qd + (group * r + a) * K], z, total, vc + (from - low) * K, count, K);
    }
  }
}

template <class T>
void Plan<T>::attention(Team& t, int me, int64_t layer) {
  const Layer<T>& l = layers[layer];
  int64_t all = qd + 2 * kd;
  const int64_t begin[4] = {0, qd, qd + kd, all};
  const Map<T>* maps[3] = {&l.q, &l.k, &l.v};
  t.shrinking(all, least_piece, most_piece, [&](int64_t a, int64_t b) {  // q, k and v as if they were one map
    for (int part = 0; part < 3; part++) {
      int64_t from = std::max(a, begin[part]), to = std::min(b, begin[part + 1]), row = from - begin[part];
      if (from >= to) continue;
      const T* bias = l.w[SN_Q_BIAS + part];
      maps[part]->product(&qkv[from], all, h.data(), c.hidden, n, row, to - begin[part]);
      k.finish(&qkv[from], all, n, bias ? bias + row : nullptr, to - from);
    }
  });
  t.each(n, 1, [&](int64_t i, int64_t) { rotate_and_store(i, layer); });
  int64_t items = int64_t(segments.size()) * c.kv_heads;
  t.each(items, std::max<int64_t>(1, items / (t.size() * 8)), [&](int64_t a, int64_t b) {
    for (int64_t i = a; i < b; i++) attend(me, segments[i / c.kv_heads], i % c.kv_heads, layer);
  });
  project(t, o.data(), y.data(), l.o, l.w[SN_O_BIAS]);
}

template <class T>
void Plan<T>::mlp(Team& t, const Layer<T>& l) {
  t.shrinking(c.inner, least_piece, most_piece, [&](int64_t a, int64_t b) {
    float* out[2] = {g.data(), u.data()};
    const Map<T>* maps[2] = {&l.gate, &l.up};
    for (int part = 0; part < 2; part++) {
      const T* bias = l.w[SN_GATE_BIAS + part];
      maps[part]->product(out[part] + a, c.inner, h.data(), c.hidden, n, a, b);
      k.finish(out[part] + a, c.inner, n, bias ? bias + a : nullptr, b - a);
    }
    for (int64_t i = 0; i < n; i++) k.gate(&m[i * c.inner + a], &g[i * c.inner + a], &u[i * c.inner + a], b - a, c.act);
  });
  project(t, o.data(), m.data(), l.down, l.w[SN_DOWN_BIAS]);
}

// add adds o, normalised first in layers that do so, to the states of token i.
template <class T>
void Plan<T>::add(int64_t i, const T* post) {
  float *to = &x[i * c.hidden], *from = &o[i * c.hidden];
  if (post) k.norm_wide(from, from, post, c.hidden, c.eps, c.plus_one);
  k.add(to, from, c.hidden);
}

template <class T>
void Plan<T>::head(Team& t, float* logits) {
  int64_t count = s->n_last;
  t.each(count, 1, [&](int64_t i, int64_t) {  // tokens that nobody asks for are normalised by nobody
    k.norm(&h[i * c.hidden], &x[s->last[i] * c.hidden], w[SN_FINAL_NORM], c.hidden, c.eps, c.plus_one);
  });
  t.shrinking(c.vocab, least_piece, most_piece, [&](int64_t a, int64_t b) {
    top.product(logits + a, c.vocab, h.data(), c.hidden, count, a, b);
    k.finish(logits + a, c.vocab, count, nullptr, b - a);
    if (c.final_softcap <= 0) return;
    float cap = float(c.final_softcap);
    for (int64_t i = 0; i < count; i++)
      for (int64_t j = a; j < b; j++) logits[i * c.vocab + j] = std::tanh(logits[i * c.vocab + j] / cap) * cap;
  });
}

template <class T>
at::Tensor Plan<T>::run(const sn_decoder_step& step) {
  prepare(step);
  at::Tensor logits = at::empty({step.n_last, c.vocab}, at::kFloat);
  float* out = logits.data_ptr<float>();
  Team::run([&](Team& t, int me) {
    embed(t);
    for (int64_t i = 0; i < c.layers; i++) {
      const Layer<T>& l = layers[i];
      attention(t, me, i);
      t.each(n, 1, [&](int64_t j, int64_t) {
        add(j, l.w[SN_POST_NORM]);
        norm(j, l.w[SN_MLP_NORM]);
      });
      mlp(t, l);
      t.each(n, 1, [&](int64_t j, int64_t) {
        add(j, l.w[SN_POST_MLP_NORM]);
        if (i + 1 < c.layers) norm(j, layers[i + 1].w[SN_NORM]);
      });
    }
    if (step.n_last > 0) head(t, out);
  });
  return logits;
}

// take holds n tensors and notes where they begin.
template <class T>
void take(sn_tensor* tensors, int n, std::vector<at::Tensor>& held, const T** w) {
  for (int i = 0; i < n; i++) {
    at::Tensor t = opt(tensors[i]);
    w[i] = nullptr;
    if (!t.defined()) continue;
    TORCH_CHECK(t.is_contiguous() && t.device().is_cpu() && t.element_size() == sizeof(T), "a weight is not as it lies in a file");
    w[i] = static_cast<const T*>(t.data_ptr());
    held.push_back(t.detach());
  }
}

template <class T>
Decoder* plan(const sn_decoder_shape& shape, sn_tensor* tensors, const int64_t* windows, const int64_t* local) {
  auto p = std::make_unique<Plan<T>>();
  p->c = shape;
  take(tensors, SN_MODEL_TENSORS, p->held, p->w);
  p->layers.resize(shape.layers);
  for (int64_t i = 0; i < shape.layers; i++) {
    Layer<T>& l = p->layers[i];
    take(tensors + SN_MODEL_TENSORS + i * SN_LAYER_TENSORS, SN_LAYER_TENSORS, l.held, l.w);
    l.window = windows[i];
    l.local = local[i] != 0;
  }
  p->lay_out();
  return p.release();
}

}  // namespace
}  // namespace sn

extern "C" {

char* sn_decoder_new(void** out, const sn_decoder_shape* shape, sn_tensor* tensors, const int64_t* windows, const int64_t* local) {
  return sn::guard([&] {
    at::ScalarType type = sn::ref(tensors[SN_EMBED]).scalar_type();
    TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, "weights must be float32 or bfloat16");
    *out = type == at::kFloat ? sn::plan<float>(*shape, tensors, windows, local) : sn::plan<sn::bf16>(*shape, tensors, windows, local);
  });
}

char* sn_decoder_run(sn_tensor* logits, void* decoder, const sn_decoder_step* step) {
  return sn::guard([&] { *logits = sn::own(static_cast<sn::Decoder*>(decoder)->run(*step)); });
}

void sn_decoder_free(void* decoder) { delete static_cast<sn::Decoder*>(decoder); }

}  // extern "C"
