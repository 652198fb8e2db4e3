// AdamW over stretches of plain memory. No call here touches libtorch's state.
//
// The float32 weight ("master") of a bf16 parameter is the parameter's 16 bits, which are the master rounded to the
// nearest, ties to even, and 16 more: the master's low half. They tell it exactly but for ties: an even bf16 may stand
// for the master half a step above it or the one half a step below. The sign of the second moment, which is never
// negative, says which: it is set where the tie was rounded up in magnitude.
#pragma once
#include <stdint.h>

namespace sn {

// AdamW is one parameter's step in the numbers that its elements are computed with.
struct AdamW {
  float clip;     // what gradients are multiplied by
  float decay;    // 1 - lr·weight decay
  float lerp;     // 1 - beta1, less 1 where near is false
  float beta2;
  float square;   // 1 - beta2
  float root;     // √(1 - beta2^step)
  float eps;
  float rate;     // -lr / (1 - beta1^step)
  bool near;      // 1 - beta1 < 1/2: the first moment is reckoned from its old value, else from the gradient

  AdamW() = default;
  AdamW(double step, double lr, double beta1, double beta2, double weight_decay, double eps, double clip);
};

// adamw moves n weights; g is scaled by c.clip first. Bits are bf16.
void adamw(const AdamW& c, float* w, const float* g, float* m, float* v, int64_t n);
void adamw_half(const AdamW& c, uint16_t* w, uint16_t* rest, const uint16_t* g, float* m, float* v, int64_t n);

// master_join writes the masters; master_split takes them apart. v keeps its size, its signs are the masters'.
void master_join(uint32_t* master, const uint16_t* w, const uint16_t* rest, const uint32_t* v, int64_t n);
void master_split(const uint32_t* master, uint16_t* w, uint16_t* rest, uint32_t* v, int64_t n);

// squares is the sum of n squares, in float64.
double squares(const float* x, int64_t n);
double squares_half(const uint16_t* x, int64_t n);

}  // namespace sn
