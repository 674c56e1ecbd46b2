. "$SOW_ROOT/tests/cli/lib.sh"

# scores D...: arm, seed, score with these differences of eva to base; those of base are a ramp.
scores() {
    echo arm,seed,score
    s=0
    for d in "$@"; do
        awk -v s=$s -v d="$d" 'BEGIN { printf "base,%d,%.3f\neva,%d,%.3f\n", s, .8 + .01 * s, s, .8 + .01 * s + d }'
        s=$((s + 1))
    done
}
D='.021 .034 -.006 .018 .027 .009 .015 .012'
scores $D >d.csv
cat d.csv >d10.csv
scores $D .030 -.002 >d10.csv

# judge ARGUMENTS...: keeps the JSON result.
judge() { "$SOW" stats "$@" --json >result.json 2>/dev/null || true; }

# arm NAME KEY VALUE: a member of an arm in it, numbers within a millionth.
arm() {
    awk -v arm="\"$1\"" -v key="\"$2\":" -v want="$3" '
        $1 == "\"arm\":" { here = index($2, arm) == 1 }
        here && $1 == key { sub(/^[^:]*: /, ""); sub(/,$/, ""); found = $0; exit }
        END { gap = found - want; exit !(found == want || found == "\"" want "\"" || (found ~ /^-?[0-9]/ && want ~ /^-?[0-9.]/ && gap < 1e-6 && gap > -1e-6)) }' result.json
}

# The worked numbers of sections 2, 4 and 5 of the specification's oracles.
expect_ok 'eight differences, one look: confirmed' "$SOW" stats d.csv --reference base --json
judge d.csv --reference base
expect_true 'its effect is the mean difference' arm eva effect 0.01625
expect_true 'its interval: 0.006' arm eva low 0.006
expect_true 'to 0.0263333' arm eva high 0.0263333
judge d.csv --reference base --looks 6:1
expect_true 'with looks from six on the interval is 0.006' arm eva low 0.006
expect_true 'to 0.0273333' arm eva high 0.0273333
expect_true 'from all eight seeds' arm eva n 8
judge d10.csv --reference base --looks 6:1
expect_true 'ten differences give 0.006' arm eva low 0.006
expect_true 'to 0.027' arm eva high 0.027
judge d.csv --reference base --test t
expect_true 'the paired t test has p .0067056' arm eva p 0.0067056
judge d.csv --reference base
expect_true 'the reference has no effect' arm base effect null
expect_true 'and says so' arm base verdict reference
expect_output '^eva is better than base by 0\.016.* score \(95% interval 0\.0060 to 0\.0263, 8 seeds, p = 0\.016\): confirmed\.$' \
    'people get a sentence' "$SOW" stats d.csv --reference base
expect_output '^eva +confirmed +8 +0\.01625 +0\.006 +0\.02633 ' 'below a table' "$SOW" stats d.csv --reference base

expect_ok 'margin .005 is passed' "$SOW" stats d.csv --reference base --margin .005 --looks 6:1
expect_status 3 'margin .0061 is not: exit status 3' "$SOW" stats d.csv --reference base --margin .0061 --looks 6:1
expect_status 3 'base is not better than eva' "$SOW" stats d.csv --reference eva --json
judge d.csv --reference eva
expect_true 'it is not confirmed' arm base verdict 'not confirmed'
expect_ok 'as losses, smaller ones are better' "$SOW" stats d.csv --reference eva --direction min
expect_ok 'equivalent within .05' "$SOW" stats d.csv --reference base --claim equivalent --margin .05
expect_ok 'not worse by .03' "$SOW" stats d.csv --reference eva --claim not-worse --margin .03
expect_message 2 'equivalent needs --margin' 'equivalence without a margin means nothing' "$SOW" stats d.csv --claim equivalent
head -n 11 d.csv >five.csv
expect_output '^test: paired t, one look$' 'below the floor of sign flips: t, and it says so' "$SOW" stats five.csv --reference base --alpha .06
judge d.csv --reference base --planned 20 --looks 6:1
expect_true 'eight of twenty planned seeds decide nothing yet' arm eva verdict 'not decided'

# The same whatever the rows' order, the separator, the columns' names, other columns.
{ head -n 1 d.csv; tail -n +2 d.csv | sort -r; } >shuffled.csv
"$SOW" stats d.csv --reference base --looks 6:1 --json | grep -v '"' >expected
"$SOW" stats d.csv --reference base --looks 6:1 --json >a.json
"$SOW" stats shuffled.csv --reference base --looks 6:1 --json >b.json
grep -A 12 '"arm": "eva"' a.json >a.eva
grep -A 12 '"arm": "eva"' b.json >b.eva
expect_same 'the order of rows changes nothing' a.eva b.eva
awk -F, 'BEGIN { OFS = "\t" } { print "note " NR, $3, $1, $2 ".0" }' d.csv | sed '1s/.*/Note\tval\/acc\tRun Name\trandom_state/' >other.tsv
"$SOW" stats other.tsv --columns 'arm=Run Name,seed=random_state,score=val/acc' --reference base --looks 6:1 --json >c.json
grep -A 12 '"arm": "eva"' c.json >c.eva
expect_same 'nor do tabs, other names and other columns' a.eva c.eva
sed '1s/.*/Arm,SEED,Score/' d.csv >upper.csv
expect_ok 'capital letters do not matter' "$SOW" stats upper.csv --reference base

