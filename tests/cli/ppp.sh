# sow ppp: tables in, clusters out; new rows; repeatability; refusals.
. "$SOW_ROOT/tests/cli/lib.sh"

# blobs N FILE [SHIFT]: three groups of N rows with names, two numbers and a kind, from a small generator of its own.
blobs() {
    awk -v n="$1" -v shift="${3:-0}" 'function u() { s = (s * 16807) % 2147483647; return s / 2147483647 }
        function g() { return sqrt(-2 * log(u())) * cos(6.283185307 * u()) }
        BEGIN { s = 4711; print "name,height,width,kind"
            for (i = 0; i < 3 * n; i++) { k = i % 3
                printf "\"row, %d\",%.5f,%.5f,%s\n", i, g() + (k == 1) * 8 + shift, g() + (k == 2) * 8, substr("abc", k + 1, 1) } }' >"$2"
}
blobs 120 blobs.csv

# ---- fit ----
expect_output '^clusters: 3' 'the number of clusters is found, with no option but the table' "$SOW" ppp blobs.csv
expect_file 'the folder has the name of the data' blobs.ppp/labels.csv
expect_output '^adjusted rand to truth: (1|0\.9)' 'a column with known classes is compared' "$SOW" ppp blobs.csv --truth kind -o a/
for file in labels.csv tree.json memberships.npy centroids.npy model.safetensors plot.svg; do
    expect_file "$file is written" a/$file
done
expect_true 'names and classes come back' grep -Eq '^"row, 7",b,[0-2],[01],[01]\.[0-9]+$' a/labels.csv
expect_true 'under their headings' grep -q '^name,kind,cluster,core,confidence$' a/labels.csv
expect_true 'one line a row' [ "$(wc -l <a/labels.csv)" -eq 361 ]
expect_true 'the tree tells the evidence' grep -q '"bic_parts"' a/tree.json
expect_true 'the plot is an SVG' grep -q '<svg' a/plot.svg
expect_output 'same bits: yes' 'the model is made again from its passport' "$SOW" replay a/model.safetensors --input data=blobs.csv
for threads in 2 4; do
    expect_ok "with $threads threads" "$SOW" ppp blobs.csv --truth kind --threads $threads -o b/ --force
    for file in labels.csv tree.json memberships.npy centroids.npy model.safetensors plot.svg; do
        expect_same "$threads threads: the same $file" a/$file b/$file
    done
done
expect_output '^clusters: 2' 'a told number is kept' "$SOW" ppp blobs.csv --k 2 -o k2/
expect_message 0 'against the evidence' 'a number too large is warned about' "$SOW" ppp blobs.csv --k 4 -o k4/
expect_output '^clusters: 4' 'but reached' "$SOW" ppp blobs.csv --k 4 -o k4/ --force
expect_ok 'JSON for machines' "$SOW" ppp blobs.csv --json -o json/
expect_true 'it holds the whole tree' [ "$(grep -c '"anderson"' "$out")" -ge 5 ]
for covariance in tied diag spherical; do
    expect_output '^clusters: 3' "$covariance covariances" "$SOW" ppp blobs.csv --covariance $covariance -o c/ --force
    expect_ok "$covariance: new rows" "$SOW" ppp assign --model c/ blobs.csv -o c.csv --force
done
for start in random pca variance; do
    expect_output '^clusters: 3' "starts: $start" "$SOW" ppp blobs.csv --start $start -o c/ --force
done
expect_output '^clusters: 3' 'one flat split' "$SOW" ppp blobs.csv --variant flat -o c/ --force
expect_output '^clusters: 3' 'the test of normality' "$SOW" ppp blobs.csv --test anderson -o c/ --force

# ---- where it is the wrong tool ----
awk 'BEGIN { s = 99; for (i = 0; i < 400; i++) { s = (s * 16807) % 2147483647; a = s / 2147483647; s = (s * 16807) % 2147483647
    r = sqrt(-2 * log(a)); printf "%.5f,%.5f\n", r * cos(6.283185307 * s / 2147483647), r * sin(6.283185307 * s / 2147483647) } }' >one.csv
expect_message 0 'look like one group' 'one round cloud is one group, and it says so' "$SOW" ppp one.csv
awk -F, 'NR == 1 || NR < 12' blobs.csv >few.csv
expect_message 0 'too few to look for clusters' 'ten rows are too few' "$SOW" ppp few.csv
awk -F, 'BEGIN { OFS = "," } NR == 1 { print $0 ",flat"; next } { print $0 ",3" }' blobs.csv >flat.csv
expect_message 0 '1 column without variance' 'a column without variance is named' "$SOW" ppp flat.csv
awk 'BEGIN { FS = OFS = "," } NR > 1 { $3 = $3 * 1000 } { print }' blobs.csv >units.csv
expect_message 0 'scaled to unit variance' 'a unit that drowns the others is scaled away' "$SOW" ppp units.csv -o units/
expect_output '^clusters: 3' 'and the clusters are found' "$SOW" ppp units.csv -o units/ --force

