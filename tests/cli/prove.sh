. "$SOW_ROOT/tests/cli/lib.sh"

# Trainers that take milliseconds: numbers that depend on the seed, and a gain that depends on the arm.
cat >trainer.sh <<'END'
seed=$1 gain=$2
awk -v s="$seed" -v g="$gain" 'BEGIN { srand(s); noise = rand(); for (i = 1; i <= 3; i++)
    printf "{\"step\":%d,\"acc\":%.6f,\"test\":%.6f}\n", i * 100, 0.5 + 0.1 * noise + i * 0.01 + g * (1 + (s * 7 % 5) / 10), 0.4 + g }'
END
# plan NAME [MORE]: three arms, the second better, the third worse.
plan() {
    cat >"$1.json" <<END
// a plan with a comment
{"sow_plan":1, "name":"toy", "steps":300, "metric":{"name":"acc","direction":"max"},
 "arms":[{"name":"base","none":true,"vars":{"gain":0}}, {"name":"good","none":true,"vars":{"gain":0.02}},
         {"name":"bad","none":true,"vars":{"gain":-0.05}}],
 "train":"sh $PWD/trainer.sh {seed} {gain}"${2:+, $2}}
END
}
field() { python3 -c "import json,sys; d=json.load(open('$1')); print(eval(sys.argv[1]))" "$2"; }
# cells FOLDER: what must not depend on slots, order or interruptions.
cells() {
    python3 - "$1" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1] + "/sow.db")
for query in ("select plan,stage,arm,seed,state,score,test,steps from cell order by stage,seed,arm",
              "select c.stage,c.arm,c.seed,v.metric,v.step,v.value from curve v join cell c on c.id=v.cell and c.attempt=v.attempt"
              " where c.state='done' order by 1,2,3,4,5", "select * from decision order by n,arm,what", "select * from verdict order by arm"):
    for row in db.execute(query): print(row)
END
}

plan race
expect_ok 'a race is decided' "$SOW" prove race.json --json --slots 1
cp "$out" race.out
expect_true 'the better arm is confirmed' [ "$(field race.out 'd["arms"][1]["verdict"]')" = confirmed ]
expect_true 'the worse one is dropped' [ "$(field race.out 'd["arms"][2]["dropped"] >= 6')" = True ]
expect_true 'before all seeds have run' [ "$(field race.out 'd["n"] < 20 and d["over"]')" = True ]
expect_true 'a sentence says it' grep -q 'good is better than base by 0.0[0-9]* acc (95% interval .* seeds, p = .*): confirmed' race.out
expect_message 1 'race.sow exists already; --resume goes on' 'a run is not overwritten' "$SOW" prove race.json
expect_ok 'a finished race is resumed at once' "$SOW" prove race.json --resume --json
cp "$out" r.json
expect_same 'and says the same' race.out r.json
expect_ok 'status says the same' "$SOW" prove status race.json --json
cp "$out" r.json
expect_true 'of every arm' [ "$(field r.json 'd["arms"]')" = "$(field race.out 'd["arms"]')" ]
expect_output 'done: ' 'status takes a folder too' "$SOW" prove status race.sow
expect_ok 'four side by side' "$SOW" prove race.json -o four --slots 4
cells race.sow >one.txt
cells four >four.txt
expect_same 'give the same cells, curves, decisions and verdicts' one.txt four.txt
if command -v script >/dev/null; then
    script -qec "$SOW prove race.json -o drawn --slots 2" typescript >/dev/null 2>&1 </dev/null
    expect_true 'on a terminal a table of the arms is drawn' grep -q '[*] good .*confirmed' typescript
    expect_true 'in place' grep -q "$(printf '\033')\[5A" typescript
fi
cp -r race.sow mixed
sed 's/"max": 20/"max": 19/' race.sow/plan.json >mixed/plan.json
expect_message 1 'mixed/plan.json: not the plan of the store beside it' 'a folder put together from two is refused' "$SOW" prove status mixed
expect_true 'which are some' [ "$(wc -l <one.txt)" -gt 50 ]

