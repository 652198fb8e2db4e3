// The threads that libtorch computes with: a range spread over them, and teams for kernels that need more than that, work
// that is handed out in pieces and barriers between phases.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace sn {

// forks tells whether there is a team of more than one thread to fork into: not inside another fork.
bool forks();
// fork calls fn(arg) once on every thread of libtorch's team and returns when all are done. Only where forks() holds; fn
// must not throw.
void fork(void (*fn)(void*), void* arg);
// Inside of fork: the size of the team, which may be smaller than asked for, and the caller's place in it.
int fork_size();
int fork_place();

// parallel_for calls f(from, to) on ranges that make up [0, n), each of `grain` or more but the last, one per thread.
// It stands for at::parallel_for, which runs on one thread in code that is compiled without OpenMP, as ours is: compiled
// with it, ours would bring a second OpenMP runtime beside libtorch's. What f throws is thrown here.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  if (n <= grain || n == 1 || !forks()) return f(int64_t(0), n);
  struct Call {
    int64_t n, grain;
    F* f;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error;
  } call{n, std::max<int64_t>(grain, 1), &f};
  fork(
      [](void* p) {
        Call* c = static_cast<Call*>(p);
        int64_t parts = std::min<int64_t>(fork_size(), (c->n + c->grain - 1) / c->grain);
        int64_t size = std::max(c->grain, (c->n + parts - 1) / parts), from = fork_place() * size;
        if (from >= c->n) return;
        try {
          (*c->f)(from, std::min(c->n, from + size));
        } catch (...) {
          if (!c->failed.test_and_set()) c->error = std::current_exception();
        }
      },
      &call);
  if (call.error) std::rethrow_exception(call.error);
}

// hand_out calls f(from, to) on pieces that make up [0, n), of at most `most`, on `threads` threads. They get smaller towards
// the end: each is what every thread would get of what is left. Threads wait for one another as libtorch's own do.
template <class F>
void hand_out(int64_t threads, int64_t n, int64_t most, F&& f) {
  std::atomic<int64_t> next{0};
  parallel_for(std::min(threads, n), 1, [&](int64_t, int64_t) {
    for (int64_t i = next; i < n;) {
      int64_t to = i + std::clamp<int64_t>((n - i) / threads, 1, most);
      if (!next.compare_exchange_weak(i, to)) continue;
      f(i, to);
      i = next;
    }
  });
}

// Team is what the threads of one run share. Every thread must go through the same sequence of each and barrier.
class Team {
 public:
  // run calls body(team, thread) on every thread of libtorch's team and returns when all are done.
  template <class F>
  static void run(F&& body) {
    struct Call {
      Team team;
      F* body;
    } call{{}, &body};
    call.team.start(
        [](void* p) {
          Call* c = static_cast<Call*>(p);
          (*c->body)(c->team, c->team.enter());
        },
        &call);
  }

  int size() const { return size_; }

  // each hands out [0, n) in pieces of at most `piece` and ends with a barrier.
  template <class F>
  void each(int64_t n, int64_t piece, F&& f) {
    if (size_ == 1) {
      for (int64_t i = 0; i < n; i += piece) f(i, i + piece < n ? i + piece : n);
      return;
    }
    for (int64_t i; (i = next_.fetch_add(piece, std::memory_order_relaxed)) < n;) f(i, i + piece < n ? i + piece : n);
    barrier();
  }

  // shrinking is each with pieces that get smaller: half of what every thread would get of what is left, at most `most` and
  // at least `least`, of which all but the last are multiples. Large ones let a kernel stream, small ones let all threads
  // reach the barrier together.
  template <class F>
  void shrinking(int64_t n, int64_t least, int64_t most, F&& f) {
    if (size_ == 1) return each(n, most, f);
    for (int64_t i = next_.load(std::memory_order_relaxed); i < n;) {
      int64_t size = std::clamp((n - i) / (2 * size_) / least * least, least, most), to = std::min(n, i + size);
      if (!next_.compare_exchange_weak(i, to, std::memory_order_relaxed)) continue;
      f(i, to);
      i = next_.load(std::memory_order_relaxed);
    }
    barrier();
  }

 private:
  void start(void (*fn)(void*), void* arg);
  int enter();
  void barrier();
  void barrier_of(int n);

  std::atomic<int64_t> next_{0};  // the first piece that nobody has taken
  std::atomic<int> entered_{0}, arrived_{0};
  std::atomic<int> turn_{0};  // counts barriers; sleepers wait on it
  std::atomic<int> sleepers_{0};
  int size_ = 1;
};

}  // namespace sn
