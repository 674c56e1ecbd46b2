. "$SOW_ROOT/tests/cli/lib.sh"

# A tiny Llama whose tokens are bytes, and sums to learn.
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
python3 - <<'EOF'
import json, random
random.seed(3)
for name, count in ("sums.jsonl", 120), ("val.jsonl", 20):
    with open(name, "w") as f:
        for _ in range(count):
            a, b = random.randint(0, 9), random.randint(0, 9)
            f.write(json.dumps({"question": f"{a}+{b}", "answer": str(a + b)}) + "\n")
EOF
tune() { "$SOW" train --model tiny --data sums.jsonl --val val.jsonl --lr 0.01 "$@"; }
number() { sed -n "/\"$2\"/,/}/ s/.*\"$3\": *\([0-9.e+-]*\).*/\1/p" "$1" | head -n 1; }
lower() { awk "BEGIN { exit !($1 < $2) }"; }

# ---- every form learns ----
for form in lora rslora dora orthonormal pissa olora lora-xs core-random full; do
    run tune --tune $form --epochs 3 -o $form
    start=$(number $form/run.json start val_loss) best=$(number $form/run.json best val_loss)
    if [ "$status" -eq 0 ] && lower "$best" "$start - 1"; then pass "--tune $form learns"; else fail "--tune $form learns" "from '$start' to '$best'"; fi
done
expect_true 'an adapter is a PEFT folder with a card' grep -q 'Validation loss [0-9.]* at the start' lora/README.md
expect_true 'no leftovers of a finished training' test ! -e lora/checkpoint.safetensors -a ! -e lora/best.safetensors
expect_ok 'replay makes the same bits' "$SOW" replay lora/adapter_model.safetensors