# A run that failed is never left out.
sed 's/^eva,3,.*/eva,3,nan/' d.csv >nan.csv
expect_status 3 'with a failed run an arm stays not decided' "$SOW" stats nan.csv --reference base
judge nan.csv --reference base
expect_true 'the failure is counted' arm eva failures 1
expect_output 'a run failed, and none is left out; --failure-value' 'and how to score it is said' sh -c '"$0" stats nan.csv --reference base || true' "$SOW"
sed 's/^eva,3,.*/eva,3,/' d.csv >gap.csv
expect_status 3 'an empty cell is a failed run' "$SOW" stats gap.csv --reference base
expect_ok 'with a value for failures it is judged' "$SOW" stats nan.csv --reference base --failure-value .84
expect_status 3 'a bad one is held against it' "$SOW" stats nan.csv --reference base --failure-value 0

# What is wrong is said, with the line.
sed 's/^eva,3,.*/eva,3,crashed/' d.csv >word.csv
expect_message 1 '^sow stats: word\.csv: line 9, column 3 \(score\): "crashed" is not a number' 'words are no scores' "$SOW" stats word.csv
{ cat d.csv; echo eva,2,.9; } >twice.csv
expect_message 1 "twice.csv: line 18: arm 'eva', seed 2 comes again, first in line 7" 'a pair stands once' "$SOW" stats twice.csv
grep -v '^eva,5' d.csv >missing.csv
expect_message 1 "missing.csv: no row for arm 'eva', seed 5" 'a missing pair is refused' "$SOW" stats missing.csv
expect_output '^left out: 1$' 'or its seed left out on demand' "$SOW" stats missing.csv --reference base --missing leave-out
expect_status 3 'or taken for a failed run' "$SOW" stats missing.csv --reference base --missing failed
{ cat d.csv; echo eva,9; } >ragged.csv
expect_message 1 'ragged.csv: line 18: 2 columns, expected 3' 'ragged rows are refused' "$SOW" stats ragged.csv
expect_message 1 "no column 'val' among arm, seed, score" 'unknown columns are answered with those there are' "$SOW" stats d.csv --columns score=val
expect_message 2 "no role 'seeds'" 'so are unknown roles' "$SOW" stats d.csv --columns seeds=seed
expect_message 2 "no arm 'bsae'; the file has base, eva" 'and unknown references' "$SOW" stats d.csv --reference bsae
expect_message 2 "found '6-1', expected FIRST:EVERY" 'looks have a form' "$SOW" stats d.csv --looks 6-1
expect_message 2 'first look is after 9 seeds' 'and come before the end' "$SOW" stats d.csv --looks 9:1
expect_message 2 'valid for one look' 'a t test does not survive looks' "$SOW" stats d.csv --looks 6:1 --test t
expect_message 2 'the file has 8 seeds' 'no fewer seeds were planned than there are' "$SOW" stats d.csv --planned 7
grep -v eva d.csv >alone.csv
expect_message 1 'alone.csv: 1 arm, expected at least two' 'one arm alone is no comparison' "$SOW" stats alone.csv
awk 'BEGIN { print "arm,seed,score"; for (i = 0; i < 70; i++) print "a" i ",0,1" }' >many.csv
expect_message 1 'many.csv: line 66: more than 64 arms' 'arms are bounded' "$SOW" stats many.csv
awk 'BEGIN { print "arm,seed,score"; for (i = 0; i < 130; i++) print "a," i ",1" }' >long.csv
expect_message 1 'long.csv: line 130: more than 128 seeds' 'seeds too' "$SOW" stats long.csv
: >empty.csv
head -c 3000 /dev/urandom >noise.csv
for file in empty.csv noise.csv none.csv; do
    expect_message 1 "^sow stats: .*$file" "$file is refused by name" "$SOW" stats $file
done
awk 'BEGIN { print "arm,seed,score"; for (i = 0; i < 8; i++) { print "\033[31mred," i ",1"; print "base," i "," i } }' >steer.csv
"$SOW" stats steer.csv --reference base >steer.txt
expect_true 'names cannot steer the terminal' grep -q '^\\x1b\[31mred' steer.txt

# A race's own scores, written as CSV, get the race's verdict.
for arm in base eva; do
    awk -F, -v arm=$arm '$1 == arm { print "{\"step\":1,\"score\":" $3 "}" >("run-" arm "-" $2) }' d.csv
done
cat >plan.json <<'P'
{"sow_plan": 1, "name": "same", "steps": 1, "metric": {"name": "score", "direction": "max"}, "seeds": {"base": 0, "min": 6, "max": 7},
 "train": "cat ../../../../run-{arm}-{seed}", "arms": [{"name": "base", "none": true}, {"name": "eva", "none": true}]}
P
sed -i "s|\.\./\.\./\.\./\.\.|$PWD|" plan.json
run "$SOW" prove plan.json --quiet --json
cp "$out" result.json
expect_true 'a race of these scores sees 0.0168571 after seven seeds' arm eva effect 0.0168571429
low=$(awk '$1 == "\"arm\":" { here = index($2, "\"eva\"") } here && $1 == "\"low\":" { sub(/,/, "", $2); print $2; exit }' result.json)
"$SOW" report plan.json --csv -o cells.csv >/dev/null
judge cells.csv --reference base --looks 6:1
expect_true 'sow stats sees the same in its CSV' arm eva effect 0.0168571429
expect_true 'with the same bound' arm eva low "$low"
expect_true 'and the same verdict' arm eva verdict "$(awk '$1 == "\"arm\":" { here = index($2, "\"eva\"") } here && $1 == "\"verdict\":" { sub(/^[^:]*: "/, ""); sub(/".*/, ""); print; exit }' result.json)"
