# sow lora-sb: starts of a language model's and of a network's adapter, their folders, what is refused, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

# A tiny Llama whose tokens are bytes, and sums to learn.
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
python3 - <<'EOF'
import json, random
random.seed(3)
with open("sums.jsonl", "w") as f:
    for _ in range(120):
        a, b = random.randint(0, 9), random.randint(0, 9)
        f.write(json.dumps({"question": f"{a}+{b}", "answer": str(a + b)}) + "\n")
EOF
start() { "$SOW" lora-sb --model tiny --data sums.jsonl --rank 4 --samples 30 --lr 0.02 "$@"; }

# ---- the folder ----
expect_output '^trained numbers: 224$' 'a start of 14 layers with 4 x 4 numbers each' start -o sb
for file in adapter_config.json adapter_model.safetensors lora_sb.safetensors README.md energy.csv energy.svg; do
    expect_file "$file is written" "sb/$file"
done
expect_output '^model.layers.0.self_attn.q_proj,1,0\.' 'energy by layer and rank' cat sb/energy.csv
expect_output '"lora_alpha": 4' 'alpha is the rank' cat sb/adapter_config.json
expect_output '"q_proj"' 'targets are listed by their ends' cat sb/adapter_config.json
expect_output 'rate 0.02 = learning rate 0.02 / 1 warm-up' 'the card says how it was made' cat sb/README.md
expect_message 1 'sb exists already' 'an existing folder is not overwritten' start -o sb
expect_output '"rank_for_90%": [0-9]' 'as JSON' start -o json --json
expect_same 'the same command gives the same bytes' sb/lora_sb.safetensors json/lora_sb.safetensors
expect_ok 'one thread' start --threads 1 -o one -q
expect_same 'gives them too' sb/lora_sb.safetensors one/lora_sb.safetensors
expect_message 0 'in several passes' 'a little memory: layers in several passes' start --memory 0.00001 --recompute -o passes
expect_same 'to the same bytes' sb/lora_sb.safetensors passes/lora_sb.safetensors
expect_output 'same bits: yes' 'cores are made again from their passport' "$SOW" replay sb/lora_sb.safetensors
expect_output 'same bits: yes' 'plain LoRA too' "$SOW" replay sb/adapter_model.safetensors
expect_ok 'another seed draws other samples' start --seed 1 -o other -q
expect_differ 'and gives another start' sb/lora_sb.safetensors other/lora_sb.safetensors
expect_ok 'leading triples only, for some layers, by SGD' start --svd sketch --targets q_proj,v_proj --first-step sgd -o some -q
expect_output '^.*"target_modules": \["q_proj", "v_proj"\]' 'which the configuration lists' cat some/adapter_config.json

# ---- the rate of the first step ----
expect_message 0 'first step.s rate is 0.005: learning rate 0.02 / 4 warm-up steps' 'warm-up steps divide the rate' start --warmup-steps 4 -o warm
expect_message 0 '2 % of an epoch in batches of 32' 'else 2 % of an epoch' start -o cold

# ---- it is trained ----
expect_ok 'sow train goes on from it' "$SOW" train --model tiny --data sums.jsonl --adapter sb --lr 0.02 --epochs 2 -o tuned
expect_true 'training the cores alone' grep -q '"trained": 224' tuned/run.json
expect_ok 'or as ordinary LoRA' "$SOW" train --model tiny --data sums.jsonl --adapter sb --as-lora --lr 0.02 --epochs 1 -o lora

# ---- networks ----
expect_ok 'a network is trained' "$SOW" train --arch mlp:64-30-5 --data synthetic:relmlp --optimizer adam --lr 0.0012 --batch 60 --steps 60 -q -o base
expect_output '^layers: 2$' 'its layers get cores too' "$SOW" lora-sb --arch mlp:64-30-5 --start base/final.safetensors --data synthetic:relmlp --rank 4 --lr 0.01 -o net
expect_output 'same bits: yes' 'replayed' "$SOW" replay net/lora_sb.safetensors --input start=base/final.safetensors

# ---- what is refused ----
expect_message 2 'missing --model' 'no model' "$SOW" lora-sb --data sums.jsonl -o x
expect_message 2 'exclude each other' 'two models' start --arch mlp:64-30-5 -o x
expect_message 2 'needs --start' 'a network without weights' "$SOW" lora-sb --arch mlp:64-30-5 --data synthetic:relmlp -o x
expect_message 2 'belongs to language models' 'options of texts' "$SOW" lora-sb --arch mlp:64-30-5 --start base/final.safetensors --data synthetic:relmlp --length 5 -o x
expect_message 1 'did you mean q_proj' 'a target that is not there' start --targets q_prj -o x
expect_message 2 '--rank' 'rank 0' start --rank 0 -o x
expect_fail 'no such data' "$SOW" lora-sb --model tiny --data nowhere.jsonl -o x
printf '{"question":"1"}\n' >bad.jsonl
expect_fail 'a question without an answer' "$SOW" lora-sb --model tiny --data bad.jsonl -o x
expect_absent 'nothing is left of what was refused' x

# ---- the study ----
run "$SOW" study lora-sb --scale smoke -o smoke
if [ "$status" -eq 0 ] || [ "$status" -eq 3 ]; then pass 'the smoke study runs'; else fail 'the smoke study runs' "exit status $status"; fi
expect_output '"verdict": "(not )?(confirmed|decided)"' 'with a verdict' cat smoke/verdict.json
