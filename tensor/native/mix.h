// Stretches of weights in plain memory, n elements each, aligned to their type; types are at::ScalarType's numbers of
// float16, float32, float64 and bfloat16. Any thread may call, no call fails. See mix.cpp.
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// out = Σ weights[k]·xs[k], summed in double with the error of every addition carried along and rounded once. A member
// of weight 0 is not read.
void sn_mix_lincomb(void* out, int type, const void* const* xs, const int* types, const double* weights, int members,
                    int64_t n);
// out = x - base; a null base is zero.
void sn_mix_widen(double* out, const void* x, int type, const double* base, int64_t n);
// finite tells whether all elements are.
int sn_mix_finite(const void* x, int type, int64_t n);
// dot sums in four lanes.
double sn_mix_dot(const double* a, const double* b, int64_t n);
// narrow rounds x to a type.
void sn_mix_narrow(void* out, int type, const double* x, int64_t n);
// fold writes w plus scale times elements at to at+n of the product of b [rows, rank] and a [rank, cols], both in float.
// out is double where w is, else float.
void sn_mix_fold(void* out, const void* w, int type, const float* b, const float* a, int rank, int64_t cols, float scale,
                 int64_t at, int64_t n);

// Task vectors, in double.
// out += lambda·consensus; how: 0 Σ w·tau, 1 the weighted mean of the entries that have the sign of that sum, 2 their sum.
void sn_mix_consensus(double* out, const double* const* tau, const double* weights, int members, int how, double lambda,
                      int64_t n);
// count adds to counts how many entries have each upper 16 bits of a magnitude's 31, or, where high is not negative, each
// lower 15 of those whose upper ones are high. A magnitude is the bits of a float without sign.
void sn_mix_count(int64_t* counts, const double* tau, int64_t high, int64_t n);
// equals is how many entries have just that magnitude.
int64_t sn_mix_equals(const double* tau, uint32_t least, int64_t n);
// trim clears entries whose magnitude is below least, or is least from entry equals on.
void sn_mix_trim(double* tau, uint32_t least, int64_t equals, int64_t n);
// drop clears entry j unless the top 53 bits of the number that stream gives for place at+j are below below, and
// multiplies others by gain.
void sn_mix_drop(double* tau, uint64_t stream, int64_t at, uint64_t below, double gain, int64_t n);

#ifdef __cplusplus
}
#endif
