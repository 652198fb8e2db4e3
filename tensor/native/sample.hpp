// Drawing a token from each row of logits, with no sort of the vocabulary.
#pragma once
#include "common.h"
#include "decode_simd.h"
#include "team.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <functional>
#include <vector>

namespace {

// Settings of one sampling step; see sn_sample.
struct Sampling {
  double temperature;
  int64_t top_k;
  double top_p, min_p;
};

// Weights are the unnormalised probabilities of a row, the largest 1.
struct Weights {
  std::vector<float> p;
  std::vector<double> blocks;  // sums of sn::draw_block of them each
  std::vector<int32_t> counts;  // by bin
  std::vector<double> masses;
  std::vector<int32_t> ids;
  std::vector<float> peaks;

  double total() const {
    double all = 0;
    for (double b : blocks) all += b;
    return all;
  }
};

// A bin holds the weights that agree in their sign, exponent and first four bits: 2033 bins up to 1.
constexpr int bin_shift = 19, bins = (0x3f800000 >> bin_shift) + 1;

int bin(float p) {
  uint32_t u;
  memcpy(&u, &p, 4);
  return std::min<int>(u >> bin_shift, bins - 1);
}

// floor_of_top returns a weight that at least k of p have or exceed: the k-th largest of the largest of each stretch.
float floor_of_top(Weights& w, const sn::DrawKernels& k, int64_t top_k) {
  size_t stretches = w.p.size() / 64;
  if (stretches < size_t(top_k)) return 0;
  w.peaks.resize(stretches);
  k.peaks(w.peaks.data(), w.p.data(), w.p.size());
  std::nth_element(w.peaks.begin(), w.peaks.begin() + (top_k - 1), w.peaks.end(), std::greater<float>());
  return w.peaks[top_k - 1];
}

// cut keeps the likeliest weights: those that come before `enough` of the count and mass up to and with a weight says
// yes, and that one. Enough must come among the weights of floor and more. Only the bin where it does is sorted.
template <class Enough>
void cut(Weights& w, const sn::DrawKernels& k, float floor, Enough enough) {
  std::vector<int32_t>& all = w.ids;
  all.resize(w.p.size());
  all.resize(k.at_least(all.data(), w.p.data(), w.p.size(), std::max(floor, FLT_MIN)));  // weights are 0 or normal
  w.counts.assign(bins, 0);
  w.masses.assign(bins, 0);
  for (int32_t i : all) {
    int b = bin(w.p[i]);
    w.counts[b]++;
    w.masses[b] += w.p[i];
  }
  int64_t count = 0;
  double mass = 0;
  int b = bins - 1;
  for (; b > 0; b--) {
    if (enough(count + w.counts[b], mass + w.masses[b])) break;
    count += w.counts[b];
    mass += w.masses[b];
  }
  std::vector<int32_t> ids;  // of the bin, from the likeliest down, equal ones by id
  for (int32_t i : all)
    if (bin(w.p[i]) == b) ids.push_back(i);
  std::sort(ids.begin(), ids.end(), [&](int32_t x, int32_t y) { return w.p[x] != w.p[y] ? w.p[x] > w.p[y] : x < y; });
  size_t i = 0;
  for (; i < ids.size(); i++) {
    mass += w.p[ids[i]];
    if (enough(++count, mass)) break;
  }
  if (i >= ids.size()) return;  // all that is left has come
  float least = w.p[ids[i]];
  for (size_t j = i + 1; j < ids.size(); j++) w.p[ids[j]] = 0;  // those as likely, with higher ids
  k.sieve(w.p.data(), w.p.size(), least, w.blocks.data());
}

// draw returns the id at which the weights' running sum passes u of their total.
int64_t draw(const Weights& w, double u) {
  double target = u * w.total(), run = 0;
  size_t b = 0;
  for (; b + 1 < w.blocks.size() && run + w.blocks[b] <= target; b++) run += w.blocks[b];
  int64_t id = -1, n = w.p.size();
  for (int64_t i = b * sn::draw_block; i < n; i++) {
    if (w.p[i] == 0) continue;
    id = i;
    run += w.p[i];
    if (run > target) return id;
  }
  for (int64_t i = n - 1; id < 0; i--)  // rounding left nothing behind the target: the last that may come
    if (w.p[i] > 0) id = i;
  return id;
}

// pick draws one token of a row by inverse CDF in id order with u in [0,1) after the filters in transformers' order
// (top-k, top-p, min-p), and returns its log-probability under the unfiltered soft-max at this temperature: what PPO's
// ratio needs.
std::pair<int64_t, float> pick(const float* z, float top, int64_t V, double u, const Sampling& s, Weights& w) {
  const sn::DrawKernels& k = sn::draw_kernels();
  w.p.resize(V);
  w.blocks.resize((V + sn::draw_block - 1) / sn::draw_block);
  double temperature = s.temperature == 0 ? 1 : s.temperature;
  k.weigh(w.p.data(), z, V, top, float(1 / temperature), w.blocks.data());
  double total = w.total();
  if (s.temperature == 0) return {std::find(z, z + V, top) - z, float(-std::log(total))};
  if (s.top_k > 0 && s.top_k < V) cut(w, k, floor_of_top(w, k, s.top_k), [&](int64_t count, double) { return count >= s.top_k; });
  if (s.top_p < 1) {
    // The V weights at most that lie below a V-th of what is left out weigh less than that together. Half of it, because
    // sums are rounded; next to 1 nothing can be said.
    double all = w.total(), want = s.top_p * all, out = 1 - s.top_p;
    float floor = out > 1e-4 ? float(0.5 * out * all / double(V)) : 0;
    cut(w, k, floor, [&](int64_t count, double mass) { return count > 0 && mass >= want; });
  }
  if (s.min_p > 0) k.sieve(w.p.data(), V, float(s.min_p), w.blocks.data());  // the largest weight is 1
  int64_t id = draw(w, u);
  return {id, float((double(z[id]) - top) / temperature - std::log(total))};
}

}  // namespace

extern "C" char* sn_sample(sn_tensor* out, sn_tensor logits, const double* u, double temperature, int64_t top_k,
                           double top_p, double min_p) {
  return sn::guard([&] {
    at::Tensor z = sn::ref(logits).detach().to(at::kCPU, at::kFloat).contiguous();
    TORCH_CHECK(z.dim() == 2 && z.size(1) > 0, "want logits [B, V]");
    int64_t B = z.size(0), V = z.size(1);
    at::Tensor ids = at::empty({B}, at::kLong), logp = at::empty({B}, at::kFloat);
    Sampling s{temperature, top_k, top_p, min_p};
    const float* zp = z.data_ptr<float>();
    int64_t* ip = ids.data_ptr<int64_t>();
    float* lp = logp.data_ptr<float>();
    std::atomic<bool> bad{false};
    sn::Team::run([&](sn::Team& t, int) {
      static thread_local Weights w;
      t.each(B, 1, [&](int64_t b, int64_t) {
        bool nan;
        float top = sn::draw_kernels().largest(zp + b * V, V, &nan);
        if (nan || !std::isfinite(top)) bad = true;
        else std::tie(ip[b], lp[b]) = pick(zp + b * V, top, V, u[b], s, w);
      });
    });
    TORCH_CHECK(!bad, "logits are not finite");
    out[0] = sn::own(ids);
    out[1] = sn::own(logp);
  });
}
