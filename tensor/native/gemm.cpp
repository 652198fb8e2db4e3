// Which kernels compute matrix products on the CPU: of MKL's or ours in fp32, and in bf16 libtorch's or ours.
//
// MKL asks mkl_serv_intel_cpu_true, once, whether the processor is Intel's, and gives others its AVX2 kernels even
// where they have AVX-512. The answer here replaces that of libtorch_cpu: symbols of the program come first. Kernels
// differ in the order of their sums, so the choice belongs to a run's configuration.
#include "native.h"
#include "decode_simd.h"

#include <atomic>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

// oneDNN, which computes products in bf16, compiles a kernel for every number of rows, and it and libtorch each keep the last
// 1024 of them, half a megabyte apiece. Batches differ in their tokens, so a run would grow by hundreds of megabytes without
// using a kernel of earlier steps again. A forward and a backward pass need about twenty, and compiling one takes half a
// millisecond. Both libraries read these before their first product; a user's own settings stay.
[[maybe_unused]] const bool few_kernels = [] {
  bool one = setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32", 0) == 0;
  return setenv("LRU_CACHE_CAPACITY", "32", 0) == 0 && one;
}();

std::atomic<int> choice{0};  // 0 by the processor, 1 MKL's own, 2 AVX-512
std::atomic<bool> asked{false};

#if defined(__x86_64__)
bool intel() { return __builtin_cpu_is("intel"); }
bool avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#else
bool intel() { return false; }
bool avx512() { return false; }
#endif

// amx tells of a processor that multiplies whole tiles in bf16, which libtorch uses: nothing made of vectors comes near it.
bool amx() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
#else
  return false;
#endif
}

std::atomic<int> own[2] = {0, 0};  // of fp32 and of bf16: 0 by the processor, 1 libtorch's, 2 ours

bool wide() { return avx512() && choice != 1; }

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int mkl_serv_intel_cpu_true(void) {
  asked = true;
  return intel() || wide();
}

int sn_gemm_asked(void) { return asked; }
int sn_gemm_wide(void) { return wide(); }
int sn_gemm_avx512(void) { return avx512(); }
void sn_gemm_choose(int c) { choice = c; }

int sn_gemm_own_has(int half) {
  if (half ? !sn::product_kernels<sn::bf16>().sweep : !sn::product_kernels<float>().sweep) return 0;
  return avx512() ? 512 : 256;
}

// Ours are best where libtorch has none for bf16 but plain loops, or where MKL is at two thirds of an AMD processor's limit.
int sn_gemm_own(int half) {
  static const bool best[2] = {sn_gemm_own_has(0) && !intel(), sn_gemm_own_has(1) && !amx()};
  half = half != 0;
  return own[half] == 0 ? best[half] : own[half] == 2;
}
void sn_gemm_own_choose(int half, int c) { own[half != 0] = c; }

}  // extern "C"
