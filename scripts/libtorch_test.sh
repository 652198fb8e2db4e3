#!/usr/bin/env bash
# Tests scripts/libtorch.sh without a network, a compiler or a libtorch: every tool it calls is a real small
# one or a fake, and site folders are fakes of a few bytes. Each failure must be one line that names the
# remedy, and leave nothing on standard output for env.sh to take as a path.
set -uo pipefail
set -o noclobber # a plain > must never overwrite a file; see fake
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
passed=0 failed=0

# fake NAME BODY puts a shell script called NAME into the folder that is the whole PATH of the tests.
# The remove matters: fresh links real tools there, and writing through such a link would overwrite the tool.
fake() { rm -f "$bin/$1" && printf '#!/bin/bash\n%s\n' "$2" >"$bin/$1" && chmod +x "$bin/$1"; }

# fresh makes new empty cache and tool folders; every case starts here.
fresh() {
  local tool
  work=$(mktemp -d "$tmp/case.XXXXXX")
  bin=$work/bin cache=$work/cache
  mkdir "$bin" || exit 1
  for tool in bash awk sed cut dirname readlink mkdir ln mv rm cp cmp touch mktemp uname flock tr cat; do
    ln -s "$(command -v $tool)" "$bin/$tool"
  done
  fake g++ 'echo 12'
  fake ar 'touch "$2"'
  fake go 'echo go1.26.8'
  fake ldd 'echo "libc.so.6 => /lib/libc.so.6"'
  fake df 'echo head; echo "disk 9 9 99999999 1% /"'
  fake python3 'if [ "$1 $2" = "-m pip" ]; then [ "$3" = --version ]; else exit 1; fi' # pip is there, the network is not
}

# site FOLDER VERSION makes something that looks like a wheel's layout.
site() {
  mkdir -p "$1/torch/lib" "$1/torch/include/torch/headeronly"
  touch "$1/torch/lib/libtorch_cpu.so"
  local major minor patch
  IFS=. read -r major minor patch <<<"$2"
  printf '#define TORCH_VERSION_%s\n' "MAJOR $major" "MINOR $minor" "PATCH $patch" >"$1/torch/include/torch/headeronly/version.h"
}

