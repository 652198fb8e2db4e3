// The arithmetic of attention over rows of any length, on vectors of VL floats. decode_simd.cpp includes this file behind
// decode_kernels.h, once for each instruction set; what that file says of functions and of the order of sums holds here.
//
// One call computes one head of one row: the row's own tokens look at its path, the tokens from its first to its last,
// which may lie anywhere in the line. Scores of a strip of queries stand in memory, those of the whole row never do
// (Rabe & Staats, arXiv 2112.05682; Dao et al., arXiv 2205.14135, whose backward pass from the log-sum-exp this is).

static constexpr int64_t STRIP = 48;              // queries at once, at most
static constexpr int TILE_M = 6;                  // products in registers: rows
static constexpr int TILE_N = VL == 16 ? 4 : 2;   // and vectors

static inline int64_t padded(int64_t n) { return (n + VL - 1) / VL * VL; }
static inline vf spread(float x) { return x - vf{}; }

// c[M, N·VL] (+)= a[M, K]·b[K, N·VL], where a(m, k) lies at a[m·am + k·ak].
template <int M, int N>
static inline void rank(float* c, int64_t ldc, const float* a, int64_t am, int64_t ak, const float* b, int64_t ldb, int64_t K, bool add) {
  vf acc[M][N];
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) acc[m][n] = add ? load(c + m * ldc + n * VL) : vf{};
  for (int64_t k = 0; k < K; k++, a += ak, b += ldb) {
    vf row[N];
    for (int n = 0; n < N; n++) row[n] = load(b + n * VL);
    for (int m = 0; m < M; m++) {
      vf x = spread(a[m * am]);
      for (int n = 0; n < N; n++) acc[m][n] = madd(x, row[n], acc[m][n]);
    }
  }
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) store(c + m * ldc + n * VL, acc[m][n]);
}

template <int N>
static inline void ranks(float* c, int64_t ldc, const float* a, int64_t am, int64_t ak, const float* b, int64_t ldb, int64_t M, int64_t K, bool add) {
  int64_t m = 0;
  for (; m + TILE_M <= M; m += TILE_M) rank<TILE_M, N>(c + m * ldc, ldc, a + m * am, am, ak, b, ldb, K, add);
  for (; m + 2 <= M; m += 2) rank<2, N>(c + m * ldc, ldc, a + m * am, am, ak, b, ldb, K, add);
  if (m < M) rank<1, N>(c + m * ldc, ldc, a + m * am, am, ak, b, ldb, K, add);
}

// c[M, N] (+)= a[M, K]·b[K, N]; N is a multiple of VL.
static void matmul(float* c, int64_t ldc, const float* a, int64_t am, int64_t ak, const float* b, int64_t ldb, int64_t M, int64_t N, int64_t K, bool add) {
  int64_t n = 0;
  for (; n + TILE_N * VL <= N; n += TILE_N * VL) ranks<TILE_N>(c + n, ldc, a, am, ak, b + n, ldb, M, K, add);
  for (; n < N; n += VL) ranks<1>(c + n, ldc, a, am, ak, b + n, ldb, M, K, add);
}

template <class T>
static inline T* place(const AttentionHeads<T>& x, int64_t head, int64_t token) {
  return x.p + head * x.head + token * x.token;
}

// Copies x, K long, times by, to y; zeros follow up to the multiple of VL.
template <class T>
static inline void copy_row(float* y, const T* x, int64_t K, float by) {
  int64_t k = 0;
  for (; k + VL <= K; k += VL) store(y + k, load(x + k) * by);
  if (k < K) store(y + k, load_part(x + k, K - k) * by);
}

// The rows of one head that path names, [n, padded(K)].
template <class T>
static void gather(float* y, const AttentionHeads<T>& x, int64_t head, const int64_t* path, int64_t n, int64_t K) {
  for (int64_t i = 0; i < n; i++) copy_row(y + i * padded(K), place(x, head, path[i]), K, 1);
}

// y[K, ld] is x[n, padded(K)] turned; columns from n on are zero.
static void turn(float* y, int64_t ld, const float* x, int64_t n, int64_t K) {
  int64_t step = padded(K);
  for (int64_t i = 0; i < ld; i += VL) {
    int64_t m = n - i < VL ? n - i : VL;
    for (int64_t k = 0; k < K; k++) {
      vf column = {};
      for (int64_t j = 0; j < VL; j++) column[j] = j < m ? x[(i + j) * step + k] : 0;
      store(y + k * ld + i, column);
    }
  }
}

