# sow lora-fair: rounds under slots and ranks, merges of folders, refusals, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

# Pictures of 8 x 8: the class is the place of a bright bar. bytes COUNT KIND: of COUNT examples.
bytes() {
    awk -v n="$1" -v kind="$2" 'BEGIN {
        printf "\\000\\000\\010\\%03o\\000\\000\\%03o\\%03o", kind == "labels" ? 1 : 3, int(n / 256), n % 256
        if (kind != "labels") printf "\\000\\000\\000\\010\\000\\000\\000\\010"
        for (i = 0; i < n; i++) {
            if (kind == "labels") { printf "\\%03o", i % 4; continue }
            for (y = 0; y < 8; y++) for (x = 0; x < 8; x++)
                printf "\\%03o", (int((i % 4 < 2 ? y : x) / 4) == i % 2 ? 150 : 10) + (i * 37 + y * 11 + x * 5 + i * x * y) % 90
        }
    }'
}
mkdir bars
for part in train:900 t10k:200; do
    printf "$(bytes ${part#*:} images)" >bars/${part%:*}-images-idx3-ubyte
    printf "$(bytes ${part#*:} labels)" >bars/${part%:*}-labels-idx1-ubyte
done
few="--data bars --arch mlp:64-24-4 --examples 900 --pretrain 300"
small="$few --test-examples 200 --clients 3 --rounds 2 --local-steps 12 --rank 4"

# ---- rounds ----
expect_output '^ *2 +0\.' 'a row a round is printed' "$SOW" lora-fair run $small -o rounds
for file in adapter_config.json adapter_model.safetensors README.md base.safetensors merge.csv rounds.csv rounds.svg; do
    expect_file "$file is written" "rounds/$file"
done
expect_output '"action": *"run"' 'the adapter has a passport' "$SOW" inspect rounds/adapter_model.safetensors --json
expect_message 1 'exists' 'nothing is overwritten' "$SOW" lora-fair run $small -o rounds
expect_ok 'the same federation in one process' "$SOW" lora-fair simulate $small -o one.json -q
last_accuracy() { sed -n 's/^ *"accuracy": *\([0-9.]*\),*$/\1/p' one.json | cut -c1-8; }
expect_true 'ends with the same accuracy' [ "$(last_accuracy)" = "$(sed -n '$p' rounds/rounds.csv | cut -d, -f2 | cut -c1-8)" ]
expect_ok 'two more slots' "$SOW" lora-fair run $small --slots 3 -o slots -q
expect_same 'give the same adapter' rounds/adapter_model.safetensors slots/adapter_model.safetensors
rm -r slots/rounds/001 slots/sow.db slots/adapter_config.json
expect_ok 'a run that lost its second round is resumed' "$SOW" lora-fair run $small --resume -o slots -q
expect_same 'to the same adapter' rounds/adapter_model.safetensors slots/adapter_model.safetensors
expect_output 'same bits: yes' 'it is made again from its passport' "$SOW" replay rounds/adapter_model.safetensors
if command -v mpirun >/dev/null 2>&1 && [ -e "$(dirname "$SOW")/sow-mpi.so" ]; then
    for n in 2 4; do
        expect_ok "$n ranks" mpirun --oversubscribe --bind-to none -n $n "$SOW" lora-fair run $small --slots 1 -o ranks$n -q
        expect_same 'give the same adapter' rounds/adapter_model.safetensors ranks$n/adapter_model.safetensors
    done
else
    skip 'ranks' 'no mpirun, or built without MPI'
fi
for kind in flora; do
    expect_ok "rounds of $kind" "$SOW" lora-fair run $small --kind $kind --partition domain+dirichlet:0.5 -o $kind -q
done
expect_output '"r": 12' 'stacks have the rank of all clients' cat flora/adapter_config.json

# ---- rounds on texts ----
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
for sign in + -; do
    awk -v sign=$sign 'BEGIN { for (i = 0; i < 60; i++) { a = i % 10; b = int(i / 6) % (sign == "-" ? a + 1 : 10)
        printf "{\"question\":\"%d%s%d\",\"answer\":\"%d\"}\n", a, sign, b, sign == "+" ? a + b : a - b } }' >"sums$sign.jsonl"
done
texts="--model tiny --rounds 2 --local-steps 30 --local-lr 0.01 --held-out 6"
expect_output 'sums-[.]jsonl *6 ' 'a row a client is printed' "$SOW" lora-fair run $texts sums+.jsonl sums-.jsonl -o spoken
for file in adapter_config.json adapter_model.safetensors README.md merge.csv rounds.csv rounds.svg; do
    expect_file "$file is written" "spoken/$file"
