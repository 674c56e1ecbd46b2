# Every allocation (jansson's too), write, rename and fsync of small commands is made to fail in turn.
. "$SOW_ROOT/tests/cli/lib.sh"

# sweep KIND NAME COMMAND...: each run must succeed or end with status 1 and a message; no crash, no half file.
# Stops at the first run that is longer than the events there are.
sweep() {
    kind=$1 name=$2
    shift 2
    SOW_FAULT_COUNT=counts "$@" >"$out" 2>"$err" || { fail "$name" "fails without faults"; return; }
    events=$(sed -n "s/^$kind //p" counts)
    n=1 bad=
    while [ "$n" -le "$events" ]; do
        rm -rf result
        SOW_FAULT=$kind:$n "$@" >"$out" 2>"$err"
        status=$?
        # jansson 2.14 ignores that its string buffer could not grow, and asserts: the one end that is not ours
        if [ $status -eq 134 ] && grep -q 'load.c:.*lex_scan_string: Assertion' "$err"; then
            rm -rf "$TMPDIR"/sow-replay.*
            status=1
        fi
        if [ $status -ne 0 ] && { [ $status -ne 1 ] || [ ! -s "$err" ]; }; then bad="$kind $n of $events: exit status $status"; break; fi
        if ls -A result 2>/dev/null | grep -q '\.tmp\|^\..*'; then bad="$kind $n of $events: a temporary file is left"; break; fi
        n=$((n + 1))
    done
    rm -rf result
    if [ -n "$bad" ]; then fail "$name: $kind" "$bad"; else pass "$name: $events times $kind"; fi
}

"$SOW" classic --arch mlp:4-3-2 -o start.safetensors >/dev/null
train() {
    "$SOW" train --arch mlp:64-8-5 --data synthetic:relmlp --limit 100 --val 20 --batch 4 --steps 2 --threads 1 --quiet -o "$1"
}
train run >/dev/null
train_result() { train result; }
wrong_command() { "$SOW" lst --json || [ $? -eq 2 ] || return 1; }

sweep alloc 'list survives short memory' "$SOW" list --json
sweep alloc 'list --arch survives short memory' "$SOW" list --arch mlp:4-3-2
sweep alloc 'study survives short memory' "$SOW" study --json
sweep alloc 'a wrong command survives short memory' wrong_command
sweep alloc 'inspect survives short memory' "$SOW" inspect start.safetensors
sweep alloc 'inspect of a run survives short memory' "$SOW" inspect run
sweep alloc 'replay survives short memory' "$SOW" replay start.safetensors
sweep alloc 'man survives short memory' "$SOW" man -o result
sweep alloc 'train survives short memory' train_result
for kind in write rename fsync; do
    sweep $kind 'man reports a bad disk' "$SOW" man -o result
    sweep $kind 'train reports a bad disk' train_result
    sweep $kind 'replay reports a bad disk' "$SOW" replay start.safetensors
done
expect_true 'no temporary folder is left' [ -z "$(ls -d "$TMPDIR"/sow-replay.* 2>/dev/null)" ]
