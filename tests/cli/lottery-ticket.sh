. "$SOW_ROOT/tests/cli/lib.sh"

# A small network on the synthetic task: a second or two.
lottery() { "$SOW" lottery-ticket "$@"; }
find_small() { lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 90 --evaluate-every 30 --rounds 3 --seed 4 -q "$@"; }
tickets='theta0 mask_00 mask_03 ticket ticket.mask round_00/final round_03/final round_02/start round_02/start.mask'
expect_same_tickets() {
    for file in $tickets; do expect_same "$1: $file" "$2/$file.safetensors" "$3/$file.safetensors"; done
    for file in report.json rounds.csv accuracy.svg early_stop.svg; do expect_same "$1: $file" "$2/$file" "$3/$file"; done
}

# ---- find ----
expect_ok 'a ticket is found' find_small -o ticket
cp "$out" table
for file in $tickets; do expect_file "$file is there" ticket/$file.safetensors; done
expect_true 'rounds.csv has a line for each round' [ "$(wc -l <ticket/rounds.csv)" -eq 5 ]
expect_output '^ *3 +1363 +0\.5202 ' 'the table shows what is kept: 983 + 307 + 73 of 2620' cat table
expect_output 'Where fewest weights are left: ticket 0\.[0-9]+ at 52 %; the dense network 0\.' 'accuracy is drawn, and said in words' cat ticket/accuracy.svg
expect_output '"moved"' 'the report has diagnostics' cat ticket/report.json
expect_true 'no file that is compared holds a time' [ "$(grep -c '20[0-9][0-9]-[01][0-9]-' ticket/report.json)" -eq 0 ]
expect_output '^same bits: yes' 'the ticket is replayed from its passport' "$SOW" replay ticket/ticket.safetensors

expect_ok 'the same search on one thread' find_small -o again --threads 1
expect_same_tickets 'has the same bits' ticket again
expect_message 1 'ticket exists already' 'an existing ticket is not overwritten' find_small -o ticket
expect_ok 'a finished search is resumed' find_small -o again --resume
expect_same_tickets 'and still has the same bits' ticket again
expect_message 1 'another plan|rounds' 'another search does not resume it' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 90 \
    --evaluate-every 30 --rounds 2 --seed 4 -q -o again --resume
expect_ok 'a search is begun again by --force' find_small -o again --force
expect_same_tickets 'with the same bits' ticket again

# not by the function: the child shall be the command itself
"$SOW" lottery-ticket find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 90 --evaluate-every 30 --rounds 3 --seed 4 -q -o killed >"$out" 2>"$err" &
child=$!
while [ ! -e killed/mask_01.safetensors ] && kill -0 $child 2>/dev/null; do sleep 0.02; done
kill -KILL $child
wait $child 2>/dev/null
expect_absent 'a killed search leaves no ticket' killed/ticket.safetensors
expect_ok 'it is resumed' find_small -o killed --resume
expect_same_tickets 'and ends with the same bits' ticket killed

expect_ok 'strategy 2' find_small -o continued --strategy continued
expect_differ 'finds another mask' ticket/ticket.mask.safetensors continued/ticket.mask.safetensors
expect_ok 'rewinding to step 20' find_small -o rewound --rewind 20
expect_output '^same bits: yes' 'writes theta_20, which is replayed' "$SOW" replay rewound/theta_20.safetensors
expect_ok 'controls of a rewound ticket' lottery control --ticket rewound --kind random-mask -o late.safetensors
expect_message 2 'has no \{rewind\}' 'a trainer of the user must be told where to' lottery find --start ticket/theta0.safetensors --rewind 5 \
    --train 'cp {init} {out}' -o x
expect_ok 'one-shot to a density' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 60 --target-density 0.2 --seed 4 -q -o oneshot
expect_output '^1,564,2620,0\.215' 'prunes once: 384 + 120 + 60, the output layer at half the rate' cat oneshot/rounds.csv
expect_ok 'the recipe of the authors, their own rule of cutting' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --preset google --val 100 \
    --compat google --steps 60 --rounds 1 -q -o google