# setup [VAR=VALUE...] [-- ARG...] runs the script in that environment into $out, $err and $code.
setup() {
  local vars=() args=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do vars+=("$1"); shift; done
  [ $# -eq 0 ] || { shift; args=("$@"); }
  out=$(env -i PATH="$bin" HOME="$work" SALSA_CACHE="$cache" "${vars[@]}" bash "$here/libtorch.sh" "${args[@]}" 2>|"$work/err")
  code=$?
  err=$(<"$work/err")
}

check() { # check NAME CONDITION...: the condition is a test expression
  local name=$1
  shift
  if [ "$@" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    printf 'FAIL %s: [ %s ]\n  exit %s, stdout %q\n  stderr %s\n' "$name" "$*" "$code" "$out" "$err"
  fi
}

# refused NAME TEXT...: the last run failed with nothing on stdout and a last line that holds every TEXT.
refused() {
  local name=$1 text last=${err##*$'\n'}
  shift
  check "$name: exit code" "$code" -eq 1
  check "$name: stdout" -z "$out"
  for text in "$@"; do
    check "$name: says '$text'" "$last" != "${last/"$text"/}"
  done
}

one_line() { check "$1: one line" "${err/$'\n'/}" = "$err"; }

fresh; rm "$bin/g++"; setup
refused 'no g++' 'no g++' 'apt-get install g++'; one_line 'no g++'

fresh; fake g++ 'echo 8'; setup
refused 'old g++' 'g++ 8 is too old' 'g++ 10'; one_line 'old g++'

fresh; rm "$bin/go"; setup
refused 'no go' 'no go found' 'go.dev/dl'; one_line 'no go'

fresh; fake go 'echo go1.22.1'; setup
refused 'old go' 'Go 1.22 is too old' '1.26'; one_line 'old go'

fresh; fake uname '[ "$1" = -s ] && echo Darwin || echo arm64'; setup
refused 'other platform' 'Linux x86-64' 'arm64'

fresh; fake python3 'exit 1'; setup
refused 'no pip' 'apt-get install python3-pip' 'LIBTORCH'

fresh; fake df 'echo head; echo "disk 9 9 512000 99% /"'; setup
refused 'disk full' '500 MB free and 2200 MB are needed' 'SALSA_CACHE'

fresh; setup
refused 'no network' 'the download failed' 'check the network' 'LIBTORCH'
check 'no network: leaves no litter' -z "$(compgen -G "$cache/*/fetch.*")"

fresh; printf x >"$cache"; setup
refused 'cache is not a folder' 'cannot write' 'SALSA_CACHE'; one_line 'cache is not a folder'

fresh; setup LIBTORCH="$work/nowhere"
refused 'LIBTORCH missing' 'nowhere is not a folder' 'unset LIBTORCH'; one_line 'LIBTORCH missing'

fresh; mkdir "$work/empty"; setup LIBTORCH="$work/empty"
refused 'LIBTORCH empty' 'holds no libtorch' 'unset LIBTORCH'; one_line 'LIBTORCH empty'

fresh; site "$work/old" 2.6.0; setup LIBTORCH="$work/old"
refused 'LIBTORCH old' 'is version 2.6.0, not 2.11.0' 'unset LIBTORCH'; one_line 'LIBTORCH old'

fresh; site "$work/half" 2.11.0; rm "$work/half/torch/lib/libtorch_cpu.so"; setup LIBTORCH="$work/half"
refused 'LIBTORCH without library' 'lacks lib/libtorch_cpu.so'; one_line 'LIBTORCH without library'

fresh; site "$work/bare" 2.11.0; fake ldd 'echo "libcudart.so.13 => not found"'; setup LIBTORCH="$work/bare"
refused 'LIBTORCH without CUDA runtime' 'libcudart.so.13' 'unset LIBTORCH'; one_line 'LIBTORCH without CUDA runtime'

# $LIBTORCH may name the folder around torch, torch itself, or an unpacked libtorch of any name.
for form in site torch plain; do
  fresh; site "$work/given" 2.11.0
  case $form in
  site) given=$work/given ;;
  torch) given=$work/given/torch ;;
  plain) mv "$work/given/torch" "$work/libtorch"; given=$work/libtorch ;;
  esac
  setup LIBTORCH="$given"
  check "LIBTORCH as $form: exit code" "$code" -eq 0
  check "LIBTORCH as $form: prints the build folder" "$out" = "$cache/libtorch-2.11.0/${out##*/}"
  check "LIBTORCH as $form: header in place" -e "${out%/*}/site/torch/include/torch/headeronly/version.h"
  check "LIBTORCH as $form: stubs in place" -e "$out/stubs/libtorch_cuda.a"
  first=$out
  setup
  check "LIBTORCH as $form: same path again, silently" "$out$err" = "$first"
done

# An installed PyTorch is used only when it is the right one.
fresh; site "$work/py" 2.11.0
fake python3 "if [ \"\$1 \$2\" = '-m pip' ]; then [ \"\$3\" = --version ]; else echo '$work/py'; fi"; setup
check 'installed PyTorch: exit code' "$code" -eq 0
check 'installed PyTorch: linked' "$(readlink -f "${out%/*}/site")" = "$(readlink -f "$work/py")"
fresh; site "$work/py" 2.9.1
fake python3 "if [ \"\$1 \$2\" = '-m pip' ]; then [ \"\$3\" = --version ]; else echo '$work/py'; fi"; setup
refused 'installed PyTorch of another version' 'the download failed'

# A complete cache needs neither pip nor a writable disk; a half-made one is not taken for complete.
fresh; site "$cache/libtorch-2.11.0/site" 2.11.0; setup; fake python3 'exit 1'; fake mkdir 'exit 1'; setup
check 'complete cache: exit code' "$code" -eq 0
check 'complete cache: silent' -z "$err"
fresh; site "$cache/libtorch-2.11.0/site" 2.11.0; rm "$cache"/libtorch-2.11.0/site/torch/lib/libtorch_cpu.so; setup
refused 'half cache' 'the download failed'

# A changed compat.h under an old build number would silently use stale objects.
fresh; site "$cache/libtorch-2.11.0/site" 2.11.0; setup; printf x >>"$out/compat.h"; setup
refused 'compat.h changed' 'raise BUILD'; one_line 'compat.h changed'

fresh; setup -- --gpu
refused 'unknown argument' '--gpu' '--cuda'; one_line 'unknown argument'

fresh; site "$cache/libtorch-2.11.0/site" 2.11.0; setup -- --cuda
refused '--cuda on a CPU build' 'built without CUDA' 'remove'; one_line '--cuda on a CPU build'

fresh; site "$cache/libtorch-2.11.0/site" 2.11.0; touch "$cache/libtorch-2.11.0/site/torch/lib/libtorch_cuda.so"; setup -- --cuda
check '--cuda with all libraries: exit code' "$code" -eq 0

# env.sh must fail, not export half of its flags.
fresh; rm "$bin/g++"
out=$(env -i PATH="$bin" HOME="$work" SALSA_CACHE="$cache" bash -c "source '$here/../env.sh'; echo \"code \$? flags \${CGO_LDFLAGS:-none}\"" 2>|"$work/err")
code=$? err=$(<"$work/err")
check 'env.sh passes the failure on' "$out" = 'code 1 flags none'

if [ "$failed" -gt 0 ]; then
  echo "libtorch_test: $failed of $((passed + failed)) checks failed"
  exit 1
fi
echo "libtorch_test: $passed checks passed"
