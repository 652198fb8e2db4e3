// The threads that libtorch computes with, for kernels that need more of them than parallel_for gives: work that is
// handed out in pieces, and barriers between phases.
#pragma once
#include <atomic>
#include <cstdint>

namespace sn {

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
