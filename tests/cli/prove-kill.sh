# A race killed at random moments and resumed, with other slots or under mpirun, ends as one that is left alone.
. "$SOW_ROOT/tests/cli/lib.sh"
mpi() {
    command -v mpirun >/dev/null 2>&1 && [ -e "$(dirname "$SOW")/sow-mpi.so" ]
}
ranks() { # N COMMAND...
    n=$1
    shift
    mpirun --oversubscribe --bind-to none -n "$n" "$@"
}

cat >trainer.sh <<'END'
s=$1 level=$2 i=0
[ "$s" != 1003 ] || [ "$level" != 53 ] || [ -e tried ] || { touch tried; exit 1; }
while [ $i -lt 4 ]; do
    i=$((i + 1))
    printf '{"step":%d,"acc":0.%02d%02d%d}\n' $i "$level" $(((s * 37 + level * 11 + s * level % 13 * 7) % 97)) $i
    sleep 0.01
done
END
cat >toy.json <<END
{"sow_plan":1, "name":"toy", "steps":4, "metric":{"name":"acc","direction":"max"}, "seeds":{"base":1000,"min":6,"max":12},
 "arms":[{"name":"a","none":true,"vars":{"level":50}}, {"name":"b","none":true,"vars":{"level":53}},
         {"name":"c","none":true,"vars":{"level":56}}, {"name":"d","none":true,"vars":{"level":59}}],
 "failure":{"retries":3}, "train":"cd {dir} && sh $PWD/trainer.sh {seed} {level}"}
END

# seen FOLDER: the verdicts, and the cells and curves without attempts and seconds, in FOLDER.seen.
seen() {
    "$SOW" prove status toy.json -o "$1" --json >"$1.seen" 2>"$err" &&
        "$SOW" report "$1" -o "$1.csv" --csv --force >/dev/null 2>"$err" || return 1
    cut -d, -f1-6,8 "$1.csv" >>"$1.seen"
    cat "$1.curves.csv" >>"$1.seen"
}

start=$(date +%s%N)
expect_ok 'a race is run' "$SOW" prove toy.json -o alone -q --slots 2
took=$((($(date +%s%N) - start) / 1000000)) # milliseconds
expect_true 'and can be read' seen alone
expect_true 'it has dropped and confirmed' grep -q '"what": "dropped"' alone.seen

# Killed nine times: alone, with what it started, under mpirun; always resumed with another number of slots.
wrong='' cuts=0 i=0 random=12345
while [ $i -lt 9 ]; do
    i=$((i + 1))
    random=$(((random * 1103515245 + 12345) % 2147483648))
    moment=$((random / 65536 % took))
    rm -rf cut
    if [ $((i % 3)) = 0 ] && mpi; then
        setsid mpirun --oversubscribe --bind-to none -n 2 "$SOW" prove toy.json -o cut -q --slots 1 >"$out" 2>"$err" &
    else
        setsid "$SOW" prove toy.json -o cut -q --slots 2 >"$out" 2>"$err" &
    fi
    child=$!
    sleep $((moment / 1000)).$(printf %03d $((moment % 1000)))
    # the process, or its whole group
    if [ $((i % 2)) = 0 ]; then target=$child; else target=-$child; fi
    kill -s KILL -- $target 2>/dev/null && cuts=$((cuts + 1))
    wait $child 2>/dev/null
    tries=0
    until "$SOW" prove toy.json -o cut -q --slots $((1 + i % 3)) --resume >"$out" 2>"$err" || [ $tries -ge 50 ]; do
        grep -q 'in use' "$err" || break
        tries=$((tries + 1))
        sleep 0.1
    done
    seen cut && cmp -s cut.seen alone.seen || wrong="$wrong $moment"
done
expect_true "killed at 9 random moments of $took ms, resumed: the same verdicts, cells and curves (not after$wrong ms)" [ -z "$wrong" ]
expect_true 'most of them before the end' [ $cuts -gt 4 ]

if mpi; then
    expect_ok 'two ranks' ranks 2 "$SOW" prove toy.json -o two -q --slots 1
    expect_true 'find the same' seen two
    expect_same 'bit for bit' two.seen alone.seen
    expect_ok 'two ranks with two slots each' ranks 2 "$SOW" prove toy.json -o four -q --slots 2
    expect_true 'find the same too' seen four
    expect_same 'and bit for bit' four.seen alone.seen
    expect_message 1 'nothing.json' "a wrong command ends all ranks with its status" ranks 2 "$SOW" prove nothing.json
    sed 's/"level":59/"level":50/; s/"level":53/"level":50/; s/"level":56/"level":50/' toy.json >equal.json
    expect_status 3 'ranks end with the exit status of a race that confirms nothing' ranks 2 "$SOW" prove equal.json -q --slots 1
else
    skip 'two ranks' 'no mpirun, or built without MPI'
fi

# Ctrl-C.
sed 's/"toy"/"slow"/; s/"cd {dir}/"sleep 1; cd {dir}/' toy.json >slow.json
env --default-signal=INT "$SOW" prove slow.json -q --slots 2 >"$out" 2>"$err" &
child=$!
sleep 1.5
kill -INT $child
wait $child
status=$?
cp "$err" said
expect_true 'Ctrl-C ends a race with status 130' [ $status -eq 130 ]
expect_true 'and says how to go on' grep -q -- 'sow prove slow.json --resume' said
expect_message 1 'exists already' 'which is asked for' "$SOW" prove slow.json
