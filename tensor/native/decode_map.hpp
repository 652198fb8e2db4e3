// How the decoder keeps the weights of its linear maps: rows as they lie in a file, or a copy of them as panels; see
// panel_kernels.h.
#pragma once
#include "decode_simd.h"
#include "team.h"

#include <ATen/ops/empty.h>
#include <algorithm>
#include <vector>

namespace sn {

// Map is the weight of a linear map.
template <class T>
struct Map {
  const T* rows = nullptr;  // [m, K]
  int64_t m = 0, K = 0;
  const T* panels = nullptr;  // the same numbers; may be absent

  // product writes outputs from to past of n inputs, the first of them to y[i·ldy]. With panels, from begins one.
  void product(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, int64_t from, int64_t past) const {
    const Kernels<T>& k = kernels<T>();
    if (panels) k.panel_product(y, ldy, x, ldx, n, panels + from * K, past - from, K);
    else k.product(y, ldy, x, ldx, n, rows + from * K, K, past - from, K);
  }
};

// Panels owns the copies of a model's maps: one block, so that it lies on large pages (see memory.cpp). A walk through tens of
// megabytes in small ones spends a tenth of its time on finding them.
template <class T>
class Panels {
 public:
  // add has some maps laid into panels that are computed as one, all of them or none: all but the last must end with a
  // panel. Rows of `longest` and more stay as they are.
  void add(std::initializer_list<Map<T>*> maps, int64_t longest) {
    for (const Map<T>* a : maps)
      if (a->K % 2 != 0 || a->K >= longest || (a != *(maps.end() - 1) && a->m % width != 0)) return;
    maps_.insert(maps_.end(), maps);
  }

  void lay() {
    int64_t size = 0;
    for (const Map<T>* a : maps_) size += count(*a) * width * a->K;
    if (size == 0) return;
    block_ = at::empty({size}, sizeof(T) == 4 ? at::kFloat : at::kBFloat16);
    T* to = static_cast<T*>(block_.data_ptr());
    for (Map<T>* a : maps_) {
      a->panels = to;
      parallel_for(count(*a), 1, [&](int64_t from, int64_t past) {
        for (int64_t i = from * width; i < past * width; i += width)
          kernels<T>().lay_panel(to + i * a->K, a->rows + i * a->K, a->K, std::min(width, a->m - i));
      });
      to += count(*a) * width * a->K;
    }
  }

 private:
  int64_t count(const Map<T>& a) const { return (a.m + width - 1) / width; }

  const int64_t width = kernels<T>().panel_width;
  std::vector<Map<T>*> maps_;
  at::Tensor block_;
};

}  // namespace sn
