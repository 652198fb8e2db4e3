// The memory of tensors on the CPU.
//
// A training step makes and frees the same large buffers over and over. Given back to the system each time, they come
// back as pages to be faulted in and cleared; kept by malloc, holes between buffers of different sizes add up to a third
// of the peak. Here freed buffers are kept as long as all that is held, in use or not, is no more than what was in use
// at some time: the peak is that of giving everything back at once, and a step in the steady state asks the system for
// little. What does not fit then is unmapped, the smallest holes first.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "native.h"

namespace {

constexpr size_t SMALL = 64 << 10;  // smaller buffers are malloc's
constexpr size_t LARGE_PAGE = 2 << 20;
constexpr size_t SPARE = 16 << 20;  // kept beyond what was ever in use, for programs that use little

// Pool holds the large buffers. Its addresses depend on the order of calls alone.
class Pool {
 public:
  Pool() : page_(size_t(sysconf(_SC_PAGESIZE))) {}

  // take returns n bytes, or nullptr if the system has none left.
  void* take(size_t n) {
    n = (n + page_ - 1) / page_ * page_;
    std::lock_guard<std::mutex> hold(lock_);
    char* p = reuse(n);
    if (!p) {
      trim(std::max(limit(), used_ + n) - n);
      p = map(n);
      if (!p) {
        trim(used_);  // our holes may be what the system lacks
        p = map(n);
      }
      if (!p) return nullptr;
      held_ += n;
    }
    sizes_[p] = n;
    used_ += n;
    most_ = std::max(most_, used_);
    return p;
  }

  // give takes a buffer back; false: it is none of ours.
  bool give(void* at) {
    if (reinterpret_cast<uintptr_t>(at) % page_ != 0) return false;
    std::lock_guard<std::mutex> hold(lock_);
    auto found = sizes_.find(static_cast<char*>(at));
    if (found == sizes_.end()) return false;
    char* p = found->first;
    size_t n = found->second;
    sizes_.erase(found);
    used_ -= n;
    auto next = holes_.lower_bound(p);
    if (next != holes_.end() && next->first == p + n) {
      n += next->second;
      next = drop(next);
    }
    if (next != holes_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == p) {
        p = before->first;
        n += before->second;
        drop(before);
      }
    }
    add(p, n);
    return true;
  }

  void count(int64_t* used, int64_t* held, int64_t* most) {
    std::lock_guard<std::mutex> hold(lock_);
    *used = int64_t(used_);
    *held = int64_t(held_);
    *most = int64_t(most_);
  }

  void release() {
    std::lock_guard<std::mutex> hold(lock_);
    trim(used_);
  }

 private:
  using Holes = std::map<char*, size_t>;

  size_t limit() const { return most_ + SPARE; }

  // reuse cuts n bytes from the smallest hole that has them.
  char* reuse(size_t n) {
    auto best = by_size_.lower_bound({n, nullptr});
    if (best == by_size_.end()) return nullptr;
    char* p = best->second;
    size_t rest = best->first - n;
    drop(holes_.find(p));
    if (rest > 0) add(p + n, rest);
    return p;
  }

  // trim unmaps holes until no more than `most` bytes are held.
  void trim(size_t most) {
    while (held_ > most && !by_size_.empty()) {
      auto [size, p] = *by_size_.begin();
      size_t n = std::min(size, (held_ - most + page_ - 1) / page_ * page_);
      drop(holes_.find(p));
      if (size > n) add(p, size - n);
      munmap(p + (size - n), n);
      held_ -= n;
    }
  }

  // Large pages, where the system has them to spare: they are cleared faster, and kernels that walk through megabytes need not
  // look up where each 4 KiB lie.
  static char* map(size_t n) {
    void* p = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    if (n >= LARGE_PAGE) madvise(p, n, MADV_HUGEPAGE);
    return static_cast<char*>(p);
  }

  void add(char* p, size_t n) {
    holes_[p] = n;
    by_size_.insert({n, p});
  }

  Holes::iterator drop(Holes::iterator at) {
    by_size_.erase({at->second, at->first});
    return holes_.erase(at);
  }

  const size_t page_;
  std::mutex lock_;
  std::unordered_map<char*, size_t> sizes_;        // of buffers in use
  Holes holes_;                                    // freed and still mapped, neighbours joined
  std::set<std::pair<size_t, char*>> by_size_;     // the same
  size_t used_ = 0, held_ = 0, most_ = 0;          // bytes: in use, mapped, and the most that was in use
};

// pool is never destroyed: tensors in static storage may outlive everything.
Pool& pool() {
  static Pool* p = new Pool;
  return *p;
}

void release(void* p) {
  if (p && !pool().give(p)) c10::free_cpu(p);
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* p = n == 0 ? nullptr : n < SMALL ? c10::alloc_cpu(n) : pool().take(n);
    TORCH_CHECK(n == 0 || p, "out of memory: no ", n, " bytes are left for a tensor");
    return {p, p, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
};

}  // namespace

extern "C" {

void sn_memory_init(void) { c10::SetCPUAllocator(new Allocator, /*priority=*/1); }

void sn_memory(int64_t* used, int64_t* held, int64_t* most) { pool().count(used, held, most); }

void sn_memory_release(void) { pool().release(); }

}  // extern "C"
