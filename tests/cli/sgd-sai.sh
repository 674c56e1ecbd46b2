# sow sgd-sai: tables of scales, trainings with them, refusals, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

number() { sed -n "s/^ *\"$1\": *\([-0-9.e+]*\),*$/\1/p" "$out" | head -n 1; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 < b + 0) }'; }
toy="--arch mlp:64-40-5 --data synthetic:relmlp --batch 60 --seed 3"
train() { "$SOW" train $toy --optimizer sgd-sai --lr 0.002 --steps 20 --evaluate-every 10 --quiet "$@"; }

# ---- the table ----
expect_output '^fc1.weight +\[40, 64\] +2560 ' 'the table is shown' "$SOW" sgd-sai $toy -o scales.json
expect_output '^conversion: lr of --normalise max' 'how lr is converted' "$SOW" sgd-sai $toy -o scales.json --force
for file in scales.json scales.csv scales.svg; do expect_file "$file is written" $file; done
expect_output '"sha256"' 'the table carries a passport' grep sha256 scales.json
expect_true 'the CSV has a row for each of four tensors' [ "$(wc -l <scales.csv)" -eq 5 ]
expect_output '^name,shape,block,parts,n,norm,mean,sd,g,normalised,sqrt_n,ratio,scale,note' 'under names' head -n 1 scales.csv
expect_ok 'measured again' "$SOW" sgd-sai $toy --quiet --threads 2 -o again.json
expect_same 'it is the same for any threads' scales.json again.json
expect_ok 'by rows' "$SOW" sgd-sai $toy --blocks row -o rows.json
expect_true 'there is a scale for each output of a matrix, and for each bias' [ "$(wc -l <rows.csv)" -eq 48 ]
expect_output 'within 2 %|more than 2 %' 'what measuring adds' "$SOW" sgd-sai $toy --batches 3 --average scale -o mean.json
expect_ok 'roots of sizes' "$SOW" sgd-sai $toy --sqrt-n --json -o roots.json
expect_true 'are the roots' [ "$(awk -F, '$1 == "fc1.bias" { print ($(NF - 1) - sqrt(40)) ^ 2 < 1e-12 }' roots.csv)" = 1 ]

# ---- training ----
expect_ok 'scales are measured by the optimiser' train -o measured
expect_ok 'or given' train --scales scales.json -o given
expect_same 'with the same bits' measured/curve.csv given/curve.csv
sed 's/"scale": [0-9.]*/"scale": 1.0/' scales.json >ones.json
expect_ok 'edited ones' train --scales ones.json -o edited
expect_ok 'that are 1' "$SOW" train $toy --optimizer sgdm --lr 0.002 --steps 20 --evaluate-every 10 --quiet -o plain
expect_same 'are momentum alone' edited/curve.csv plain/curve.csv
expect_ok 'rows have scales of their own' train --scales rows.json -o by_row
expect_ok 'measured too' train --scale-blocks row -o by_row_measured
expect_same 'the same' by_row/curve.csv by_row_measured/curve.csv
expect_ok 'without momentum' train --momentum 0 -o without
expect_ok 'a training to be interrupted' train --checkpoint-every 10 -o whole
expect_ok 'half of it' "$SOW" train $toy --optimizer sgd-sai --lr 0.002 --steps 20 --evaluate-every 10 --quiet --checkpoint-every 10 -o half
expect_ok 'goes on' train --checkpoint-every 10 --resume -o half
expect_same 'to the same weights' whole/final.safetensors half/final.safetensors
expect_message 1 'other settings' 'but not with other scales' train --scales ones.json --checkpoint-every 10 --resume -o half
expect_message 1 'other settings' 'nor with other blocks' train --scale-blocks row --checkpoint-every 10 --resume -o half

# ---- refusals ----
expect_message 2 'missing --model, a language model, or --arch' 'no model' "$SOW" sgd-sai --data x.csv -o x.json
expect_message 2 'exclude each other' 'two models' "$SOW" sgd-sai --model a --arch lenet300 --data x -o x.json
expect_message 2 'missing --data' 'no data' "$SOW" sgd-sai --arch lenet300 -o x.json
expect_message 2 'has no attention heads' 'no heads' "$SOW" sgd-sai $toy --blocks head -o x.json
expect_message 1 'exists' 'nothing is overwritten' "$SOW" sgd-sai $toy -o scales.json
expect_message 1 "x.json: no such file|x.json" 'no table' train --scales x.json -o x
echo '{"format":"sow scales 1","scales":[{"name":"fc1.weight","scale":1}]}' >short.json
expect_message 1 "scales: there is none for 'fc1.bias'" 'a table that lacks a tensor' train --scales short.json -o x
echo '{"format":"sow scales 1","scales":[{"name":"fc1.weight","scale":-1}]}' >wrong.json
expect_message 1 'wrong.json: row 1 \(fc1.weight\): scale -1' 'a negative scale' train --scales wrong.json -o x
expect_message 2 'belongs to --optimizer sgd-sai, not to adamw' 'scales of another optimiser' "$SOW" train $toy --optimizer adamw --scales scales.json --steps 2 -o x
expect_message 2 '--scales and --sqrt-n exclude each other' 'two tables' train --scales scales.json --sqrt-n -o x
expect_message 2 'expected gpt:WIDTH-LAYERS-HEADS-CONTEXT' 'a gpt that is none' "$SOW" sgd-sai simulate --arch gpt:64-2-5-64
expect_absent 'nothing is left behind' x

