// Starting libtorch's thread team, and the barrier between its threads.
#include "team.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <climits>

namespace sn {

namespace {

using ParallelFn = void (*)(void (*)(void*), void*, unsigned, unsigned);
using IntFn = int (*)();

// libtorch brings its own OpenMP runtime; a second one, linked here, would be a second team on the same cores.
template <class F>
F runtime(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
}

ParallelFn parallel() {
  static ParallelFn fn = runtime<ParallelFn>("GOMP_parallel");
  return fn;
}

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

bool forks() { return at::get_num_threads() > 1 && parallel() && !at::in_parallel_region(); }

// Always the whole team: the runtime ends the threads that a smaller one leaves out, and starts them again for the next.
void fork(void (*fn)(void*), void* arg) { parallel()(fn, arg, static_cast<unsigned>(at::get_num_threads()), 0); }

int fork_size() {
  static IntFn fn = runtime<IntFn>("omp_get_num_threads");
  return fn();
}

int fork_place() {
  static IntFn fn = runtime<IntFn>("omp_get_thread_num");
  return fn();
}

void Team::start(void (*fn)(void*), void* arg) {
  if (forks()) return fork(fn, arg);
  entered_ = -1;  // no region: enter must not ask the runtime
  fn(arg);
}

int Team::enter() {
  if (entered_.load(std::memory_order_relaxed) < 0) return 0;
  int me = entered_.fetch_add(1);
  int n = fork_size();
  if (me == 0) size_ = n;
  barrier_of(n);
  return me;
}

void Team::barrier() { barrier_of(size_); }

// A short spin, since phases take microseconds and end almost together, then sleep: the cores may be shared.
void Team::barrier_of(int n) {
  if (n == 1) return;
  int turn = turn_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == n - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    turn_.store(turn + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0)
      syscall(SYS_futex, reinterpret_cast<int*>(&turn_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    return;
  }
  for (int i = 0; i < 3000; i++) {
    if (turn_.load(std::memory_order_acquire) != turn) return;
    relax();
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (turn_.load(std::memory_order_seq_cst) == turn)
    syscall(SYS_futex, reinterpret_cast<int*>(&turn_), FUTEX_WAIT_PRIVATE, turn, nullptr, nullptr, 0);
  sleepers_.fetch_sub(1, std::memory_order_seq_cst);
}

}  // namespace sn
