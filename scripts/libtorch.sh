#!/usr/bin/env bash
# Finds or fetches libtorch 2.11.0 and prepares what gotch needs to link against it.
#
# Order: $LIBTORCH, the user's cache, an installed PyTorch 2.11.0, a download from PyPI (checked
# against scripts/libtorch.txt). The result stands in one folder shared by all checkouts and its path is
# the only thing printed on standard output:
#   DIR/site/torch/{lib,include}  the wheels' own layout: the libraries' RPATH relies on it
#   DIR/build-N/                  compat.h and the stub archives that gotch links by name
# The path is the same for all checkouts so that gotch's three-minute C++ build is cached once.
set -euo pipefail
VERSION=2.11.0
BUILD=1 # raise when compat.h or the stubs change
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${SALSA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/salsa}/libtorch-$VERSION

die() { printf 'libtorch: %s\n' "$*" >&2; exit 1; }
say() { printf 'libtorch: %s\n' "$*" >&2; }

# version_of SITE prints the version of the libtorch under SITE/torch, or nothing.
version_of() {
  awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ {v = v s $3; s = "."} END {print v}' \
    "$1/torch/include/torch/headeronly/version.h" 2>/dev/null || true
}

check_tools() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "salsa is built for Linux x86-64; this is $(uname -sm)"
  command -v g++ >/dev/null || die "no g++ found; install one (Debian: apt-get install g++)"
  local major
  major=$(g++ -dumpversion | cut -d. -f1)
  [ "$major" -ge 10 ] || die "g++ $major is too old for libtorch's C++17 headers; install g++ 10 or later"
  command -v ar >/dev/null || die "no ar found; install binutils"
  command -v go >/dev/null || die "no go found; install Go 1.26 from go.dev/dl"
  local go_minor
  go_minor=$(GOTOOLCHAIN=local go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  [ "${go_minor:-0}" -ge 26 ] || die "$(go version | cut -d' ' -f3) is too old; install Go 1.26 or later"
}

# accept SITE: use an existing libtorch if it is the right one. A link keeps the path equal everywhere.
accept() {
  local site=$1 v
  v=$(version_of "$site")
  [ "$v" = "$VERSION" ] || return 1
  [ -e "$site/torch/lib/libtorch_cpu.so" ] || return 1
  mkdir -p "$root"
  rm -rf "$root/site"
  ln -s "$site" "$root/site"
  say "using PyTorch $v in $site"
}

download() {
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 ||
    die "pip is needed once, to fetch libtorch (Debian: apt-get install python3-pip), or set LIBTORCH to a folder that holds torch/lib of PyTorch $VERSION"
  mkdir -p "$root" || die "cannot create $root; set SALSA_CACHE to a writable folder"
  local free_kb
  free_kb=$(df -Pk "$root" | awk 'NR==2{print $4}')
  [ "$free_kb" -ge 2200000 ] || die "$root has $((free_kb / 1024)) MB free and 2200 MB are needed; free some or set SALSA_CACHE to another disk"
  local tmp
  tmp=$(mktemp -d "$root/fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  say "downloading torch $VERSION (530 MB, once)"
  # Fixed interpreter and platform: the wheel, and so its hash, is the same on every machine.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$tmp/wheels" -r "$here/libtorch.txt" >&2 ||
    die "the download failed (see above); check the network or set LIBTORCH to a folder that holds torch/lib of PyTorch $VERSION"
  say "unpacking (1.1 GB)"
  python3 - "$tmp" <<'PY' || die "unpacking failed; is the disk full?"
import glob, sys, zipfile
tmp = sys.argv[1]
for wheel in sorted(glob.glob(tmp + "/wheels/*.whl")):
    with zipfile.ZipFile(wheel) as z:
        for name in z.namelist():
            if name.startswith(("torch/lib/", "torch/include/", "nvidia/cu13/lib/")) or "/licenses/" in name:
                z.extract(name, tmp + "/site")
PY
  [ "$(version_of "$tmp/site")" = "$VERSION" ] || die "the downloaded wheel is not libtorch $VERSION"
  rm -rf "$root/site"
  mv "$tmp/site" "$root/site"
  rm -rf "$tmp"
  trap - EXIT
}

find_libtorch() {
  if [ -n "${LIBTORCH:-}" ]; then
    local dir=${LIBTORCH%/}
    # $LIBTORCH may name the site folder, its torch folder, or a plain libtorch folder named torch.
    for site in "$dir" "$(dirname "$dir")"; do
      if [ "$(readlink -f "$site")" = "$(readlink -f "$root/site" 2>/dev/null)" ]; then return; fi
      if accept "$site"; then return; fi
    done
    die "LIBTORCH=$LIBTORCH holds version '$(version_of "$dir" || true)', not $VERSION with torch/lib and torch/include; unset it to let salsa fetch the right one"
  fi
  if [ "$(version_of "$root/site")" = "$VERSION" ] && [ -e "$root/site/torch/lib/libtorch_cpu.so" ]; then return; fi
  local installed
  installed=$(cd / && python3 -c 'import importlib.util as u, os; s = u.find_spec("torch"); print(os.path.dirname(os.path.dirname(s.origin)) if s and s.origin else "")' 2>/dev/null || true)
  if [ -n "$installed" ] && accept "$installed"; then return; fi
  download
}

# gotch names these libraries on its link line; empty archives satisfy the linker, and the binary then
# needs libtorch_cpu and libc10 only. libtorch_cuda is opened at run time when a GPU is asked for.
write_stubs() {
  local dir=$root/build-$BUILD
  if [ -e "$dir/ok" ] && cmp -s "$here/compat.h" "$dir/compat.h"; then return; fi
  mkdir -p "$dir/stubs"
  for lib in cuda cudart cublas cudnn caffe2_nvrtc nvrtc-builtins nvrtc nvToolsExt c10_cuda torch_cuda torch; do
    rm -f "$dir/stubs/lib$lib.a"
    ar cr "$dir/stubs/lib$lib.a"
  done
  cp "$here/compat.h" "$dir/compat.h"
  touch "$dir/ok"
}

check_tools
mkdir -p "$root" || die "cannot create $root; set SALSA_CACHE to a writable folder"
exec 9>"$root/lock" # two checkouts setting up at once wait for each other
if command -v flock >/dev/null; then flock 9; fi
find_libtorch
write_stubs
printf '%s\n' "$root"
