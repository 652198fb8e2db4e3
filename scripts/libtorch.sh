#!/usr/bin/env bash
# Finds or fetches libtorch 2.11.0 and prepares what gotch needs to link against it.
#
# Order: $LIBTORCH, the user's cache, an installed PyTorch 2.11.0, a download from PyPI (checked
# against scripts/libtorch.txt). The result stands in one folder DIR shared by all checkouts:
#   DIR/site/torch/{lib,include}  the wheels' own layout: the libraries' RPATH relies on it
#   DIR/build-N/                  compat.h and the stub archives that gotch links by name
# The path is the same for all checkouts so that gotch's three-minute C++ build is cached once.
# The only thing printed on standard output is DIR/build-N; env.sh derives every flag from it.
#
#   scripts/libtorch.sh           what a build needs (1.1 GB)
#   scripts/libtorch.sh --cuda    also what `--device cuda` opens at run time (2.7 GB more)
set -euo pipefail
VERSION=2.11.0
BUILD=1 # raise when compat.h or the stubs change; no other file knows this number
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${SALSA_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/salsa}/libtorch-$VERSION
site=$root/site
build=$root/build-$BUILD

die() { printf 'libtorch: %s\n' "$*" >&2; exit 1; }
say() { printf 'libtorch: %s\n' "$*" >&2; }

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
  [ "${go_minor:-0}" -ge 26 ] || die "Go 1.${go_minor:-?} is too old; install Go 1.26 or later"
}

# version_of SITE prints the version of the libtorch under SITE/torch, or nothing.
version_of() {
  awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ {v = v s $3; s = "."} END {print v}' \
    "$1/torch/include/torch/headeronly/version.h" 2>/dev/null || true
}

has_libtorch() { [ "$(version_of "$1")" = "$VERSION" ] && [ -e "$1/torch/lib/libtorch_cpu.so" ]; }

# missing_libraries FILE prints the libraries that the loader would not find for FILE.
missing_libraries() { ldd "$1" 2>/dev/null | awk '/not found/ {print $1}' | tr '\n' ' '; }

# use SITE: stand a link in the cache's place, so that the path is equal everywhere.
use() {
  [ "$(readlink -f "$site")" != "$(readlink -f "$1")" ] || return 0
  local old
  old=$(mktemp -d "$root/old.XXXXXX")
  if [ -e "$site" ] || [ -L "$site" ]; then mv -T "$site" "$old/site"; fi
  ln -s "$1" "$site"
  rm -rf "$old"
  say "using PyTorch $VERSION in $1"
}

# use_given resolves $LIBTORCH: a folder that holds torch/, a folder named torch, or an unpacked libtorch.
use_given() {
  local dir found='' candidate missing
  local remedy="unset LIBTORCH to let salsa fetch $VERSION"
  dir=$(readlink -f "$LIBTORCH") && [ -d "$dir" ] || die "LIBTORCH=$LIBTORCH is not a folder; $remedy"
  if [ -d "$dir/lib" ] && [ -d "$dir/include" ] && [ "${dir##*/}" != torch ]; then
    mkdir -p "$root/plain"
    ln -sfnT "$dir" "$root/plain/torch"
    dir=$root/plain
  fi
  for candidate in "$dir" "$(dirname "$dir")"; do
    [ -z "$(version_of "$candidate")" ] || { found=$candidate; break; }
  done
  [ -n "$found" ] || die "LIBTORCH=$LIBTORCH holds no libtorch (no torch/include/torch/headeronly/version.h); $remedy"
  [ "$(version_of "$found")" = "$VERSION" ] || die "LIBTORCH=$LIBTORCH is version $(version_of "$found"), not $VERSION; $remedy"
  has_libtorch "$found" || die "LIBTORCH=$LIBTORCH lacks lib/libtorch_cpu.so; $remedy"
  missing=$(missing_libraries "$found/torch/lib/libtorch_cpu.so")
  [ -z "$missing" ] || die "LIBTORCH=$LIBTORCH needs libraries that are not there: $missing; install them or $remedy"
  use "$found"
}

