// Shared by the C++ files of this package: the error border and the handle conversions.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "native.h"

namespace sn {

// First line only: libtorch appends C++ frames that mean nothing to a Go user.
inline char* message(const std::string& what) {
  return strdup(what.substr(0, what.find('\n')).c_str());
}

template <class F>
char* guard(F&& body) {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& e) {
    return message(e.what_without_backtrace());
  } catch (const std::exception& e) {
    return message(e.what());
  } catch (...) {
    return message("unknown C++ exception");
  }
}

inline at::Tensor& ref(sn_tensor t) { return *static_cast<at::Tensor*>(t); }
inline at::Tensor opt(sn_tensor t) { return t ? ref(t) : at::Tensor(); }
inline sn_tensor own(at::Tensor t) { return new at::Tensor(std::move(t)); }

inline std::vector<at::Tensor> list(sn_tensor* ts, int n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (int i = 0; i < n; i++) out.push_back(opt(ts[i]));
  return out;
}

}  // namespace sn
