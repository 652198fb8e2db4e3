#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another: scripts/fuzz.sh [TIME], as in go test -fuzztime.
# Source env.sh first. A crasher is left by go under the package's testdata/fuzz; commit it with its fix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-10s}
failed=()
count=0
while IFS=: read -r file name; do
  count=$((count + 1))
  echo "== ${file%/*} $name"
  go test "./${file%/*}" -run '^$' -fuzz "^$name\$" -fuzztime "$time" </dev/null || failed+=("${file%/*}.$name")
done < <(git grep --untracked -o -E '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sed 's/:func /:/' | sort)
if [ "$count" -eq 0 ]; then
  echo "fuzz: no fuzz target found" >&2
  exit 1
fi
if [ "${#failed[@]}" -gt 0 ]; then
  echo "fuzz: ${#failed[@]} of $count targets failed: ${failed[*]}" >&2
  exit 1
fi
echo "fuzz: $count targets passed"