# ---- before anything runs ----

bad() { # NAME MESSAGE MORE
    plan broken "$3"
    expect_message 2 "$2" "$1" "$SOW" prove check broken.json
    expect_absent 'and nothing is made' broken.sow
}
bad 'an unknown key is named with the nearest' 'broken.json: sedes: unknown key, did you mean seeds' '"sedes":{}'
bad 'zero seeds are refused' 'seeds.max: found 0, expected an integer from 1 to 128' '"seeds":{"max":0}'
bad 'a budget that cannot decide is refused' 'seeds.max: found 5, expected at least 7' '"seeds":{"max":5},"test":{"rule":"flip"}'
bad 'an unknown reference is refused' 'reference: found "bes", expected the name of an arm' '"reference":"bes"'
bad 'a rung behind the end is refused' 'race.first: found 400' '"race":{"rule":"halving","first":400}'
sed 's/"good"/"base"/' race.json >twins.json
expect_message 2 'arms\[1\].name: "base" is the name of arms\[0\] too' 'twins are refused' "$SOW" prove twins.json
sed 's/"none":true/"init":"missing.safetensors"/; s/{seed}/{init} {seed}/' race.json >missing.json
expect_message 2 'arms\[0\].init: found missing.safetensors, expected a file that exists' 'a missing start is named' "$SOW" prove missing.json
sed 's/{gain}/{gian}/' race.json >holder.json
expect_message 2 'unknown placeholder {gian}, did you mean {gain}' 'a wrong placeholder is named' "$SOW" prove holder.json
echo '{"sow_plan":1,' >cut.json
expect_message 2 'cut.json: line 2' 'a plan cut short is refused' "$SOW" prove cut.json
expect_message 1 'nowhere.json' 'a plan that is not there' "$SOW" prove nowhere.json
sed 's/"none":true/"make":"clasic -o {init}"/; s/{seed}/{init} {seed}/' race.json >make.json
expect_message 2 "arms\[0\].make: no command 'clasic'; did you mean classic" 'a command that does not exist' "$SOW" prove make.json
sed 's/"train":"[^"]*"/"train":null/' race.json >builtin.json
expect_message 2 'vars of arm base, for the built-in trainer: unknown option --gain' 'options of the built-in trainer are checked' "$SOW" prove builtin.json

# ---- stores ----

plan other '"seeds":{"max":19}'
expect_message 1 'belongs to another plan: seeds.max: found 20, expected 19' 'the folder of another plan is refused' "$SOW" prove other.json -o race.sow --resume
cp -r race.sow newer
python3 -c 'import sqlite3; d = sqlite3.connect("newer/sow.db"); d.execute("pragma user_version=99"); d.commit()'
expect_message 1 'made by a newer sow' 'the store of a newer version is refused' "$SOW" prove race.json -o newer --resume
cp -r race.sow tampered
python3 -c 'import sqlite3; d = sqlite3.connect("tampered/sow.db"); d.execute("update decision set detail=? where what=?", ("behind base", "dropped")); d.commit()'
expect_message 1 'as computed from the cells' 'decisions that differ from those recomputed are refused' "$SOW" prove race.json -o tampered --resume
sed 's/"train":"/&sleep 1; /' race.json >slow.json
env --default-signal=INT "$SOW" prove slow.json --slots 1 -q >/dev/null 2>slow.err &
child=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e slow.sow/plan.json ] || sleep 0.2; done
expect_message 1 'is in use by process' 'two runs at once on one store are refused' "$SOW" prove slow.json --resume
expect_output 'racing' 'status reads while it runs' "$SOW" prove status slow.json
kill -INT $child
wait $child
stopped=$?
expect_true 'Ctrl-C ends with 130' [ $stopped -eq 130 ]
expect_true 'and says how to go on' grep -q 'sow prove slow.json --resume goes on' slow.err
expect_absent 'no database log is left by it' slow.sow/sow.db-wal

