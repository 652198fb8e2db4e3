// C interface of salsa's own libtorch calls: what gotch's generated layer lacks.
// Every function returns NULL on success or a malloc'd one-line message that the caller frees.
// Tensors are at::Tensor*, the same handles as gotch's; a returned handle is owned by the caller.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void* sn_tensor;

// create.hpp: making tensors, reading them, files, devices
char* sn_from_data(sn_tensor* out, const void* data, const int64_t* dims, int nd, int dtype);
char* sn_copy_out(sn_tensor t, void* dst, size_t bytes);
char* sn_randn(sn_tensor* out, const int64_t* dims, int nd, uint64_t seed, int dtype);
char* sn_map_open(void** map, const char* path);
char* sn_map_tensor(sn_tensor* out, void* map, int64_t offset, const int64_t* dims, int nd, int dtype);
void sn_map_close(void* map);
char* sn_cuda_open(void);
char* sn_cuda_count(int* count);
void sn_set_threads(int n);
int sn_get_threads(void);
int sn_kernel_threads(void);
const char* sn_torch_version(void);  // of the headers; not to be freed
char* sn_cpu_capability(char** out); // the caller frees *out
void sn_init(void);

// memory.cpp: the memory of CPU tensors in buffers of 64 KiB and more, in bytes: in use, held (in use and kept for
// reuse), and the most that was in use. release gives back what is not in use.
void sn_memory_init(void);
void sn_memory(int64_t* used, int64_t* held, int64_t* most);
void sn_memory_release(void);

// autograd.hpp: gradients
char* sn_backward(sn_tensor* ys, sn_tensor* grads, int n);
char* sn_with_grads(sn_tensor* out, sn_tensor y, sn_tensor a, sn_tensor b, sn_tensor* grads);
char* sn_zero_grads(sn_tensor* params, int n);

// adamw.hpp: the optimizer step
char* sn_grad_norm(sn_tensor* params, int n, double* total);
char* sn_scale_grads(sn_tensor* params, int n, double factor);
char* sn_fused_adamw(sn_tensor* params, sn_tensor* grads, sn_tensor* m, sn_tensor* v, sn_tensor* steps, int n,
                     double lr, double beta1, double beta2, double weight_decay, double eps);
typedef struct {
  sn_tensor param, m, v, step, rest;  // rest is null but for bf16
} sn_adamw_state;
char* sn_adamw(const sn_adamw_state* states, int n, double lr, double beta1, double beta2, double weight_decay, double eps, double clip);
char* sn_master_join(void* master, sn_tensor w, sn_tensor rest, sn_tensor v);
char* sn_master_split(const void* master, sn_tensor w, sn_tensor rest, sn_tensor v);

// gemm.cpp: the kernels of matrix products; see there. choose: 0 by the processor, 1 MKL's own, 2 AVX-512
int sn_gemm_asked(void);   // MKL has chosen: sn_gemm_choose comes too late
int sn_gemm_wide(void);    // products use the AVX-512 kernels
int sn_gemm_avx512(void);  // the processor has the instructions for them
void sn_gemm_choose(int choice);
int sn_gemm_own_has(int half);  // bits of the vectors of our products in bf16 or fp32, or 0 where the processor has no instructions for them
int sn_gemm_own(int half);      // they are used
void sn_gemm_own_choose(int half, int choice);  // 0 by the processor, 1 libtorch's, 2 ours

// products.hpp: a linear map; b may be null
char* sn_linear(sn_tensor* out, sn_tensor x, sn_tensor w, sn_tensor b);

// norm.hpp, normed.hpp, rope.hpp, gate.hpp, logprob.hpp: differentiable blocks; act: 0 silu, 1 gelu with erf, 2 gelu with tanh
char* sn_rms_norm(sn_tensor* out, sn_tensor x, sn_tensor w, double eps, int plus_one);
char* sn_normed_linears(sn_tensor* out, sn_tensor x, sn_tensor gain, sn_tensor* w, sn_tensor* b, int n, double eps,
                        int plus_one);
char* sn_rope(sn_tensor* out, sn_tensor x, sn_tensor cos, sn_tensor sin);
char* sn_gate(sn_tensor* out, sn_tensor gate, sn_tensor up, int act);
char* sn_gated_linear(sn_tensor* out, sn_tensor gate, sn_tensor up, sn_tensor w, sn_tensor b, int act);
char* sn_linear_logprob(sn_tensor* out, sn_tensor h, sn_tensor w, sn_tensor targets, double inv_temp,
                        double softcap, int64_t chunk);
char* sn_logprob_rows(int* yes, sn_tensor h, sn_tensor w, sn_tensor targets);
char* sn_logprob_score(sn_tensor* out, sn_tensor buf, sn_tensor h, sn_tensor w, sn_tensor targets, double inv_temp, double softcap);
char* sn_logprob_spread(sn_tensor dh, sn_tensor dw, int first, sn_tensor buf, sn_tensor h, sn_tensor w, sn_tensor targets,
                        sn_tensor lse, sn_tensor entropy, sn_tensor glogp, sn_tensor gentropy, double inv_temp, double softcap);

// fused.hpp: attention, mixing weights
char* sn_sdpa(sn_tensor* out, sn_tensor q, sn_tensor k, sn_tensor v, sn_tensor mask, int causal,
              double scale, int gqa);
char* sn_lincomb(sn_tensor dst, sn_tensor* src, const double* weights, int n);
char* sn_all_finite(sn_tensor t, int* yes);

// attention.hpp: rows are the four int64 tensors slots, starts, own and trees
char* sn_attention_rows(sn_tensor* out, sn_tensor q, sn_tensor k, sn_tensor v, sn_tensor* rows, int64_t window,
                        double scale, double cap);

// sample.hpp: drawing tokens
char* sn_sample(sn_tensor* out, sn_tensor logits, const double* u, double temperature, int64_t top_k,
                double top_p, double min_p);

#ifdef __cplusplus
}
#endif
