. "$SOW_ROOT/tests/cli/lib.sh"

# `lottery-ticket find` killed at every counted write and at random moments, then resumed: the same bits as a run that was left alone.
find_ticket() { "$SOW" lottery-ticket find --arch mlp:64-12-5 --data synthetic:relmlp --val 50 --limit 200 --steps 8 --evaluate-every 4 --seed 4 -q --threads 1 "$@"; }
files='theta0.safetensors mask_00.safetensors mask_01.safetensors ticket.safetensors ticket.mask.safetensors
    round_00/final.safetensors round_01/final.safetensors round_01/start.safetensors report.json rounds.csv'

# same FOLDER REFERENCE: every file equal, nothing half-written left.
same() {
    for file in $files; do cmp "$1/$file" "$2/$file" || return 1; done
    [ "$(cd "$1" && find . -name '*.safetensors' | sort)" = "$(cd "$2" && find . -name '*.safetensors' | sort)" ]
}

# Thousands of fsyncs: in memory, where there is such a file system. SIGKILL does not care.
if folder=$(mktemp -d /dev/shm/sow-kill.XXXXXX 2>/dev/null); then
    trap 'cd /; rm -rf "$folder"; [ $tests_failed -eq 0 ] || exit 1' EXIT
    cd "$folder" || exit 1
fi

# ---- at every write ----
run env SOW_FAULT_COUNT="$TMPDIR/counts" "$SOW" lottery-ticket find --arch mlp:64-12-5 --data synthetic:relmlp --val 50 --limit 200 --steps 8 \
    --evaluate-every 4 --seed 4 -q --threads 1 --rounds 1 -o whole
expect_true 'a search that is left alone ends well' [ $status -eq 0 ]
n=1 survived=0 wrong=
while [ $survived -lt 2 ] && [ $n -lt 400 ]; do
    rm -rf cut
    SOW_FAULT=kill:$n find_ticket --rounds 1 -o cut >"$out" 2>"$err"
    code=$?
    # the counter of a later write is never reached: the search ends by itself
    if [ $code -eq 0 ]; then
        survived=$((survived + 1))
        same cut whole >/dev/null 2>&1 || wrong="$wrong $n(uncut)"
        n=$((n + 1))
        continue
    fi
    find_ticket --rounds 1 -o cut --resume >"$out" 2>"$err" && same cut whole >/dev/null 2>&1 || wrong="$wrong $n"
    n=$((n + 1))
done
expect_true "killed at every write (there were $((n - 3))), resumed: the same bits ($wrong )" [ -z "$wrong" ]
expect_true 'there were writes to be killed at' [ "$n" -gt 30 ]
expect_true 'and an end to them' [ "$n" -lt 400 ]

# ---- at random moments ----
find_ticket --rounds 2 -o whole2 >"$out" 2>"$err"
files="$files mask_02.safetensors round_02/final.safetensors"
start=$(date +%s%N)
find_ticket --rounds 2 -o timed >"$out" 2>"$err"
took=$((($(date +%s%N) - start) / 1000000)) # milliseconds
wrong= cuts=0 i=0 random=12345
while [ $i -lt 50 ]; do
    i=$((i + 1))
    random=$(((random * 1103515245 + 12345) % 2147483648))
    moment=$((random / 65536 % took))
    rm -rf cut
    "$SOW" lottery-ticket find --arch mlp:64-12-5 --data synthetic:relmlp --val 50 --limit 200 --steps 8 --evaluate-every 4 --seed 4 -q --threads 1 \
        --rounds 2 -o cut >"$out" 2>"$err" &
    child=$!
    sleep $((moment / 1000)).$(printf %03d $((moment % 1000)))
    # one that has ended already was faster than the first: later moments lie within its time
    if kill -KILL $child 2>/dev/null; then cuts=$((cuts + 1)); elif [ $moment -gt 100 ]; then took=$moment; fi
    wait $child 2>/dev/null
    # the supervisor ends what the killed one left; until then the store is in use
    tries=0
    until find_ticket --rounds 2 -o cut --resume >"$out" 2>"$err" || [ $tries -ge 50 ]; do
        grep -q 'in use' "$err" || break
        tries=$((tries + 1))
        sleep 0.1
    done
    same cut whole2 >/dev/null 2>&1 || wrong="$wrong $moment"
done
expect_true "killed at 50 random moments of $took ms, resumed: the same bits (after$wrong ms)" [ -z "$wrong" ]
expect_true 'most of them before the end' [ $cuts -gt 25 ]