# ---- interruption ----

sed 's/"train":"/&sleep 0.02; /' race.json >quick.json
expect_ok 'undisturbed' "$SOW" prove quick.json -o calm --slots 2
cells calm >calm.txt
for n in 1 2 3 4 5 6; do
    "$SOW" prove quick.json -o torn --slots 2 --resume -q >/dev/null 2>&1 &
    child=$!
    sleep 0.$n
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
done
expect_ok 'killed six times and resumed' "$SOW" prove quick.json -o torn --slots 2 --resume
cells torn >torn.txt
expect_same 'ends with the same cells, curves, decisions and verdicts' calm.txt torn.txt

# ---- trainers that fail ----

plan silent; sed -i 's/"train":"[^"]*"/"train":"true {seed} {gain}"/' silent.json
expect_message 1 'the trainer printed no record; sow reads lines like' 'a trainer that ignores the contract is told how' "$SOW" prove silent.json
echo 'exit 7' >repaired.sh
sed "s|trainer.sh|repaired.sh|" race.json >repaired.json
expect_message 1 'no arm could be trained at the first seed; arm .*, seed 0 .*exit status 7' 'a trainer that always fails ends the run soon' "$SOW" prove repaired.json
cp trainer.sh repaired.sh
expect_ok 'and begins anew when it is repaired' "$SOW" prove repaired.json --resume
plan renamed; sed -i 's/"name":"acc"/"name":"acccuracy"/' renamed.json
expect_message 1 'never printed acccuracy, only acc, test' 'a metric that was never printed is named' "$SOW" prove renamed.json
plan dies; sed -i 's/"train":"/&[ {arm} != good ] || [ {seed} != 3 ] || { echo no luck >\&2; exit 7; }; /' dies.json
expect_status 3 'an arm with a bad seed' "$SOW" prove dies.json --json
cp "$out" r.json
expect_true 'is not decided' [ "$(field r.json 'd["arms"][1]["verdict"] == "not decided" and d["arms"][1]["failures"] == 1')" = True ]
expect_true 'after its retry' [ "$(python3 -c 'import sqlite3; print(sqlite3.connect("dies.sow/sow.db").execute("select max(attempt) from attempt").fetchone()[0])')" -eq 2 ]
plan valued '"failure":{"rule":"value","value":0.1,"retries":0},"seeds":{"min":6,"max":8}'
sed -i 's/"train":"/&[ {arm} != bad ] || [ {seed} != 3 ] || exit 7; /' valued.json
run "$SOW" prove valued.json --json
cp "$out" r.json
expect_true 'a failure may have a value' [ "$(field r.json 'd["arms"][2]["failures"] == 1 and d["arms"][2]["mean"] < 0.5')" = True ]
echo 'echo "{\"step\":1,\"acc\":NaN}"' >nan.sh
plan nan; sed -i "s|\"train\":\"|&[ {arm} != good ] \|\| { sh $PWD/nan.sh; exit 0; }; |" nan.json
expect_status 3 'a start that diverges' "$SOW" prove nan.json --json
cp "$out" r.json
expect_true 'is never tried again' [ "$(python3 -c 'import sqlite3; print(sqlite3.connect("nan.sow/sow.db").execute("select count(*) from cell where state=? and attempt=1", ("diverged",)).fetchone()[0])')" -ge 6 ]

# ---- other rules ----