// Strip says which keys the queries [from, from + count) of a row see between them: [low, high) of its path.
struct Strip {
  int64_t from, count, first, low, high, width;

  // first is how many tokens of the path come before the row's own.
  Strip(const AttentionRows& r, int64_t from, int64_t own, int64_t strip, int64_t first) : from(from), first(first) {
    count = own - from < strip ? own - from : strip;
    high = first + from + count;
    low = r.window > 0 && first + from + 1 > r.window ? (first + from + 1 - r.window) / VL * VL : 0;
    width = padded(high - low);
  }
  // Query i of the strip sees the keys [begin(i), end(i)), counted from low.
  int64_t end(int64_t i) const { return first + from + i + 1 - low; }
  int64_t begin(const AttentionRows& r, int64_t i) const {
    int64_t b = r.window > 0 ? end(i) - r.window : 0;
    return b > 0 ? b : 0;
  }
};

// How many queries share a strip over n keys, so that their scores stay in the second-level cache.
static inline int64_t strip_of(int64_t n) {
  int64_t fit = (1 << 16) / (n + 1) / TILE_M * TILE_M;
  return fit < 4 * TILE_M ? 4 * TILE_M : fit > STRIP ? STRIP : fit;
}

// cap·tanh(z/cap) over a row; slope, unless null, gets the derivative (Gemma 2, arXiv 2408.00118, §2).
static void soft_cap(float* z, float* slope, int64_t n, float cap) {
  for (int64_t j = 0; j < n; j += VL) {
    vf t = 1.f - 2.f / (vexp(load(z + j) * (2.f / cap)) + 1.f);
    if (slope) store(slope + j, 1.f - t * t);
    store(z + j, t * cap);
  }
}

// Weights e^(z - shift) of the keys [from, to) of a row of width, zeros elsewhere; returns their sum. z - z keeps what is
// not a number so, and makes it of infinity.
static float weights(float* z, int64_t from, int64_t to, int64_t width, float shift) {
  vf total = {};
  for (int64_t j = 0; j < width; j += VL) {
    vf x = load(z + j), w = vexp(x - shift) + (x - x);
    if (j < from || j + VL > to) {
      for (int64_t l = 0; l < VL; l++) w[l] = j + l >= from && j + l < to ? w[l] : 0;
    }
    store(z + j, w);
    total = total + w;
  }
  return sum(total);
}

// The largest of the keys [from, to).
static float top(const float* z, int64_t from, int64_t to) {
  vf all = spread(z[from]);
  int64_t j = from;
  for (; j + VL <= to; j += VL) all = vmax(load(z + j), all);
  float most = z[from];
  for (; j < to; j++) most = z[j] > most ? z[j] : most;
  for (int l = 0; l < VL; l++) most = all[l] > most ? all[l] : most;
  return most;
}

// Scratch that forward and backward need for a path of n tokens and heads of K, in floats.
static int64_t attention_scratch(int64_t n, int64_t K, bool back) {
  int64_t Kp = padded(K), np = padded(n) + VL, strip = strip_of(n);
  return back ? 2 * K * np + 3 * n * Kp + strip * (3 * np + 3 * Kp) : K * np + n * Kp + strip * (np + 2 * Kp);
}

template <class T>
static void attend(const AttentionJob<T>& job, int64_t row, int64_t head, float* scratch) {
  const AttentionRows& r = job.rows;
  const int64_t* path = r.slots + r.starts[row];
  int64_t n = r.starts[row + 1] - r.starts[row], own = r.own[row], first = n - own, K = job.K, Kp = padded(K), np = padded(n) + VL;
  int64_t strip = strip_of(n);
  float *kt = scratch, *v = kt + K * np, *s = v + n * Kp, *q = s + strip * np, *o = q + strip * Kp;
  gather(v, job.k, head / job.share, path, n, K);
  turn(kt, np, v, n, K);
  gather(v, job.v, head / job.share, path, n, K);
  for (int64_t from = 0; from < own; from += strip) {
    Strip t(r, from, own, strip, first);
    for (int64_t i = 0; i < t.count; i++) copy_row(q + i * Kp, place(job.q, head, path[first + from + i]), K, job.scale);
    matmul(s, t.width, q, Kp, 1, kt + t.low, np, t.count, t.width, K, false);
    for (int64_t i = 0; i < t.count; i++) {
      float* z = s + i * t.width;
      if (job.cap > 0) soft_cap(z, nullptr, t.width, job.cap);
      float most = top(z, t.begin(r, i), t.end(i)), total = weights(z, t.begin(r, i), t.end(i), t.width, most);
      job.lse[head * job.tokens + path[first + from + i]] = most + __builtin_logf(total);
      q[i * Kp] = 1 / total;  // the query is used up
    }
    matmul(o, Kp, s, t.width, 1, v + t.low * Kp, Kp, t.count, Kp, t.high - t.low, false);
    for (int64_t i = 0; i < t.count; i++) {
      T* y = place(job.o, head, path[first + from + i]);
      for (int64_t k = 0; k < K; k++) narrow(o[i * Kp + k] * q[i * Kp], y + k);
    }
  }
}

