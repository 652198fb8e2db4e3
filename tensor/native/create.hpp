// Making tensors from memory, files and seeds; devices and threads.
#pragma once
#include "common.h"
#include "team.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Generator.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/randn.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <torch/headeronly/version.h>
#include <unistd.h>
#include <cerrno>
#include <memory>

namespace {

// Map is one read-only file in memory; it lives until the last tensor that looks into it is freed.
struct Map {
  void* base = nullptr;
  size_t size = 0;
  ~Map() {
    if (base) munmap(base, size);
  }
};
using MapRef = std::shared_ptr<Map>;

at::TensorOptions options(int dtype) {
  return at::TensorOptions().dtype(static_cast<at::ScalarType>(dtype));
}

}  // namespace

extern "C" {

void sn_init(void) {
  // Tensors have memory of their own. What malloc is asked for beside them, such as the scratch space of kernels, goes
  // back to the system when it is large: without this, glibc's arenas keep it.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  sn_memory_init();
}

char* sn_from_data(sn_tensor* out, const void* data, const int64_t* dims, int nd, int dtype) {
  return sn::guard([&] {
    at::Tensor t = at::empty(at::IntArrayRef(dims, nd), options(dtype));
    if (t.numel() > 0) memcpy(t.data_ptr(), data, t.nbytes());
    *out = sn::own(t);
  });
}

char* sn_copy_out(sn_tensor t, void* dst, size_t bytes) {
  return sn::guard([&] {
    at::Tensor c = sn::ref(t).detach().cpu().contiguous();
    TORCH_CHECK(c.nbytes() == bytes, "copy of ", c.nbytes(), " bytes into a buffer of ", bytes);
    if (bytes > 0) memcpy(dst, c.data_ptr(), bytes);
  });
}

char* sn_randn(sn_tensor* out, const int64_t* dims, int nd, uint64_t seed, int dtype) {
  return sn::guard([&] {
    // A generator of its own: the result is a function of the seed alone, and no hidden state moves.
    at::Generator gen = at::make_generator<at::CPUGeneratorImpl>(seed);
    *out = sn::own(at::randn(at::IntArrayRef(dims, nd), gen, options(dtype)));
  });
}

char* sn_map_open(void** map, const char* path) {
  return sn::guard([&] {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    TORCH_CHECK(fd >= 0, path, ": ", strerror(errno));
    struct stat st;
    int bad = fstat(fd, &st);
    auto m = std::make_shared<Map>();
    m->size = bad ? 0 : st.st_size;
    // Private and writable: an in-place op (an optimizer step) copies the page and never the file.
    void* base = m->size ? mmap(nullptr, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    int err = errno;
    close(fd);
    TORCH_CHECK(base != MAP_FAILED, path, ": cannot map: ", strerror(err));
    m->base = base;
    *map = new MapRef(m);
  });
}

char* sn_map_tensor(sn_tensor* out, void* map, int64_t offset, const int64_t* dims, int nd, int dtype) {
  return sn::guard([&] {
    MapRef m = *static_cast<MapRef*>(map);
    int64_t bytes = at::elementSize(static_cast<at::ScalarType>(dtype));
    for (int i = 0; i < nd; i++) bytes *= dims[i];
    TORCH_CHECK(offset >= 0 && bytes >= 0 && offset + bytes <= (int64_t)m->size, "tensor outside its file");
    *out = sn::own(at::for_blob(static_cast<char*>(m->base) + offset, at::IntArrayRef(dims, nd))
                       .deleter([m](void*) mutable { m.reset(); })
                       .options(options(dtype))
                       .make_tensor());
  });
}

void sn_map_close(void* map) { delete static_cast<MapRef*>(map); }

char* sn_cuda_open(void) {
  // RTLD_GLOBAL so that the CUDA backend registers with the dispatcher already in the process.
  return sn::guard([&] {
    void* lib = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
    TORCH_CHECK(lib != nullptr, dlerror());
  });
}

char* sn_cuda_count(int* count) {
  return sn::guard([&] {
    *count = 0;
    if (at::globalContext().hasCUDA()) *count = at::detail::getCUDAHooks().deviceCount();
  });
}

void sn_set_threads(int n) { at::set_num_threads(n); }
int sn_get_threads(void) { return at::get_num_threads(); }
int sn_kernel_threads(void) {
  std::atomic<int> ran{0};
  sn::parallel_for(at::get_num_threads(), 1, [&](int64_t, int64_t) { ran++; });
  return ran;
}
const char* sn_torch_version(void) { return TORCH_VERSION; }
char* sn_cpu_capability(char** out) {
  return sn::guard([&] { *out = strdup(at::get_cpu_capability().c_str()); });
}

}  // extern "C"
