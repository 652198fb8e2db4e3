# Source this file (bash or zsh) for a shell in which plain `go build ./...`, `go test ./...` and
# `go test -bench . ./bench` work. It finds or fetches libtorch first; see scripts/libtorch.sh.
_salsa_here=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)
if _salsa_build=$("$_salsa_here/scripts/libtorch.sh"); then
  _salsa_torch=${_salsa_build%/*}/site/torch
  # Byte-identical flags in every checkout: Go hashes them, and gotch's C++ build takes minutes.
  export CGO_CXXFLAGS="-include $_salsa_build/compat.h -I$_salsa_torch/include -I$_salsa_torch/include/torch/csrc/api/include"
  export CGO_LDFLAGS="-L$_salsa_build/stubs -L$_salsa_torch/lib -Wl,-rpath,$_salsa_torch/lib -ltorch_cpu -lc10"
  export CGO_CXXFLAGS_ALLOW='.*' CGO_LDFLAGS_ALLOW='.*' CGO_ENABLED=1
else
  echo "env.sh: set-up failed; the line above says why" >&2
  unset _salsa_here _salsa_build
  return 1 2>/dev/null || exit 1
fi
unset _salsa_here _salsa_build _salsa_torch
