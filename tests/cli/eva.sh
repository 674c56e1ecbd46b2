# sow eva: starts of a language model's and of a network's adapter, both solvers, ranks, folders, what is refused, the study.
. "$SOW_ROOT/tests/cli/lib.sh"

# A tiny Llama whose tokens are bytes, and sums to learn.
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
python3 - <<'PYTHON'
import json, random
random.seed(3)
with open("sums.jsonl", "w") as f:
    for _ in range(120):
        a, b = random.randint(100, 999), random.randint(100, 999)
        f.write(json.dumps({"question": f"{a}+{b}", "answer": f"{a} and {b} make {a + b}"}) + "\n")
PYTHON
start() { "$SOW" eva --model tiny --data sums.jsonl --rank 3 "$@"; }

# ---- the folder ----
expect_output '^ranks: 42$' 'a start of 14 layers whose ranks sum to the budget' start -o eva
for file in adapter_config.json adapter_model.safetensors README.md ranks.csv ranks.svg report.json; do
    expect_file "$file is written" "eva/$file"
done
expect_output '^settled: yes' 'it settled' start -o again
expect_same 'the same command gives the same bytes' eva/adapter_model.safetensors again/adapter_model.safetensors
expect_ok 'one thread' start --threads 1 -o one -q
expect_same 'gives them too' eva/adapter_model.safetensors one/adapter_model.safetensors
expect_output 'same bits: yes' 'it is made again from its passport' "$SOW" replay eva/adapter_model.safetensors
expect_message 1 'eva exists already' 'an existing folder is not overwritten' start -o eva
expect_ok 'save by --force' start -o eva --force -q
expect_output '"other_rho":' 'as JSON' start -o json --json -q
expect_true 'ranks.csv has a line for each layer' [ "$(wc -l <eva/ranks.csv)" -eq 15 ]
expect_true 'and its ranks sum to the budget' [ "$(awk -F, 'NR > 1 { s += $4 } END { print s }' eva/ranks.csv)" -eq 42 ]
expect_output 'alpha_pattern' 'the card says how scales are kept' cat eva/README.md
expect_ok 'another seed draws other batches' start --seed 1 -o other -q
expect_differ 'and gives another start' eva/adapter_model.safetensors other/adapter_model.safetensors

# ---- settings ----
expect_ok 'no redistribution' start --rho 1 -o flat -q
expect_output '"rank_pattern": \{\}' 'leaves no pattern' cat flat/adapter_config.json
expect_output '"target_modules": \["q_proj"' 'and short names of targets' cat flat/adapter_config.json
expect_ok 'some layers' start --targets q_proj,down_proj -o some -q
expect_true 'are all there are' [ "$(wc -l <some/ranks.csv)" -eq 5 ]
expect_ok 'second moments' start --solver gram -o gram -q
expect_output '"least_captured"' 'say how much subspaces held' cat gram/report.json
expect_ok 'all tokens' start --label-mask off -o all -q
expect_differ 'give another start than those of answers' eva/adapter_model.safetensors all/adapter_model.safetensors
expect_message 0 'not settled after 2 batches' 'a bound on batches is kept and said' start --tau 1 --max-batches 2 -o bound
expect_output '"settled": false' 'in the report too' cat bound/report.json

# ---- what the folder is good for ----
expect_ok 'the model with it scores' "$SOW" lm score --model tiny --data sums.jsonl --adapter eva --json
cp "$out" with
expect_ok 'as without' "$SOW" lm score --model tiny --data sums.jsonl --json
cp "$out" without
expect_same 'since B is 0' with without
expect_ok 'it is trained' "$SOW" train --model tiny --data sums.jsonl --adapter eva --steps 3 --batch 2 --lr 1e-3 -o tuned -q

# ---- networks on images or tables ----
"$SOW" train --arch mlp:64-40-20-5 --data synthetic:relmlp --steps 20 --quiet --out-state net.safetensors >/dev/null
expect_output '^layers: 3$' 'a network' "$SOW" eva --arch mlp:64-40-20-5 --start net.safetensors --data synthetic:relmlp --rank 4 -o net
expect_output '^ranks: 12$' 'by second moments' "$SOW" eva --arch mlp:64-40-20-5 --start net.safetensors --data synthetic:relmlp --rank 4 --solver gram -o net2

# ---- what is refused ----
expect_message 2 'missing --model, a language model, or --arch' 'no model' "$SOW" eva --data sums.jsonl -o x
expect_message 2 'exclude each other' 'two' start --arch mlp:64-5 -o x
expect_message 2 'needs --start' 'a network without weights' "$SOW" eva --arch mlp:64-5 --data synthetic:relmlp -o x
expect_message 2 'rho' 'rho below 1' start --rho 0.5 -o x
expect_message 2 'exact belongs to --solver ipca' 'exact moments twice' start --solver gram --exact -o x
expect_message 1 'matches no linear layer; did you mean q_proj' 'a target that there is not' start --targets qproj -o x
expect_message 1 'take larger batches' 'batches with fewer rows than components' start --rho 6 --label-mask off --loss-on all --length 12 --svd-batch 1 --max-batches 3 -o x
expect_true 'nothing is left behind' [ ! -e x ]

# ---- the study ----
expect_output '^eva ' 'the study is listed' "$SOW" study