done
expect_output 'sums.[.]jsonl, sums-[.]jsonl' 'the card names the texts' cat spoken/README.md
expect_output '"base_model_name_or_path": *"tiny"' 'the folder names the base' cat spoken/adapter_config.json
loss() { "$SOW" lm score --model tiny --json "$@" | sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p'; }
for sign in + -; do
    expect_true "the adapter has learned sums with $sign" \
        awk "BEGIN { exit !($(loss --data sums$sign.jsonl --adapter spoken) < $(loss --data sums$sign.jsonl) - 0.5) }"
done
expect_ok 'other slots and threads' "$SOW" lora-fair run $texts sums+.jsonl sums-.jsonl --slots 2 --threads 3 -o spoken2 -q
expect_same 'give the same adapter' spoken/adapter_model.safetensors spoken2/adapter_model.safetensors
rm -r spoken2/rounds/001 spoken2/sow.db spoken2/adapter_config.json
expect_ok 'a run that lost its second round is resumed' "$SOW" lora-fair run $texts sums+.jsonl sums-.jsonl --resume -o spoken2 -q
expect_same 'to the same adapter' spoken/adapter_model.safetensors spoken2/adapter_model.safetensors
expect_output 'same bits: yes' 'it is made again from its passport' "$SOW" replay spoken/adapter_model.safetensors
expect_output 'share 3 of sums.*6 ' 'clients share one file' "$SOW" lora-fair run $texts --clients 3 --batch 2 --kind ffa sums+.jsonl -o shared
expect_message 2 'needs texts' 'no texts' "$SOW" lora-fair run --model tiny -o never
expect_message 2 'need --model' 'texts without a model' "$SOW" lora-fair run $small sums+.jsonl -o never
expect_message 2 'belongs to images' 'images for a language model' "$SOW" lora-fair run --model tiny --partition iid sums+.jsonl -o never
expect_message 2 'one a client' 'another number of clients than files' "$SOW" lora-fair run --model tiny --clients 3 sums+.jsonl sums-.jsonl -o never
expect_message 2 'changes the base' 'flora on texts' "$SOW" lora-fair run --model tiny --kind flora sums+.jsonl -o never
expect_message 2 'belongs to --model' 'options of texts for images' "$SOW" lora-fair run $small --held-out 3 -o never
expect_message 1 'too few for 40 clients' 'more clients than sequences' "$SOW" lora-fair run --model tiny --clients 40 sums+.jsonl -o never
expect_absent 'nothing was written' never

# ---- merges ----
last=rounds/rounds/001
a=$last/client-000 b=$last/client-001 c=$last/client-002
expect_output '^cosine: 0\.' 'three clients are merged' "$SOW" lora-fair merge --weights 100,250,80 $a $b $c -o merged
for file in adapter_config.json adapter_model.safetensors README.md merge.csv; do
    expect_file "$file is written" "merged/$file"
done
expect_output '^layer,in,out,rank,norm,bias_before' 'a layer a line' head -n 1 merged/merge.csv
expect_output 'client-001.*250' 'the card says from what' cat merged/README.md
expect_ok 'another order and number of threads' "$SOW" lora-fair merge --threads 4 --weights 80,100,250 $c $a $b -o turned -q
expect_output '"layers"' 'all layers as JSON' "$SOW" lora-fair merge $a $b --kind flexlora -o flex --json
values() { "$SOW" inspect "$1/adapter_model.safetensors" --json | grep -v -e passport -e client -e sha256 -e weights -e path -e file; }
values merged >merged.values
values turned >turned.values
expect_same 'give the same values' merged.values turned.values
inputs() { for folder in $a $b $c; do printf -- '--input adapters=%s ' $folder; done; }
expect_output 'same bits: yes' 'a merge is made again from its passport' "$SOW" replay merged/adapter_model.safetensors $(inputs)
expect_true 'the passport holds no path' sh -c '! "$1" inspect merged/adapter_model.safetensors --json | grep -q rounds/rounds' sh "$SOW"

# ---- refusals ----
refuse() { # STATUS MESSAGE NAME ARGUMENTS...
    wanted=$1 message=$2 name=$3
    shift 3
    expect_message "$wanted" "$message" "$name" "$SOW" lora-fair merge "$@" -o never
}
refuse 2 'expected at least two' 'one adapter' $a
refuse 1 'no such folder' 'a folder that is not there' $a nothing
refuse 2 'expected .uniform. or 2 positive numbers' 'a weight too few' $a $b --weights 1
refuse 2 'positive numbers' 'a weight of zero' $a $b --weights 1,0
refuse 2 'one of|expected' 'an unknown kind' $a $b --kind fiar
refuse 1 'kept the same A' 'ffa with different A' $a $b --kind ffa
refuse 1 'expected rank 4 as in client 1, found 12' 'mixed ranks' $a flora
mkdir lie && cp $a/adapter_config.json lie && head -c 300 $a/adapter_model.safetensors >lie/adapter_model.safetensors
refuse 1 'lie' 'a file cut in the middle' $a lie
expect_message 2 'expected iid, domain' 'a partition that is none' "$SOW" lora-fair run --partition alphabet -o never
expect_message 1 'too few for 500 clients' 'more clients than examples' "$SOW" lora-fair run $few --clients 500 -o never
expect_absent 'nothing was written' never

# ---- the study ----
expect_output '^verdict: confirmed' 'the smoke study is confirmed' "$SOW" study lora-fair --scale smoke --data fashion-mnist -o study
