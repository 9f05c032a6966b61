# What the proofs share. Each is one line: ok or FAILED, its name, its milliseconds. Sourced, never run.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../lib.bash"
set +e +o pipefail
passed=0 failed=0
within=20
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# prove NAME PATTERN COMMAND...: the command's output matches the extended regular expression, at once or within $within seconds.
prove() {
  local name=$1 pattern=$2 begun output deadline=$((SECONDS + within))
  shift 2
  begun=$(date +%s%N)
  while :; do
    output=$("$@" 2>&1)
    if grep -qE -- "$pattern" <<<"$output"; then
      passed=$((passed + 1))
      printf 'ok      %-58s %6d ms\n' "$name" $((($(date +%s%N) - begun) / 1000000))
      return
    fi
    ((SECONDS < deadline)) || break
    sleep 0.3
  done
  failed=$((failed + 1))
  printf 'FAILED  %-58s %6d ms: wanted %s, was: %s\n' "$name" $((($(date +%s%N) - begun) / 1000000)) "$pattern" "$(tail -c 600 <<<"$output" | tr '\n' '|')"
}
# once NAME PATTERN COMMAND...: the same, asked one time.
once() { local within=0; prove "$@"; }
# with_input TEXT COMMAND...: the command with the text as its standard input.
with_input() { local text=$1; shift; "$@" <<<"$text"; }
create() { with_input "$1" kubectl create "${@:2}" -f -; }
conclude() {
  echo "$passed $failed" >"${KFOPS_PROOFS:-/dev/null}"
  [ "$failed" = 0 ]
}
