#!/bin/sh
# Runs fuzz targets one after the other, from the corpus in the tree; what is found stays in the build folder.
# usage: tests/fuzz/run.sh BUILD_FOLDER SECONDS tests/fuzz/fuzz_NAME.c...
set -u
folder=$1 seconds=$2
shift 2
passed=0 failed=0
for source in "$@"; do
    name=$(basename "$source" .c)
    name=${name#fuzz_}
    found=$folder/corpus/$name crashes=$folder/crashes/$name
    mkdir -p "$found" "$crashes"
    seeds=tests/fuzz/corpus/$name
    [ -d "$seeds" ] || seeds=
    log=$folder/$name.log
    if "$folder/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$crashes/" "$found" $seeds >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "ok   $name: $(awk '/number_of_executed_units/ { print $2 }' "$log") inputs in $seconds s"
    else
        failed=$((failed + 1))
        tail -n 40 "$log"
        echo "FAIL $name: the input is in $crashes, all output in $log"
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
