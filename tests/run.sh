#!/bin/sh
# Runs test programs and scripts, two at a time, shows the output of those that fail, and counts single tests.
# usage: tests/run.sh [-j JOBS] [-t SECONDS] [-o LOG_FOLDER] [-s TOTAL_FILE] TEST...
# A test is a program (cmocka), a .sh or a .py; it prints TAP lines (ok, not ok). Environment for the tests:
# SOW the command (of the faults build for tests/faults), SOW_ROOT this tree, TMPDIR an empty folder of its own, which
# is also the working folder of scripts; programs run in SOW_ROOT. TEST_WRAP goes before programs (valgrind).
# The last line is "N passed, N failed", with ", N skipped" if any; exit status 1 when anything failed.
set -u

# ---- one test: run by xargs below, as: run.sh --one LOGS SECONDS TEST ----
if [ "${1:-}" = --one ]; then
    logs=$2 limit=$3 test=$4
    name=$(printf %s "$test" | sed -e "s|^$SOW_BUILD/||" -e "s|^tests/||" -e "s|/tests/|/|")
    log=$logs/$(printf %s "$name" | tr / .)
    case $test in
    tests/faults/* | *faults/tests/*) SOW=$SOW_FAULTY ;;
    esac
    TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/sow-test.XXXXXX") || exit 0
    export SOW TMPDIR CMOCKA_MESSAGE_OUTPUT=TAP
    case $test in /*) path=$test ;; *) path=$SOW_ROOT/$test ;; esac
    case $test in
    *.sh)
        case $(head -n 1 "$test") in *bash*) shell=bash ;; *) shell=sh ;; esac
        set -- $shell "$path" ;;
    *.py) set -- "${PYTHON:-python3}" "$path" ;;
    *) set -- ${TEST_WRAP:-} "$path" ;;
    esac
    case $test in *.sh | *.py) folder=$TMPDIR ;; *) folder=$SOW_ROOT ;; esac
    start=$(date +%s%N)
    # In the background, so that Ctrl-C ends the test too: it runs in a process group of its own. A background job
    # would ignore Ctrl-C for good, which the test of exactly that must not inherit.
    (cd "$folder" && exec timeout -k 10 "$limit" env --default-signal=INT,QUIT "$@") </dev/null >"$log.out" 2>&1 &
    child=$!
    trap 'kill -TERM $child 2>/dev/null; rm -rf "$TMPDIR"; exit 255' INT TERM
    wait $child
    status=$?
    seconds=$((($(date +%s%N) - start) / 1000000))
    chmod -R u+w "$TMPDIR" 2>/dev/null
    rm -rf "$TMPDIR"
    # cmocka's groups each print a plan and "ok 1 - name"; it writes skipped tests as "not ok 1 # SKIP name".
    awk -v status=$status -v limit="$limit" -v name="$name" -v ms=$seconds '
        /^[ \t]*1\.\.[0-9]+/ { sub(/^[ \t]*1\.\./, ""); planned += $1; next }
        /^[ \t]*(not )?ok( |$)/ {
            if (toupper($0) ~ /# *SKIP/) skipped++
            else if ($0 ~ /^[ \t]*not/) failed++
            else passed++
        }
        END {
            total = passed + failed + skipped
            if (status == 124 || status == 137) why = "stopped after " limit " s"
            else if (status > 128) why = "ended by signal " (status - 128)
            else if (total < planned) why = "ended after " total + 0 " of " planned " tests, status " status
            else if (status != 0 && failed + 0 == 0) why = "exit status " status
            else if (total == 0 && status == 0) passed = 1 # a script without TAP lines is one test
            if (why != "") failed++
            printf "%d %d %d %d %s\t%s\n", passed, failed, skipped, ms, name, why
        }' "$log.out" >"$log.result.new"
    mv "$log.result.new" "$log.result"
    awk -F '\t' '{ split($1, n, " "); printf "%-4s %-52s %4d passed", (n[2] ? "FAIL" : "ok"), n[5], n[1]
        if (n[2]) printf ", %d failed", n[2]
        if (n[3]) printf ", %d skipped", n[3]
        printf "  %.1f s%s\n", n[4] / 1000, ($2 != "" ? "  (" $2 ")" : "") }' "$log.result" >&2
    exit 0
fi

# ---- all tests ----
jobs=2 limit=${TEST_SECONDS:-300} logs= total=
while getopts j:t:o:s: option; do
    case $option in
    j) jobs=$OPTARG ;;
    t) limit=$OPTARG ;;
    o) logs=$OPTARG ;;
    s) total=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))

absolute() { case $1 in /*) echo "$1" ;; *) echo "$SOW_ROOT/$1" ;; esac; }
SOW_ROOT=$(cd "$(dirname "$0")/.." && pwd) || exit 2
cd "$SOW_ROOT" || exit 2
SOW_BUILD=$(dirname "${SOW:-build/sow}")
SOW=$(absolute "${SOW:-build/sow}")
SOW_FAULTY=$(absolute "${SOW_FAULTY:-build/faults/sow}")
[ -z "${PYTHON:-}" ] || { PYTHON=$(absolute "$PYTHON"); export PYTHON; }
: "${ASAN_OPTIONS:=detect_stack_use_after_return=0}" "${UBSAN_OPTIONS:=print_stacktrace=1}"
export SOW_ROOT SOW_BUILD SOW SOW_FAULTY ASAN_OPTIONS UBSAN_OPTIONS
[ -n "$logs" ] || logs=$(mktemp -d)
logs=$(absolute "$logs")/$$
mkdir -p "$logs" || exit 2
[ -z "$total" ] || rm -f "$total"

if [ $# -gt 0 ]; then
    printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" sh tests/run.sh --one "$logs" "$limit" || [ $? -ne 124 ] || exit 130
fi

for result in "$logs"/*.result; do
    [ -e "$result" ] || continue
    awk '{ exit !$2 }' "$result" || continue
    echo
    echo "---- $(awk -F '\t' '{ split($1, n, " "); print n[5], ($2 != "" ? "(" $2 ")" : "") }' "$result")"
    # Passed tests are no news.
    grep -Ev '^[[:space:]]*(ok|1\.\.[0-9]+)([[:space:]]|$)' "${result%.result}.out" | tail -n 80
done
[ $# -eq 0 ] || echo
cat "$logs"/*.result 2>/dev/null | awk -v tests=$# -v file="$total" '
    { passed += $1; failed += $2; skipped += $3; ran++ }
    END {
        failed += tests - ran # a test that left no result
        line = passed + 0 " passed, " failed + 0 " failed" (skipped ? ", " skipped " skipped" : "")
        print line
        if (file != "") print line >file
        exit failed > 0
    }'
status=$?
[ $status -ne 0 ] || rm -rf "$logs"
exit $status