# ---- assign ----
blobs 40 new.csv
expect_ok 'new rows' "$SOW" ppp assign --model a/ new.csv
expect_true 'keep their names' grep -Eq '^"row, 5",c,[0-2],' new.labels.csv
head -n 121 a/labels.csv | tail -n +2 | cut -d, -f1-4 >expected
tail -n +2 new.labels.csv | cut -d, -f1-4 >found
expect_same 'the same rows get the same labels' expected found
expect_message 1 'exists already' 'not twice without --force' "$SOW" ppp assign --model a/ new.csv
sed 's/^name,height,width,kind/name,width,height,kind/' new.csv >swapped.csv
expect_ok 'columns are found by name' "$SOW" ppp assign --model a/ swapped.csv -o swapped.labels.csv
expect_differ 'not by place' new.labels.csv swapped.labels.csv
sed 's/height/tallness/' new.csv >other.csv
expect_message 1 'no column "height"' 'a table without the model.s columns' "$SOW" ppp assign --model a/ other.csv

# ---- repeat ----
expect_output 'ppp, all rows +1 +1' 'the answer does not depend on the start' "$SOW" ppp repeat blobs.csv --runs 4 -o repeat.json
expect_true 'the matrix of agreements is kept' grep -q '"ppp, all rows"' repeat.json

# ---- other files ----
printf '90 2\n' >words.vec
awk -F, 'NR > 1 && NR < 92 { gsub(/"/, "", $1); print "w" NR, $3, $4 }' blobs.csv >>words.vec
expect_output '^clusters: 3' 'word vectors' "$SOW" ppp words.vec -o words/
expect_true 'words come back' grep -Eq '^w17,[0-2],' words/labels.csv
expect_output '^rows: 3' 'npy: the centroids of one run' "$SOW" ppp a/centroids.npy -o n/
expect_output '^rows: 3' 'safetensors, one matrix of several' "$SOW" ppp a/model.safetensors --tensor centroids.input -o s/
expect_message 2 'several matrices' 'without its name' "$SOW" ppp a/model.safetensors -o s2/

# ---- refusals: one line, nothing written ----
refuse() { # STATUS MESSAGE NAME DATA OPTIONS...
    wanted=$1 message=$2 name=$3
    shift 3
    expect_message "$wanted" "$message" "$name" "$SOW" ppp "$@" -o never/
}
refuse 2 'missing' 'no data'
refuse 1 'nowhere.csv' 'a file that is not there' nowhere.csv
refuse 2 '--k 2000: blobs.csv has 360 rows' 'more clusters than rows' blobs.csv --k 2000
refuse 2 'no column "size"' 'an unknown column' blobs.csv --id size
refuse 2 'blobs.csv has 2 columns' 'more axes than columns' blobs.csv --pca 3
refuse 2 'expected a number from 0 or auto' 'axes that are no number' blobs.csv --pca many
sed '5s/,[-0-9.]*,/,,/' blobs.csv >hole.csv
refuse 1 'line 5, column 2 \(height\)' 'a missing value' hole.csv
sed '9s/,[-0-9.]*,/,tall,/' blobs.csv >word.csv
refuse 1 'line 9, column 2 \(height\): "tall" is not a finite number' 'a word among numbers' word.csv
sed '7s/$/,1/' blobs.csv >ragged.csv
refuse 1 'line 7: 5 columns, expected 4' 'a row of another length' ragged.csv
printf 'a,b\n1,2\n1,2\n1,2\n' >same.csv
refuse 1 'all rows are equal' 'rows without any difference' same.csv
printf '3 2\nabcdefghi 1.25 2.125\n' >short.vec
refuse 1 'ends behind 1 words, expected 3' 'word vectors cut in the middle' short.vec
head -c 150 a/centroids.npy >cut.npy
refuse 1 'cut.npy' 'an array cut in the middle' cut.npy
expect_absent 'nothing was written' never
expect_message 1 'a/plot.svg|exists already' 'no folder is overwritten' "$SOW" ppp blobs.csv -o a/
head -c 700 a/model.safetensors >c/model.safetensors
expect_message 1 'model.safetensors' 'a model cut in the middle' "$SOW" ppp assign --model c/ new.csv -o never.csv

# ---- ranks of mpirun: each adds up its blocks, all find what one process finds ----
if command -v mpirun >/dev/null 2>&1 && [ -e "$(dirname "$SOW")/sow-mpi.so" ]; then
    ranks() { n=$1; shift; timeout 120 mpirun --oversubscribe --bind-to none -n "$n" "$@"; }
    blobs 8000 many.csv
    expect_ok 'many rows, one process' "$SOW" ppp many.csv --sample 3000 -o alone/ -q
    for n in 2 3 4; do
        expect_ok "$n ranks" ranks $n "$SOW" ppp many.csv --sample 3000 --threads 1 -o ranks$n/ -q
        expect_true 'of which one prints' [ "$(grep -c '^clusters: 3' "$out")" -eq 1 ]
        for file in labels.csv tree.json memberships.npy centroids.npy model.safetensors plot.svg; do
            expect_same "$n ranks: the same $file" alone/$file ranks$n/$file
        done
    done
    expect_fail 'ranks end together when the output is there already' ranks 2 "$SOW" ppp many.csv --sample 3000 -o alone/ -q
    expect_fail 'or the data is not' ranks 2 "$SOW" ppp never.csv -o never/ -q
else
    skip 'ranks' 'no mpirun, or built without MPI'
fi

# ---- the study ----
expect_output '^verdict: confirmed' 'the smoke study' "$SOW" study ppp --scale smoke -o study/
cp study/verdict.json verdict.json
rm study/seed-3.json
expect_ok 'a study that was killed goes on' "$SOW" study ppp --scale smoke -o study/ --resume
expect_same 'to the same verdict' verdict.json study/verdict.json
