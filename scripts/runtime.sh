#!/usr/bin/env bash
# Copies the shared libraries that a built salsa needs from libtorch's folder into DIR, path and all, so that
# the binary's RPATH holds in an image that has nothing else: scripts/runtime.sh BINARY DIR [--cuda]. With
# --cuda the libraries that --device cuda opens come too. Headers stay behind.
set -euo pipefail
die() { printf 'runtime: %s\n' "$*" >&2; exit 1; }
[ $# -ge 2 ] || die "usage: scripts/runtime.sh BINARY DIR [--cuda]"
binary=$1 dir=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$("$here/libtorch.sh")
site=${build%/*}/site
missing=$(ldd "$binary" | awk '/not found/ {print $1}' | tr '\n' ' ')
[ -z "$missing" ] || die "$binary needs libraries that are not there: $missing"
mapfile -t libraries < <(ldd "$binary" | awk -v site="$site/" 'index($3, site) == 1 {print $3}')
[ "${#libraries[@]}" -gt 0 ] || die "$binary does not use $site; was it built with another SALSA_CACHE?"
if [ "${3:-}" = --cuda ]; then
  mapfile -t -O "${#libraries[@]}" libraries < <(find "$site/torch/lib" "$site/nvidia" -name '*.so*' ! -name 'libtorch_python*' ! -type d)
fi
mkdir -p "$dir"
# ldd names ../nvidia by way of torch/lib/..; real paths keep the layout, which is all that RPATH looks at.
for library in "${libraries[@]}"; do
  to=$dir$(realpath -s "$library")
  mkdir -p "$(dirname "$to")"
  cp -L "$library" "$to"
done
du -sh "$dir" | awk '{print "runtime: " $1 " of libraries in " $2}'
