// Which of MKL's kernels compute matrix products on the CPU.
//
// MKL asks mkl_serv_intel_cpu_true, once, whether the processor is Intel's, and gives others its AVX2 kernels even
// where they have AVX-512. The answer here replaces that of libtorch_cpu: symbols of the program come first. Kernels
// differ in the order of their sums, so the choice belongs to a run's configuration.
#include "native.h"

#include <atomic>
#include <cstdlib>

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

}  // extern "C"
