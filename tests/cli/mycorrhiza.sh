# sow mycorrhiza: networks, distances, assignment, comparison, refusals.
. "$SOW_ROOT/tests/cli/lib.sh"

# ---- networks: the worked example ----
cat >d.csv <<'END'
taxon,a,b,c,d,e,f
a,0,8.5,7.5,3,7.5,5
b,8.5,0,13,9.5,11,5.5
c,7.5,13,0,8.5,4,10.5
d,3,9.5,8.5,0,8.5,6
e,7.5,11,4,8.5,0,10.5
f,5,5.5,10.5,6,10.5,0
END
expect_output '^fit: 100$' 'circular distances are fitted exactly' "$SOW" mycorrhiza network d.csv -o s.nex --plot s.svg
expect_true 'the splits are those of the example' grep -q 'nsplits=10' s.nex
expect_true 'with their weights' grep -Eq 'size=2\] 	 4 	 3 5,' s.nex
expect_true 'the drawing is SVG' grep -q '<svg' s.svg
expect_message 1 'exists' 'a file is not overwritten' "$SOW" mycorrhiza network d.csv -o s.nex
cp s.nex first.nex
expect_ok 'unless asked for' "$SOW" mycorrhiza network d.csv -o s.nex --force --threads 1
expect_same 'and threads change nothing' first.nex s.nex

# ---- genotypes: three populations that differ at three loci of eight ----
i=0
: >g.str
while [ $i -lt 36 ]; do
    pop=$((i % 3)) x=$((i / 3 % 4))
    for copy in 1 2; do
        echo "ind$i pop$pop 1 $((100 + pop * 2)) $((120 + pop * 4)) $((140 + pop)) $((100 + x)) $((101 + (x + copy) % 3)) 7$((i % 2)) 8$((i / 2 % 2)) $((100 + i * copy % 5))" >>g.str
    done
    i=$((i + 1))
done
expect_output '^accuracy: 1$' 'clear populations are told apart' "$SOW" mycorrhiza g.str -o out --draws 100
for file in Q.tsv assignment.tsv acc.tsv confusion.tsv populations.tsv splits.nex network.svg mixture.svg; do
    expect_file "there is $file" out/$file
done
expect_true 'Q has a row an individual' [ "$(wc -l <out/Q.tsv)" -eq 37 ]
expect_true 'and columns in the order of labels' [ "$(head -n 1 out/Q.tsv | tr '\t' ' ')" = 'samples pop0 pop1 pop2' ]
expect_true 'the confusion matrix is diagonal' grep -q '^pop1	0	12	0$' out/confusion.tsv
expect_ok 'the same with three threads' "$SOW" mycorrhiza g.str -o again --draws 100 --threads 3
for file in Q.tsv assignment.tsv splits.nex mixture.svg; do expect_same "$file: the same bytes" out/$file again/$file; done
expect_output 'frequency test' 'others stand beside it' "$SOW" mycorrhiza compare g.str --repeats 1
expect_ok 'as JSON' "$SOW" mycorrhiza compare g.str --repeats 1 --json
cp "$out" compare.json
expect_true 'with intervals' grep -q '"low"' compare.json
expect_ok 'partitions' "$SOW" mycorrhiza g.str -o parts --partitions 4 --repeats 1 --draws 0
expect_file 'a network each' parts/splits_04.nex

# ---- flags: learn from 1, predict 0 ----
awk '{ if ($1 == "ind7" || $1 == "ind8") $3 = 0; print }' g.str >flags.str
expect_output '^scored: 2$' 'flags say who is predicted' "$SOW" mycorrhiza flags.str -o flags
expect_true 'those learned from are one-hot in Q' grep -q '^ind0	1	0	0$' flags/Q.tsv
expect_output '^accuracy: 1$' 'individuals outside the network find their place' "$SOW" mycorrhiza flags.str -o outside --inductive
expect_ok 'distances' "$SOW" mycorrhiza distances g.str -o d.npy
awk 'NR % 2 { print $1, $2 }' g.str >pop
expect_ok 'distances in a table keep the names' "$SOW" mycorrhiza distances g.str -o dist.csv
expect_output '^accuracy: 1$' 'and can be assigned from' "$SOW" mycorrhiza dist.csv --pop pop -o fromd

# ---- refusals ----
refuse() { # STATUS MESSAGE NAME ARGUMENTS...
    wanted=$1 message=$2 name=$3
    shift 3
    expect_message "$wanted" "$message" "$name" "$SOW" mycorrhiza "$@" -o never
}
refuse 2 'two at least' 'genotypes without populations' d.csv
refuse 1 'No such file|not found|no such' 'a file that is not there' nothing.str
refuse 2 'partitions' 'more partitions than loci' g.str --partitions 9
refuse 2 'loci asked for' 'more loci than there are' g.str --loci 9
refuse 1 'fewer than the 20 folds' 'populations smaller than the folds' g.str --folds 20
head -n 71 g.str >cut.str
refuse 1 'expected a multiple of 2' 'a line missing' cut.str
refuse 1 "no individual 'BEGIN'" 'labels that do not fit' g.str --pop s.nex
printf '0,1\n2,0\n' >skew.csv
expect_message 1 'not symmetric' 'distances that are not symmetric' "$SOW" mycorrhiza network skew.csv -o never
expect_message 2 'expected an ending' 'distances of an unknown kind' "$SOW" mycorrhiza distances g.str -o never.txt
refuse 2 '--inductive needs' 'nobody to predict' g.str --inductive
expect_absent 'nothing was written' never

# ---- weights of pairs, and fewer splits ----
for how in 'ols 0' 'fm2 0' 'ols 0.2'; do
    set -- $how
    run "$SOW" mycorrhiza network g.str --weights $1 --sparsity $2 -o w-$1-$2.nex --json
    eval "splits_$1_${2#0.}=$(sed -n 's/.*"splits": \([0-9]*\).*/\1/p' "$out" | head -n 1)"
done
expect_true 'a penalty leaves fewer splits' [ "$splits_ols_2" -lt "$splits_ols_0" ]
expect_true 'weighted pairs give another network' test -n "$splits_fm2_0" -a ! -z "$(cmp w-ols-0.nex w-fm2-0.nex)"
expect_message 2 'sparsity' 'a penalty of everything' "$SOW" mycorrhiza network g.str --sparsity 1 -o never.nex

# ---- the study ----
expect_output '^verdict: confirmed' 'the smoke study' "$SOW" study mycorrhiza --scale smoke -o study
cp study/verdict.json verdict.json
rm study/seed-2.json
expect_ok 'a study that was killed goes on' "$SOW" study mycorrhiza --scale smoke -o study --resume
expect_same 'to the same verdict' verdict.json study/verdict.json
sed -i 's/mycorrhiza 1, smoke/mycorrhiza 1, small/' study/seed-3.json
expect_message 1 'study/seed-3.json: belongs to' 'not with scores of another plan' "$SOW" study mycorrhiza --scale smoke -o study --resume