expect_output '^1,2103,2620,' 'removes one more in each tensor' cat google/rounds.csv

# ---- controls ----
for kind in reinit random-mask resample noise prune-at-init; do
    expect_ok "control $kind is made" lottery control --ticket ticket --round 2 --kind $kind --seed 3 -o $kind.safetensors
    expect_file "with its mask" $kind.mask.safetensors
    expect_output '^same bits: yes' "control $kind is replayed" "$SOW" replay $kind.safetensors
done
for kind in reinit resample noise; do
    run "$SOW" lottery-ticket union --mask $kind.mask.safetensors --other ticket/mask_02.safetensors -o union-$kind.safetensors
    kept=$(sed -n 's/^kept: //p' "$out")
    expect_true "control $kind has the ticket's mask" [ "$kept" = "$(sed -n 4p ticket/rounds.csv | cut -d, -f2)" ]
done
expect_message 2 'resample' '--keep-signs belongs to resample' lottery control --ticket ticket --kind noise --keep-signs -o x.safetensors
expect_message 1 'rounds 0 to 3' 'a round that is not there' lottery control --ticket ticket --round 7 --kind noise -o x.safetensors

# ---- files alone ----
expect_ok 'a mask is made of trained weights' lottery prune --final ticket/round_00/final.safetensors --rate 'fc[12].*=0.2,fc3.*=0.1' -o m1.safetensors
expect_ok 'and its start' lottery rewind --start ticket/theta0.safetensors --mask m1.safetensors -o s1.safetensors
run "$SOW" lottery-ticket union --mask m1.safetensors --other ticket/mask_01.safetensors -o u1.safetensors
expect_true "it is find's own mask of round 1" [ "$(sed -n 's/^kept: //p' "$out")" = "$(sed -n 3p ticket/rounds.csv | cut -d, -f2)" ]
expect_ok 'it trains' "$SOW" train --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 30 --start s1.safetensors --mask s1.mask.safetensors \
    --out-state trained.safetensors
run "$SOW" train --arch mlp:64-12-5 --data synthetic:relmlp --steps 1 --out-state other.safetensors -q
run "$SOW" lottery-ticket prune --final other.safetensors -o narrow.safetensors
expect_message 1 'fc1.weight.*\[12, 64\].*\[30, 64\]' 'a mask of another network is refused' lottery rewind --start reinit.safetensors --mask narrow.safetensors -o x.safetensors
expect_message 2 'starts with|ends in .safetensors' 'a start has a name of its own' lottery rewind --start ticket/theta0.safetensors --mask m1.safetensors -o start.bin

# ---- a trainer of the user's own ----
cat >trainer.sh <<'END'
cp "$1" "$2"
echo '{"step":0,"val_loss":2,"test_accuracy":0.1}'
echo 'not a record'
echo '{"step":100,"val_loss":1,"test_accuracy":0.5}'
END
external() { lottery find --start ticket/theta0.safetensors --rate 0.3 --rounds 2 -q "$@"; }
expect_ok 'a command trains' external --train "sh trainer.sh {init} {out}" -o own
expect_output '^2,' 'its records are in rounds.csv' grep ',100,0.5,0.5' own/rounds.csv
expect_ok 'a command that says nothing trains too' external --train 'cp {init} {out}' -o mute
expect_absent 'there is nothing to draw then' mute/accuracy.svg
expect_message 2 'placeholder \{ini\}.*\{init\}' 'a wrong placeholder' external --train 'sh trainer.sh {ini} {init} {out}' -o wrong1
expect_message 1 'boom' 'a trainer that dies is reported with its last lines' external --train 'echo boom >&2; exit 7; echo {init} {out}' -o wrong2
expect_message 1 'round_00/final.safetensors' 'a trainer that writes nothing' external --train 'echo "{{\"step\":1,\"metric\":1}"; : {init} {out}' -o wrong3
expect_message 1 'not finite|diverged|NaN' 'a trainer that diverges' external --train 'echo "{{\"step\":1,\"val_loss\":NaN}"; cp {init} {out}' -o wrong4
expect_message 1 'silent|no line|seconds' 'a trainer that hangs' external --train 'echo "{{\"step\":1,\"metric\":1}"; sleep 60; cp {init} {out}' \
    --silent-seconds 0.3 -o wrong5