# ---- language models and adapters ----
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
for i in 1 2 3 4 5 6 7 8 9; do echo "{\"question\":\"$i+$i\",\"answer\":\"that is twice $i\"}"; done >twice.jsonl
on_tiny="--model tiny --data twice.jsonl --chat-template none"
expect_output '^blocks: 20$' 'all weights of a language model' "$SOW" sgd-sai $on_tiny -o all.json
expect_output '^dead blocks: 14$' "of a fresh adapter A has no gradient yet" "$SOW" sgd-sai $on_tiny --rank 2 -o adapter.json
expect_output '"note": "dead"' 'the table says so' cat adapter.json
expect_true 'their scale is 1' [ "$(awk -F, '/lora_A/ && $(NF - 1) == 1' adapter.csv | wc -l)" -eq 14 ]
expect_ok 'an adapter is trained by it' "$SOW" train $on_tiny --tune lora --rank 2 --val 0 --optimizer sgd-sai --scales adapter.json --lr 0.01 --steps 3 -q -o tuned
expect_ok 'and simulated' "$SOW" sgd-sai simulate $on_tiny --rank 2 --val 2 --steps 30 --lr 0.02 --clip 1 --json
dead=$(number dead_blocks)
expect_true 'it learns' below "$(number share_of_first_loss)" 0.95
expect_true 'with the same dead blocks' [ "$dead" = 14 ]
expect_ok 'the whole model is simulated' "$SOW" sgd-sai simulate $on_tiny --val 2 --steps 2 --lr 0.001 --json
expect_message 2 'alpha belongs to --rank' 'alpha without an adapter' "$SOW" sgd-sai $on_tiny --alpha 4 -o x.json
expect_message 2 'rank belongs to language models' 'an adapter of a network' "$SOW" sgd-sai $toy --rank 2 -o x.json
expect_message 2 'length belongs to language models' 'texts of a network' "$SOW" sgd-sai $toy --length 9 -o x.json
expect_message 2 'model and --arch exclude each other' 'two models' "$SOW" sgd-sai simulate $on_tiny --arch gpt:16-1-2-16
expect_absent 'nothing is left behind' x.json

# ---- simulations and the study ----
yes 'The quick brown fox jumps over the lazy dog, and then it rests for a while.' | head -n 400 >text.txt
expect_ok 'a small GPT learns' "$SOW" sgd-sai simulate --arch gpt:16-1-2-16 --data text.txt --steps 40 --lr 0.02 --clip 1 --json
expect_true 'a text of few words' below "$(number share_of_first_loss)" 0.9
expect_output '"diverged": true' 'a training that diverges has a result' "$SOW" sgd-sai simulate --arch gpt:16-1-2-16 --data text.txt --steps 40 --optimizer sgd --lr 1e6 --momentum 0.9 --json
expect_message 1 'expected at least' 'a text that is too short' "$SOW" sgd-sai simulate --arch gpt:16-1-2-16 --data scales.csv
awk 'BEGIN { for (i = 0; i < 600; i++) { k = i % 10; for (j = 0; j < 64; j++) printf "%d,", (j * (k + 3) + int(i / 10) * (j % 3)) % 17; print k } }' | gzip >digits.csv.gz
run "$SOW" study sgd-sai --scale smoke --data digits.csv.gz -o study
expect_true 'the smoke study ends with a verdict' [ "$status" -eq 0 -o "$status" -eq 3 ]
expect_file 'and writes it' study/verdict.json

# ---- the parts of the full scale ----
expect_message 2 'comes in parts.*--part images --data PATH .1 hour; CIFAR-10.*--part lora' 'full wants a part' "$SOW" study sgd-sai --scale full
expect_message 2 'part lora: missing --data, texts' 'and the part its data' "$SOW" study sgd-sai --scale full --part lora
expect_message 2 "has no part 'x'; there are --part images" 'another part' "$SOW" study sgd-sai --scale full --part x
expect_message 2 'does not come in parts' 'small is one whole' "$SOW" study sgd-sai --part lora
expect_output 'sgd-sai +full +robustness' 'parts are listed' "$SOW" study
expect_absent 'nothing was begun' study-sgd-sai-full-lora