plan halve '"race":{"rule":"halving","first":100,"eta":3},"seeds":{"min":6,"max":12}'
expect_ok 'halving' "$SOW" prove halve.json --json
cp "$out" r.json
expect_true 'drops at the rung' [ "$(field r.json '[x["arm"] for x in d["decisions"] if x["what"] == "halved"]')" = "['bad']" ]
expect_true 'and tests the survivor on fresh seeds' [ "$(field r.json 'd["arms"][1]["verdict"]')" = confirmed ]
expect_true 'the cut trainings end at the rung' [ "$(python3 -c 'import sqlite3; print(sqlite3.connect("halve.sow/sow.db").execute("select max(v.step) from curve v join cell c on c.id=v.cell where c.stage like ?", ("rung%",)).fetchone()[0])')" -eq 100 ]
plan fresh '"seeds":{"min":6,"max":10,"confirm":6}, "test_metric":"test"'
expect_ok 'a winner on fresh seeds' "$SOW" prove fresh.json --json
cp "$out" r.json
expect_true 'is confirmed there' [ "$(field r.json 'd["confirm"]["verdict"], d["confirm"]["n"], d["confirm"]["arm"]')" = "('confirmed', 6, 'good')" ]
expect_true 'and its test score is shown' [ "$(field r.json 'round(d["arms"][1]["test_difference"], 6)')" = 0.02 ]
plan study '"seeds":{"min":3,"max":3},"race":{"rule":"none"},"criterion":[{"arm":"good","against":"base","stat":"mean_diff","op":">=","value":0.01},{"arm":"good","against":"base","stat":"min_diff","op":">=","value":0.5}]'
expect_status 3 'clauses decide' "$SOW" prove study.json --json
cp "$out" r.json
expect_true 'and are shown' [ "$(field r.json 'd["criterion"], [c["holds"] for c in d["clauses"]]')" = "('not confirmed', [True, False])" ]
plan margin '"test":{"margin":0.5},"seeds":{"min":6,"max":8}'
expect_status 3 'a margin that is not reached' "$SOW" prove margin.json --json
cp "$out" r.json

# ---- starts that are made ----

cat >made.json <<END
{"sow_plan":1, "name":"made", "steps":40, "metric":{"name":"val_accuracy","direction":"max","at":"best"}, "seeds":{"max":3},
 "vars":{"arch":"mlp:64-20-5","data":"synthetic:relmlp","optimizer":"adam","evaluate-every":"20"},
 "arms":[{"name":"own","none":true}, {"name":"made","make":"classic --arch mlp:64-20-5 --scheme orthogonal --seed {seed} -o {init}"}]}
END
run "$SOW" prove made.json --json
cp "$out" r.json
expect_true 'the built-in trainer from a made start' [ "$(field r.json 'd["n"]')" -eq 3 ]
expect_ok 'the start is that of the command' "$SOW" classic --arch mlp:64-20-5 --scheme orthogonal --seed 2 -o two.safetensors -q
"$SOW" inspect two.safetensors --stats >two.txt 2>/dev/null || "$SOW" inspect two.safetensors >two.txt
expect_same 'at the same seed' two.safetensors made.sow/cells/01-made/seed-2/start.safetensors
expect_ok 'a plan to edit' "$SOW" prove init
cp "$out" init.json
expect_ok 'is a plan' "$SOW" prove check init.json
expect_ok 'of files and a command' "$SOW" prove init two.safetensors made.sow/cells/01-made/seed-1/start.safetensors --train 'python train.py --init {init} --seed {seed}' --metric acc
cp "$out" files.json
expect_output 'start +.*made.sow' 'too' "$SOW" prove check files.json
expect_ok 'seeds from a pilot' "$SOW" prove power --pilot race.json -o pilot --margin 0.01 --json
cp "$out" r.json
expect_true 'with spread and number' [ "$(field r.json 'all(a["seeds"] >= 2 and a["pilot_pairs"] == 5 for a in d["arms"])')" = True ]
expect_output 'any +1 +10' 'or from a known spread: ten seeds for one standard deviation' "$SOW" prove power --sd 1 --margin 1
expect_ok 'the race goes on where the pilot was' "$SOW" prove race.json -o pilot
