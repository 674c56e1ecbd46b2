# Test functions for shell tests. A test script begins with: . "$SOW_ROOT/tests/cli/lib.sh"
# Each function prints one TAP line: "ok - NAME" or "not ok - NAME" with what was seen. After a command,
# $out and $err are files with its output and $status is its exit status. The working folder is empty at start.
# Every name is a statement: expect_ok 'a start is written' "$SOW" classic ... -o a.safetensors
set -u
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # as on a fresh machine
tests_failed=0
out=$TMPDIR/.out
err=$TMPDIR/.err
status=0
trap 'code=$?; [ $code -ne 0 ] || [ $tests_failed -eq 0 ] || exit 1' EXIT

# run COMMAND...: keeps output and status, judges nothing.
run() {
    status=0
    "$@" >"$out" 2>"$err" </dev/null || status=$?
}

pass() { echo "ok - $1"; }

# fail NAME [WHY]: the latest command's output goes with it.
fail() {
    echo "not ok - $1"
    [ -z "${2:-}" ] || echo "#   $2"
    [ ! -s "$out" ] || head -n 20 "$out" | sed 's/^/#   stdout: /'
    [ ! -s "$err" ] || tail -n 20 "$err" | sed 's/^/#   stderr: /'
    tests_failed=$((tests_failed + 1))
}

skip() { echo "ok - $1 # SKIP ${2:-}"; }

# expect_ok NAME COMMAND...: exit status 0.
expect_ok() { expect_status 0 "$@"; }

# expect_status N NAME COMMAND...: exactly this exit status.
expect_status() {
    wanted=$1 name=$2
    shift 2
    run "$@"
    if [ "$status" -eq "$wanted" ]; then pass "$name"; else fail "$name" "exit status $status, expected $wanted: $*"; fi
}

# expect_fail NAME COMMAND...: a failure that the command reports itself, with a message (no crash, no signal).
expect_fail() {
    name=$1
    shift
    run "$@"
    if [ "$status" -eq 0 ] || [ "$status" -gt 128 ]; then fail "$name" "exit status $status, expected a reported failure: $*"
    elif [ ! -s "$err" ]; then fail "$name" "no message on stderr: $*"
    else pass "$name"; fi
}

# expect_output REGEX NAME COMMAND...: exit status 0, and a line of stdout matches (extended regular expression).
expect_output() {
    pattern=$1 name=$2
    shift 2
    run "$@"
    if [ "$status" -ne 0 ]; then fail "$name" "exit status $status: $*"
    elif ! grep -Eq -- "$pattern" "$out"; then fail "$name" "no line of stdout matches '$pattern': $*"
    else pass "$name"; fi
}

# expect_message N REGEX NAME COMMAND...: exit status N, and a line of stderr matches.
expect_message() {
    wanted=$1 pattern=$2 name=$3
    shift 3
    run "$@"
    if [ "$status" -ne "$wanted" ]; then fail "$name" "exit status $status, expected $wanted: $*"
    elif ! grep -Eq -- "$pattern" "$err"; then fail "$name" "no line of stderr matches '$pattern': $*"
    else pass "$name"; fi
}

# expect_true NAME COMMAND...: like expect_ok, for test(1) and functions of the script: expect_true 'x' [ -f a ]
expect_true() { expect_status 0 "$@"; }

expect_file() { run true; if [ -s "$2" ]; then pass "$1"; else fail "$1" "no such file, or empty: $2"; fi; }
expect_absent() { run true; if [ ! -e "$2" ]; then pass "$1"; else fail "$1" "exists: $2"; fi; }
# expect_same NAME FILE FILE: equal in every byte.
expect_same() { run cmp "$2" "$3"; if [ "$status" -eq 0 ]; then pass "$1"; else fail "$1" "differ: $2 $3"; fi; }
# expect_differ NAME FILE FILE
expect_differ() { run cmp -s "$2" "$3"; if [ "$status" -eq 1 ]; then pass "$1"; else fail "$1" "equal, or missing: $2 $3"; fi; }