# fetch LIST MB unpacks the wheels named in LIST into $tmp/site; it takes MB megabytes while it works.
fetch() {
  local list=$1 need=$2 free platforms=() v
  command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 ||
    die "pip is needed once, to fetch libtorch (Debian: apt-get install python3-pip), or set LIBTORCH to a folder that holds torch/lib of PyTorch $VERSION"
  free=$(df -Pk "$root" | awk 'NR==2 {print int($4 / 1024)}')
  [ "$free" -ge "$need" ] || die "$root has $free MB free and $need MB are needed; free some or set SALSA_CACHE to a folder on another disk"
  rm -rf "$root"/fetch.* # what an interrupted download left
  tmp=$(mktemp -d "$root/fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  mkdir "$tmp/pip"
  # Fixed interpreter and platform: the wheel, and so its hash, is the same on every machine.
  for v in 2_28 2_27 2_25 2_18 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${v}_x86_64"); done
  TMPDIR=$tmp/pip python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" --platform manylinux2014_x86_64 \
    -d "$tmp/wheels" -r "$list" >&2 ||
    die "the download failed (pip's reason is above); check the network, or set LIBTORCH to a folder that holds torch/lib of PyTorch $VERSION"
  python3 - "$tmp" <<'PY' || die "unpacking failed; is the disk full?"
import glob, os, re, sys, zipfile
tmp = sys.argv[1]
wanted = re.compile(r"torch/(lib|include)/|nvidia/[^/]+/lib/|.*/licenses/|.*License", re.I)
for wheel in sorted(glob.glob(tmp + "/wheels/*.whl")):
    with zipfile.ZipFile(wheel) as z:
        z.extractall(tmp + "/site", [n for n in z.namelist() if wanted.match(n)])
    os.remove(wheel)
PY
}

find_libtorch() {
  local installed
  if [ -n "${LIBTORCH:-}" ]; then use_given; return; fi
  if has_libtorch "$site"; then return; fi
  installed=$(cd / && python3 -c 'import importlib.util as u, os; s = u.find_spec("torch"); print(os.path.dirname(os.path.dirname(s.origin)) if s and s.origin else "")' 2>/dev/null || true)
  if [ -n "$installed" ] && has_libtorch "$installed" && [ -z "$(missing_libraries "$installed/torch/lib/libtorch_cpu.so")" ]; then
    use "$installed"
    return
  fi
  say "downloading torch $VERSION (530 MB, once; 1.1 GB unpacked in $root)"
  fetch "$here/libtorch.txt" 2200
  has_libtorch "$tmp/site" || die "the downloaded wheel is not libtorch $VERSION; scripts/libtorch.txt and VERSION disagree"
  rm -rf "$site"
  mv -T "$tmp/site" "$site"
}

find_cuda() {
  local cuda=$site/torch/lib/libtorch_cuda.so
  [ -e "$cuda" ] || die "the libtorch in $(readlink -f "$site") is built without CUDA; remove $site (and unset LIBTORCH) to fetch one with it"
  [ -n "$(missing_libraries "$cuda")" ] || return 0
  [ ! -L "$site" ] || die "the PyTorch in $(readlink -f "$site") lacks CUDA libraries: $(missing_libraries "$cuda"); install them there, or remove $site (and unset LIBTORCH)"
  say "downloading the CUDA 13 libraries (1.7 GB, once; 2.7 GB unpacked in $root)"
  fetch "$here/cuda.txt" 4800
  mkdir -p "$site/nvidia"
  cp -rlf "$tmp/site/nvidia/." "$site/nvidia/" # beside the two that libtorch_cpu needs
  [ -z "$(missing_libraries "$cuda")" ] || die "still missing after the download: $(missing_libraries "$cuda"); scripts/cuda.txt does not fit torch $VERSION"
}

# gotch names these libraries on its link line; empty archives satisfy the linker, and the binary then
# needs libtorch_cpu and libc10 only. libtorch_cuda is opened at run time when a GPU is asked for.
write_build() {
  local lib
  mkdir -p "$build/stubs"
  for lib in cuda cudart cublas cudnn caffe2_nvrtc nvrtc-builtins nvrtc nvToolsExt c10_cuda torch_cuda torch; do
    rm -f "$build/stubs/lib$lib.a"
    ar cr "$build/stubs/lib$lib.a"
  done
  cp "$here/compat.h" "$build/compat.h"
  touch "$build/ok"
}

has_build() {
  [ -e "$build/ok" ] || return 1
  # Go's build cache does not look inside headers: objects of the old compat.h would be used silently.
  cmp -s "$here/compat.h" "$build/compat.h" || die "scripts/compat.h differs from $build/compat.h; raise BUILD in scripts/libtorch.sh"
}

want_cuda=
case "${1:-}" in
'') ;;
--cuda) want_cuda=1 ;;
*) die "unknown argument $1; usage: scripts/libtorch.sh [--cuda]" ;;
esac
check_tools
# The usual case, all there, takes no lock and writes nothing: the cache may be read-only then.
if [ -n "${LIBTORCH:-}$want_cuda" ] || ! has_libtorch "$site" || ! has_build; then
  mkdir -p "$root" 2>/dev/null && [ -w "$root" ] || die "cannot write to $root; set SALSA_CACHE to a writable folder"
  exec 9>"$root/lock" # two checkouts setting up at once wait for each other
  if command -v flock >/dev/null && ! flock -n 9; then
    say "another set-up is running in $root; waiting for it"
    flock 9
  fi
  find_libtorch
  if [ -n "$want_cuda" ]; then find_cuda; fi
  if ! has_build; then write_build; fi
fi
printf '%s\n' "$build"
