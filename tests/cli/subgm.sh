# sow subgm: planted problems, operators from files, pictures, Sign-RIP, refusals, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

# number KEY: a member of the latest command's JSON.
number() { sed -n "s/^ *\"$1\": *\([-0-9.e+]*\),*$/\1/p" "$out" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 < b + 0) }'; }

# ---- recovery ----
expect_ok 'a planted problem is recovered' "$SOW" subgm simulate --n1 12 --truth-rank 1 --m 180 --outliers 0.15 --seed 3 --save planted -o summary.json --json
expect_true 'its error is small' below "$(number relative_error)" 1e-4
expect_output '"outliers": 27' 'the outliers are counted' cat summary.json
expect_ok 'its files can be fitted' "$SOW" subgm planted/y.npy --operator dense:planted/A.npy --truth planted/truth.npy -o fit --json
expect_true 'with the same small error' below "$(number relative_error)" 1e-4
for file in factors.safetensors recovered.npy outliers.csv trace.csv convergence.svg singular_values.svg report.html; do
    expect_file "$file is written" "fit/$file"
done
expect_output '^measurement,y,residual,score$' 'every measurement has a score' head -n 1 fit/outliers.csv
expect_true '181 lines of them' [ "$(wc -l <fit/outliers.csv)" -eq 181 ]
expect_output 'same bits: yes' 'the factors are made again from their passport' "$SOW" replay fit/factors.safetensors --input matrix=planted/A.npy --input y=planted/y.npy --input truth=planted/truth.npy
expect_message 1 'exists' 'nothing is overwritten' "$SOW" subgm planted/y.npy --operator dense:planted/A.npy -o fit
expect_ok 'four threads' "$SOW" subgm planted/y.npy --operator dense:planted/A.npy --threads 4 -o four
expect_ok 'one thread, streamed' "$SOW" subgm planted/y.npy --operator dense:planted/A.npy --threads 1 --memory 64M -o one
expect_same 'give the same bits' four/factors.safetensors one/factors.safetensors
expect_ok 'vectors as an operator' "$SOW" subgm simulate --n1 10 --truth-rank 1 --m 300 --measure rank-one --save vectors
expect_ok 'fit from their file' "$SOW" subgm vectors/y.npy --operator rank-one:vectors/a.npy --truth vectors/truth.npy -o v --json
expect_true 'is near' below "$(number relative_error)" 1e-2

# ---- tables: a matrix with wrong and missing cells ----
awk 'BEGIN { for (i = 1; i <= 24; i++) { for (j = 1; j <= 15; j++) { v = (i % 5 + 1) * (j % 4 + 1); if ((i * 7 + j * 3) % 11 == 0) v = 90 + i; if ((i * 5 + j) % 13 == 0) v = ""; printf "%s%s", v, j < 15 ? "," : "\n" } } }' >table.csv
expect_message 0 'cells are missing' 'a table is taken as it is' "$SOW" subgm table.csv -o t
expect_ok 'and again, for numbers' "$SOW" subgm table.csv -o t --force --json
expect_true 'its rank is found' [ "$(number rank)" = 1 ]
expect_output '^measurement,row,column,y,residual,score$' 'scores name cells' head -n 1 t/outliers.csv

# ---- diagnoses ----
expect_output 'budget too small' 'a small budget is noticed' "$SOW" subgm simulate --n1 20 --m 400 --budget 0.2
expect_output 'few measurements' 'too few measurements are noticed' "$SOW" subgm simulate --n1 20 --m 60
expect_output 'no gross outliers' 'clean measurements are noticed' "$SOW" subgm simulate --n1 12 --truth-rank 1 --m 200 --outliers 0
expect_output '^phi: 0\.[78]' 'Sign-RIP is measured' "$SOW" subgm sign-rip --n1 10 --m 2000 --rank 1 --pairs 5
expect_output '^delta: ' 'and of an operator from a file' "$SOW" subgm sign-rip --operator dense:planted/A.npy --rank 1 --pairs 5

# ---- refusals ----
refuse() { # STATUS MESSAGE NAME ARGUMENTS...
    wanted=$1 message=$2 name=$3
    shift 3
    expect_message "$wanted" "$message" "$name" "$SOW" subgm "$@" -o never
}
refuse 2 'missing the measurements' 'no measurements'
refuse 2 'is a vector: --operator' 'a vector without operator' planted/y.npy
refuse 2 "expected dense:A.npy" 'an unknown operator' planted/y.npy --operator sparse:planted/A.npy
refuse 2 'which file' 'an operator without file' planted/y.npy --operator dense
refuse 1 'nothing.npy' 'a file that is not there' planted/y.npy --operator dense:nothing.npy
refuse 1 'holds 144 measurements, the operator 180' 'an operator that does not fit' planted/truth.npy --operator dense:planted/A.npy
refuse 1 'expected \[m, 35\]' 'a shape that does not fit' planted/y.npy --operator dense:planted/A.npy --shape 7x5
refuse 2 'rows x columns' 'a shape that is none' planted/y.npy --operator dense:planted/A.npy --shape seven
refuse 2 'a size like 256M' 'a memory bound that is none' planted/y.npy --operator dense:planted/A.npy --memory lots
refuse 2 'belongs to --image' 'corruption of numbers' planted/y.npy --operator dense:planted/A.npy --corrupt 0.1
refuse 1 'rank 13, expected 1 to 12' 'a rank beyond the matrix' planted/y.npy --operator dense:planted/A.npy --rank 13
head -c 5000 planted/A.npy >cut.npy
refuse 1 'truncated' 'a file cut in the middle' planted/y.npy --operator dense:cut.npy
printf '1,2\n3,x\n' >words.csv
refuse 1 'line 2, column 2.*"x" is not a finite number' 'words among numbers' words.csv
printf '0,0\n1,40\n' >ij.csv
printf '1\n2\n' >two.csv
refuse 1 'measurement 1 is of entry' 'an entry outside of the matrix' two.csv --operator entries:ij.csv --shape 5x5
expect_absent 'nothing was written' never

# ---- the study ----
expect_output '^verdict: confirmed' 'the smoke study is confirmed' "$SOW" study subgm --scale smoke -o study