# ---- what was written is what was measured ----
same_loss() { # NAME TRAINED SCORE-OPTIONS...
    name=$1 trained=$(number "$2"/run.json best val_loss)
    shift 2
    run "$SOW" lm score --data val.jsonl --json "$@"
    scored=$(sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p' "$out")
    if [ "$status" -eq 0 ] && awk "BEGIN { d = $scored - $trained; exit !(d < 1e-4 && d > -1e-4) }"; then pass "$name"
    else fail "$name" "scored '$scored', trained '$trained'"; fi
}
same_loss 'the adapter scores as it was trained' lora --model tiny --adapter lora
same_loss 'one with a magnitude' dora --model tiny --adapter dora
same_loss 'one whose base was shifted, as plain LoRA on the original' pissa --model tiny --adapter pissa
same_loss 'cores, folded' lora-xs --model tiny --adapter lora-xs
same_loss 'the whole model, as a Hugging Face folder' full --model full

# ---- going on ----
expect_ok 'an adapter is trained further' tune --adapter lora --epochs 1 -o further
expect_true 'from where it was' lower "$(number further/run.json start val_loss) - $(number lora/run.json best val_loss)" 0.001
expect_ok 'cores alone are trained further' tune --adapter lora-xs --epochs 1 -o cores
expect_true 'and nothing else' grep -q '"trained": 896' cores/run.json
expect_ok 'unless they are to be plain LoRA' tune --adapter lora-xs --as-lora --steps 2 -o plain-cores
expect_true 'of all factors' grep -q '"trained": 3712' plain-cores/run.json

# ---- killed and resumed, and with other numbers of threads: the same bits ----
expect_ok 'a long training' tune --epochs 60 --patience 0 --accumulate 2 -o whole
"$SOW" train --model tiny --data sums.jsonl --val val.jsonl --lr 0.01 --epochs 60 --accumulate 2 -o cut >/dev/null 2>&1 &
pid=$!
for _ in $(seq 2000); do
    [ -e cut/checkpoint.safetensors ] && break
    sleep 0.01
done
kill -9 $pid
wait $pid 2>/dev/null
if [ -e cut/run.json ]; then skip 'a killed training goes on' 'it was over before'
else
    expect_message 1 'exists already' 'a begun training is not overwritten' tune --epochs 60 --accumulate 2 -o cut
    expect_message 0 'going on from step' 'a killed training goes on' tune --epochs 60 --accumulate 2 -o cut --resume
    expect_same 'and ends with the same bits' whole/adapter_model.safetensors cut/adapter_model.safetensors
    expect_same 'and the same curve' whole/curve.csv cut/curve.csv
fi
expect_message 1 'this training is complete' 'a complete one has nothing to go on with' tune --epochs 60 --accumulate 2 -o whole --resume
expect_ok 'on one thread' tune --threads 1 --epochs 60 --accumulate 2 -o one
expect_same 'the same bits' whole/adapter_model.safetensors one/adapter_model.safetensors

# ---- ends, parts ----
expect_ok 'a rate that ruins the model' "$SOW" train --model tiny --data sums.jsonl --val val.jsonl --tune full --lr 3 --clip 0 --optimizer adamw --schedule constant --steps 40 --evaluate-every 2 --patience 2 -o early
expect_true 'ends early' grep -q '"stopped_early": true' early/run.json
expect_ok 'a part is held out' "$SOW" train --model tiny --data sums.jsonl --limit 60 --val 10 --steps 2 -o held
expect_true 'of the first ones' grep -q '"sequences": 50' held/run.json
expect_ok 'nothing held out' "$SOW" train --model tiny --data sums.jsonl --val 0 --steps 2 -o none
expect_true 'has no best' sh -c '! grep -q best none/run.json'
expect_output '^[{]"step":2,"train_loss":[0-9.]+,"val_loss":[0-9.]+[}]$' 'records for other programs' tune --steps 2 --records -o records
printf 'To be, or not to be: that is the question.\n' >plain.txt
expect_ok 'plain text' "$SOW" train --model tiny --data plain.txt --length 16 --val 0 --batch 2 --optimizer sgdm --steps 3 -o plain
expect_true 'and it says so' grep -q '"format": "plain text"' plain/run.json
expect_ok 'SGD-SaI' tune --optimizer sgd-sai --steps 3 -o sai

# ---- what is refused, leaving nothing ----
refused() { expect_message "$@" -o refused; expect_true 'nothing is left' test ! -e refused; }
refused 2 '--arch belongs to networks' 'a network and a language model' "$SOW" train --model tiny --arch lenet300 --data sums.jsonl
refused 2 '--augment belongs to networks' 'augmented texts' "$SOW" train --model tiny --augment flip --data sums.jsonl
refused 2 '--rank belongs to language models' 'ranks of a network' "$SOW" train --arch lenet300 --data mnist --steps 1 --rank 3
refused 2 'missing --arch' 'neither' "$SOW" train --data sums.jsonl --steps 1
refused 2 '--rank does nothing for --tune full' 'a rank of the whole' tune --tune full --rank 3
refused 2 '--tune and --adapter exclude' 'two starts' tune --tune lora --adapter lora
refused 2 '--steps and --epochs exclude' 'two lengths' tune --steps 3 --epochs 1
refused 1 'did you mean' 'a layer that is not there' tune --targets q_prj
refused 1 'a step takes 3 batches of 50' 'too few texts' tune --batch 50 --accumulate 3
refused 1 'line 1: no fields that are known' 'unknown fields' sh -c 'echo "{\"a\":1}" >a.jsonl; "$0" train --model tiny --data a.jsonl "$@"' "$SOW"
refused 2 "no chat template is called 'alpaca'" 'an unknown template' tune --chat-template alpaca
refused 1 'the tokenizer has no token <bos>' 'a template of other tokens' tune --chat-template gemma
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" wide 24
refused 1 'lora: ' 'an adapter of another model' "$SOW" train --model wide --data sums.jsonl --adapter lora
expect_message 2 'missing -o' 'no folder' "$SOW" train --model tiny --data sums.jsonl
