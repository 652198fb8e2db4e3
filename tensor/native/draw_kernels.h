// The passes over a row of logits that drawing a token takes, on vectors of VL floats. decode_simd.cpp includes this file
// after decode_kernels.h, once for each instruction set.

// The largest of n logits; nan tells whether one is not a number.
static float largest(const float* z, int64_t n, bool* nan) {
  vf top = vf{} - __builtin_inff();
  vi bad = {};
  int64_t i = 0;
  for (; i + VL <= n; i += VL) {
    vf v = load(z + i);
    bad |= v != v;
    top = vmax(top, v);
  }
  float most = top[0];
  *nan = false;
  for (int l = 0; l < VL; l++) {
    most = top[l] > most ? top[l] : most;
    *nan = *nan || bad[l];
  }
  for (; i < n; i++) {
    *nan = *nan || z[i] != z[i];
    most = z[i] > most ? z[i] : most;
  }
  return most;
}

// The sums of p in blocks of draw_block.
static void block_sums(const float* p, int64_t n, double* blocks) {
  for (int64_t b = 0; b * draw_block < n; b++) {
    int64_t end = (b + 1) * draw_block < n ? (b + 1) * draw_block : n, i = b * draw_block;
    vf acc = vf{};
    for (; i + VL <= end; i += VL) acc += load(p + i);
    if (i < end) acc += load_part(p + i, end - i);
    blocks[b] = sum(acc);
  }
}

// p = e^((z - top)·inv), and its sums.
static void weigh(float* p, const float* z, int64_t n, float top, float inv, double* blocks) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL) store(p + i, vexp((load(z + i) - top) * inv));
  if (i < n) store_part(p + i, vexp((load_part(z + i, n - i) - top) * inv), n - i);
  block_sums(p, n, blocks);
}

// Writes the ids of the weights of floor or more, in their order; returns how many there are.
static int64_t at_least(int32_t* ids, const float* p, int64_t n, float floor) {
  int64_t count = 0, i = 0;
  for (; i + VL <= n; i += VL) {
#if defined(__x86_64__) && VL == 16
    unsigned is = _mm512_cmp_ps_mask((__m512)load(p + i), _mm512_set1_ps(floor), _CMP_GE_OQ);
#elif defined(__x86_64__) && VL == 8
    unsigned is = unsigned(_mm256_movemask_ps(_mm256_cmp_ps((__m256)load(p + i), _mm256_set1_ps(floor), _CMP_GE_OQ)));
#else
    unsigned is = 0;
    for (int l = 0; l < VL; l++) is |= unsigned(p[i + l] >= floor) << l;
#endif
    for (; is; is &= is - 1) ids[count++] = int32_t(i + __builtin_ctz(is));
  }
  for (; i < n; i++)
    if (p[i] >= floor) ids[count++] = int32_t(i);
  return count;
}

// The largest weight of each of n/64 stretches.
static void peaks(float* y, const float* p, int64_t n) {
  for (int64_t b = 0; b < n / 64; b++) {
    vf top = load(p + b * 64);
    for (int64_t i = VL; i < 64; i += VL) top = vmax(top, load(p + b * 64 + i));
    float most = top[0];
    for (int l = 1; l < VL; l++) most = top[l] > most ? top[l] : most;
    y[b] = most;
  }
}

// Zeroes what is below floor.
static void sieve(float* p, int64_t n, float floor, double* blocks) {
  int64_t i = 0;
  for (; i + VL <= n; i += VL) {
    vf v = load(p + i);
    store(p + i, v < floor ? vf{} : v);
  }
  for (; i < n; i++) p[i] = p[i] < floor ? 0 : p[i];
  block_sums(p, n, blocks);
}

static DrawKernels draw_kernels() { return {largest, weigh, at_least, peaks, sieve}; }