// Adds the gradients of a row's path to those of the line: [n, padded(K)] to rows of K.
static void scatter(const AttentionHeads<float>& y, int64_t head, const float* x, const int64_t* path, int64_t n, int64_t K) {
  for (int64_t i = 0; i < n; i++) {
    float* to = place(y, head, path[i]);
    for (int64_t k = 0; k < K; k++) to[k] += x[i * padded(K) + k];
  }
}

// dq of the row's own tokens is written; dk and dv, of the head and in float, are added to.
template <class T>
static void attend_back(const AttentionJob<T>& job, int64_t row, int64_t head, float* scratch) {
  const AttentionRows& r = job.rows;
  const int64_t* path = r.slots + r.starts[row];
  int64_t n = r.starts[row + 1] - r.starts[row], own = r.own[row], first = n - own, K = job.K, Kp = padded(K), np = padded(n) + VL;
  int64_t strip = strip_of(n);
  float *kt = scratch, *vt = kt + K * np, *k = vt + K * np, *dk = k + n * Kp, *dv = dk + n * Kp, *p = dv + n * Kp;
  float *ds = p + strip * np, *slope = ds + strip * np, *q = slope + strip * np, *g = q + strip * Kp, *dq = g + strip * Kp;
  gather(k, job.v, head / job.share, path, n, K);
  turn(vt, np, k, n, K);
  gather(k, job.k, head / job.share, path, n, K);
  turn(kt, np, k, n, K);
  for (int64_t i = 0; i < 2 * n * Kp; i++) dk[i] = 0;
  for (int64_t from = 0; from < own; from += strip) {
    Strip t(r, from, own, strip, first);
    for (int64_t i = 0; i < t.count; i++) {
      copy_row(q + i * Kp, place(job.q, head, path[first + from + i]), K, job.scale);
      copy_row(g + i * Kp, place(job.g, head, path[first + from + i]), K, 1);
    }
    matmul(p, t.width, q, Kp, 1, kt + t.low, np, t.count, t.width, K, false);
    matmul(ds, t.width, g, Kp, 1, vt + t.low, np, t.count, t.width, K, false);
    for (int64_t i = 0; i < t.count; i++) {
      float *z = p + i * t.width, *d = ds + i * t.width, *bend = slope + i * t.width;
      if (job.cap > 0) soft_cap(z, bend, t.width, job.cap);
      weights(z, t.begin(r, i), t.end(i), t.width, job.lse[head * job.tokens + path[first + from + i]]);
      // Σ_k g·o, the part of the soft-max's derivative that a query's keys share
      const T* y = place(job.o, head, path[first + from + i]);
      float shared = 0;
      for (int64_t c = 0; c < K; c++) shared += g[i * Kp + c] * widen(y[c]);
      for (int64_t j = 0; j < t.width; j += VL) {
        vf x = load(z + j) * (load(d + j) - shared);
        store(d + j, job.cap > 0 ? x * load(bend + j) : x);
      }
    }
    int64_t keys = t.high - t.low;
    matmul(dv + t.low * Kp, Kp, p, 1, t.width, g, Kp, keys, Kp, t.count, true);
    matmul(dk + t.low * Kp, Kp, ds, 1, t.width, q, Kp, keys, Kp, t.count, true);
    matmul(dq, Kp, ds, t.width, 1, k + t.low * Kp, Kp, t.count, Kp, keys, false);
    for (int64_t i = 0; i < t.count; i++) {
      T* y = place(job.dq, head, path[first + from + i]);
      for (int64_t c = 0; c < K; c++) narrow(dq[i * Kp + c] * job.scale, y + c);
    }
  }
  scatter(job.dk, head, dk, path, n, K);
  scatter(job.dv, head, dv, path, n, K);
}

template <class T>
static AttentionKernels<T> attention_kernels() {
  return {attention_scratch, attend<T>, attend_back<T>};
}
