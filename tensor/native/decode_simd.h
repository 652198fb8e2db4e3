// The table of vector kernels that fits this processor.
#pragma once
#include <cstdint>

namespace sn {

struct bf16 {
  uint16_t bits;
};

// Kernels<T> compute on weights and activations of type T, float or bf16, and sum in float; see decode_kernels.h and
// panel_kernels.h.
template <class T>
struct Kernels {
  void (*product)(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, const T* w, int64_t ldw, int64_t m, int64_t K);
  void (*panel_product)(float* y, int64_t ldy, const T* x, int64_t ldx, int64_t n, const T* w, int64_t m, int64_t K);
  void (*lay_panel)(T* to, const T* w, int64_t K, int64_t width);
  int64_t panel_width;  // rows of a panel
  void (*finish)(float* y, int64_t ldy, int64_t n, const T* bias, int64_t m);
  void (*norm)(T* y, const float* x, const T* w, int64_t n, float eps, bool plus_one);
  void (*norm_wide)(float* y, const float* x, const T* w, int64_t n, float eps, bool plus_one);
  void (*add)(float* x, const float* y, int64_t n);
  void (*pack)(T* y, const float* x, int64_t n);
  void (*rotate)(T* y, const float* x, const float* cos, const float* sin, int64_t K);
  float (*exp_all)(float* p, int64_t n);
  void (*mix)(T* y, const float* p, float total, const T* v, int64_t n, int64_t K);
  void (*gate)(T* y, const float* g, const float* u, int64_t n, int act);
};

template <class T>
const Kernels<T>& kernels();

constexpr int64_t draw_block = 512;  // weights whose sum is kept, so that a draw reads one block

// DrawKernels draw from a row of logits; see sample.hpp.
struct DrawKernels {
  float (*largest)(const float* z, int64_t n, bool* nan);
  void (*weigh)(float* p, const float* z, int64_t n, float top, float inv, double* blocks);
  int64_t (*at_least)(int32_t* ids, const float* p, int64_t n, float floor);
  void (*peaks)(float* y, const float* p, int64_t n);
  void (*sieve)(float* p, int64_t n, float floor, double* blocks);
};
const DrawKernels& draw_kernels();

// AttentionRows are the rows of a line of tokens. Row r sees the tokens slots[starts[r]] to slots[starts[r+1]-1], in this
// order; the last own[r] of them are its queries. A window of 0 is none.
struct AttentionRows {
  const int64_t *slots, *starts, *own;
  int64_t window;
};

// AttentionHeads say where each head of each token lies, in elements; the elements of one lie side by side.
template <class T>
struct AttentionHeads {
  T* p;
  int64_t head, token;
};

// AttentionJob is what all heads of all rows have in common; see attention.hpp.
template <class T>
struct AttentionJob {
  AttentionRows rows;
  int64_t tokens, K, share;  // of the line; of a head; query heads to one of k and v
  float scale, cap;
  AttentionHeads<T> q, k, v, o, g, dq;  // g is the gradient of o
  float* lse;                           // [H, tokens]
  AttentionHeads<float> dk, dv;         // by query head
};

template <class T>
struct AttentionKernels {
  int64_t (*scratch)(int64_t longest, int64_t K, bool back);  // floats that a call needs
  void (*forward)(const AttentionJob<T>& job, int64_t row, int64_t head, float* scratch);
  void (*backward)(const AttentionJob<T>& job, int64_t row, int64_t head, float* scratch);
};

template <class T>
const AttentionKernels<T>& attention_kernels();

// ProductSweep is some rows of a product's left operand against panels of the right one, over a range of the terms of each
// sum; see product_kernels.h. Unit u of row r of tile t lies at a + t·tile + r·row + u·unit, in bytes.
template <class T>
struct ProductSweep {
  const char* a;
  int64_t row, unit, tile, rows;
  const void* b;  // panels, `units` long each
  int64_t units, columns;
  T* y;
  int64_t ldy;
  const T* bias;     // of the columns, or null
  bool add;          // to what y holds
  float* sums;       // of the tiles, where there are several ranges
  bool first, last;  // range
};

// ProductKernels are null where the set has none. lay_rows lays one panel of rows, lay_columns and lay_left panels of columns
// that lie side by side, `panel` bytes apart, and lay_left_rows, null where the left operand's rows are read as they lie, all of
// those rows, one behind the other.
template <class T>
struct ProductKernels {
  void (*sweep)(const ProductSweep<T>& s);
  void (*lay_rows)(void* to, const T* w, int64_t ld, int64_t K, int64_t width);
  void (*lay_columns)(void* to, int64_t panel, const T* w, int64_t ld, int64_t K, int64_t columns);
  void (*lay_left)(void* to, int64_t panel, const T* w, int64_t ld, int64_t K, int64_t columns);
  void (*lay_left_rows)(void* to, const T* w, int64_t ld, int64_t K, int64_t rows);
  int64_t rows, columns;  // of a tile
  int64_t terms, range;   // of a unit, which takes 4 bytes; units that a sum takes at a time
};
template <class T>
const ProductKernels<T>& product_kernels();

// Narrowing and widening outside the kernels.
float to_float(float x);
float to_float(bf16 x);
template <class T>
T from_float(float x);

}  // namespace sn
