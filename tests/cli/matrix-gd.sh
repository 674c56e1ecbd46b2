# sow matrix-gd: decay verdicts, rebalancing, fits from files, tables, refusals, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

number() { sed -n "s/^ *\"$1\": *\([-0-9.e+]*\),*$/\1/p" "$out" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 < b + 0) }'; }
planted="--n1 20 --truth-rank 2 --rank 4 --measure identity --units absolute --steps 1500"

# ---- verdicts ----
expect_output '^decay: power law' 'symmetric factors of too high a rank follow a power law' "$SOW" matrix-gd simulate $planted --symmetric
expect_output '^decay: linear' 'unbalanced ones converge linearly' "$SOW" matrix-gd simulate $planted --alpha 0.5
expect_ok 'rebalanced ones' "$SOW" matrix-gd simulate $planted --rebalance --beta 0.7 --json
expect_true 'at the rate of beta' below 0.0882 "$(number rate)"
expect_output '^decay: floor' 'noise leaves a floor' "$SOW" matrix-gd simulate $planted --noise 0.001 --rebalance

# ---- files ----
expect_ok 'a problem is kept' "$SOW" matrix-gd simulate --n1 12 --truth-rank 1 --rank 2 --m 400 --save planted
expect_ok 'and fitted' "$SOW" matrix-gd planted/y.npy --operator dense:planted/A.npy --truth planted/truth.npy --rank 2 --rebalance -o fit --json
expect_true 'exactly' below "$(number squared_error)" 1e-16
for file in factors.safetensors recovered.npy trace.csv convergence.svg imbalance.svg report.html; do
    expect_file "$file is written" "fit/$file"
done
expect_output 'same bits: yes' 'its factors are made again' "$SOW" replay fit/factors.safetensors --input matrix=planted/A.npy --input y=planted/y.npy --input truth=planted/truth.npy
expect_ok 'gross outliers' "$SOW" subgm simulate --n1 12 --truth-rank 1 --m 400 --outliers 0.1 --save gross
expect_output 'sow subgm is made for them' 'are sent to subgm' "$SOW" matrix-gd gross/y.npy --operator dense:gross/A.npy --rank 2 --steps 1000 -o g

# ---- tables ----
awk 'BEGIN { print "id,a,\"b, second\",c,d"; for (i = 1; i <= 60; i++) { u = i % 7 - 3; w = i % 4; printf "s%d", i; for (j = 1; j <= 4; j++) { v = 10 * j + j * u + (5 - j) * w; if ((i * 3 + j * 5) % 11 == 0) v = "NA"; printf ",%s", v } printf "\n" } }' >table.csv
expect_ok 'a table is filled' "$SOW" matrix-gd complete table.csv -o filled.csv --json
expect_true 'better than by column means' below "$(number held_out_error)" "$(number held_out_error_of_column_means)"
expect_output '^id,a,"b, second",c,d$' 'the header comes back' head -n 1 filled.csv
expect_true 'no cell is empty' [ "$(grep -c 'NA\|,,' filled.csv)" -eq 0 ]
expect_true 'observed rows are as they were' [ "$(grep -v NA table.csv | grep -Fxvc -f filled.csv)" -eq 0 ]
expect_ok 'amounts' "$SOW" matrix-gd complete table.csv --non-negative -o amounts.csv
expect_message 1 'exists' 'nothing is overwritten' "$SOW" matrix-gd complete table.csv -o filled.csv
printf 'a,b\n1,2\n3,4\n' >full.csv
expect_message 1 'nothing to fill' 'a table without holes' "$SOW" matrix-gd complete full.csv -o never.csv
printf 'a,b,c\n1,2,3\n3,4,oops\n5,,7\n6,7,8\n' >word.csv
expect_message 1 'line 3, column 3.*oops' 'a word in a column of numbers' "$SOW" matrix-gd complete word.csv -o never.csv
printf 'a,b,c\n1,2,3\n3,4\n' >ragged.csv
expect_message 1 'line 3: 2 columns, expected 3' 'a ragged table' "$SOW" matrix-gd complete ragged.csv -o never.csv
expect_message 2 "did you mean id" 'a column that is not there' "$SOW" matrix-gd complete table.csv --keep idd -o never.csv
expect_message 1 'rank 30, expected 1 to' 'a rank beyond the matrix' "$SOW" matrix-gd planted/y.npy --operator dense:planted/A.npy --rank 30 -o never
expect_message 1 'smaller --lr' 'a step that diverges' "$SOW" matrix-gd planted/y.npy --operator dense:planted/A.npy --rank 2 --lr 60 -o never2
expect_absent 'nothing was written' never.csv

# ---- the study ----
expect_output '^verdict: confirmed' 'the smoke study is confirmed' "$SOW" study matrix-gd --scale smoke -o study