expect_message 1 'safetensors' 'a trainer that writes garbage' external --train 'echo garbage >{out}; : {init}' -o wrong6
expect_message 1 'masked, but' 'a trainer that ignores the mask' external --train 'cp ticket/theta0.safetensors {out}; : {init}' -o wrong7
expect_message 1 'fc1.weight|names|missing' 'a trainer that writes another network' external --train 'cp m1.safetensors {out}; : {init}' -o wrong8
for n in 1 2 3 4 5 6 7 8; do expect_absent "no ticket of trainer $n" wrong$n/ticket.safetensors; done

# ---- wrong use ----
expect_message 1 'no-such-data' 'missing data' lottery find --arch lenet300 --data no-such-data --steps 10 -o x
expect_message 2 '[Rr]ate .1\.5' 'a rate outside (0, 1)' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 10 --rate 1.5 -o x
expect_message 2 'groups: fc, out' 'a group that is not there' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 10 --rate conf=0.2 -o x
expect_message 2 'target-density' 'two ways to say how much' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 10 --rate 0.2 --target-density 0.1 -o x
expect_message 2 '\-\-arch|\-\-train' 'neither network nor trainer' lottery find --data synthetic:relmlp -o x
expect_message 2 'rewind' 'rewinding beyond the end' lottery find --arch mlp:64-30-20-5 --data synthetic:relmlp --steps 10 --rewind 10 -o x
expect_message 2 'did you mean --rounds' 'a misspelt option' lottery find --arch lenet300 --data fashion-mnist --round 3 -o x
expect_message 1 'theta0|ticket' 'no ticket' lottery compare --ticket . -o x
expect_message 1 'no such folder' 'no folder' lottery control --ticket nowhere --kind reinit -o x.safetensors
expect_absent 'wrong commands leave nothing' x
expect_absent 'no start either' x.safetensors

# ---- compare ----
expect_ok 'a ticket is compared with its controls' lottery compare --ticket ticket --seeds 1:2 -q
cp "$out" table
expect_output '^random-mask +0\.5' 'a row for each arm' cat table
expect_true 'and a line for each arm and seed' [ "$(wc -l <ticket/compare/compare.csv)" -eq 9 ]
cp ticket/compare/compare.csv first.csv
expect_ok 'again, one after the other' lottery compare --ticket ticket --seeds 1:2 -q --slots 1 --force
expect_same 'with the same numbers' first.csv ticket/compare/compare.csv
expect_message 2 'give --train' 'an external ticket needs its trainer' lottery compare --ticket own

# ---- study ----
expect_ok 'the study is confirmed at scale smoke' "$SOW" study lottery-ticket --scale smoke -q -o smoke
cp "$out" table
expect_output '^ +smoke/early_stop.svg' 'its plots are listed' cat table
expect_output '^verdict: confirmed' 'and says so' cat table
"$SOW" study lottery-ticket --scale smoke -q -o cut >"$out" 2>"$err" &
child=$!
while [ ! -e cut/seed-1/round_05/final.safetensors ] && kill -0 $child 2>/dev/null; do sleep 0.05; done
kill -KILL $child
wait $child 2>/dev/null
expect_absent 'a killed study has no verdict' cut/verdict.json
sleep 1
expect_ok 'it is resumed, one training at a time' "$SOW" study lottery-ticket --scale smoke -q -o cut --resume --slots 1
expect_same 'with the same numbers' smoke/verdict.json cut/verdict.json
expect_same 'the same plots' smoke/accuracy.svg cut/accuracy.svg
expect_same 'and the same bits' smoke/seed-2/round_13/final.safetensors cut/seed-2/round_13/final.safetensors
expect_message 2 'fashion-mnist or mnist' 'data that the study does not know' "$SOW" study lottery-ticket --data photos -o x
