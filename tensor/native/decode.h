// C interface of decode.cpp: the next tokens of many rows through all layers of a decoder in one call, on the CPU.
#pragma once
#include "native.h"

#ifdef __cplusplus
extern "C" {
#endif

// The tensors of a layer, in this order; those that a model lacks are NULL.
enum {
  SN_NORM, SN_Q, SN_K, SN_V, SN_O, SN_Q_BIAS, SN_K_BIAS, SN_V_BIAS, SN_O_BIAS, SN_Q_NORM, SN_K_NORM, SN_POST_NORM,
  SN_MLP_NORM, SN_GATE, SN_UP, SN_DOWN, SN_GATE_BIAS, SN_UP_BIAS, SN_DOWN_BIAS, SN_POST_MLP_NORM, SN_LAYER_TENSORS
};
// Those of the model, before the layers'.
enum { SN_EMBED, SN_FINAL_NORM, SN_HEAD, SN_MODEL_TENSORS };

typedef struct {
  int64_t layers, hidden, heads, kv_heads, head_dim, inner, vocab;
  int act;  // 0 SiLU, 1 GELU, 2 its tanh form
  int plus_one;
  int64_t panels;  // weights with rows shorter than this are copied into panels, which pays where many steps follow
  double eps, scale, softcap, embed_scale, final_softcap;
} sn_decoder_shape;

// One call: token i has id ids[i], is the slots[i]-th of row rows[i] of the caches and is rotated by line turns[i] of
// the tables. Tokens of one row stand together in order. Logits are made for the tokens named by last.
typedef struct {
  int n, n_last;
  const int64_t *ids, *rows, *slots, *turns, *last;
  sn_tensor *keys, *values;     // by layer, [B, G, S, K]
  sn_tensor cos, sin;           // [P, K/2] fp32
  sn_tensor local_cos, local_sin;
} sn_decoder_step;

char* sn_decoder_new(void** out, const sn_decoder_shape* shape, sn_tensor* tensors, const int64_t* windows, const int64_t* local);
char* sn_decoder_run(sn_tensor* logits, void* decoder, const sn_decoder_step* step);
void sn_decoder_free(void* decoder);

#ifdef __cplusplus
}
#endif
