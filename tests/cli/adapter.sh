. "$SOW_ROOT/tests/cli/lib.sh"

# A tiny Llama whose tokens are bytes, and an adapter trained on it.
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" tiny
printf '{"question":"%d","answer":"%d"}\n' 1 2 3 4 5 6 7 8 9 0 2 4 >data.jsonl
"$SOW" train --model tiny --data data.jsonl --tune lora --rank 3 --alpha 6 --lr 0.03 --steps 12 --batch 2 --evaluate-every 0 -o lora >/dev/null 2>&1
"$SOW" train --model tiny --data data.jsonl --tune dora --rank 2 --lr 0.03 --steps 2 --batch 2 --targets q_proj -o dora >/dev/null 2>&1
"$SOW" train --model tiny --data data.jsonl --tune lora-xs --rank 4 --lr 0.03 --steps 4 --batch 2 -o xs >/dev/null 2>&1

loss() { "$SOW" lm score --data data.jsonl --json "$@" 2>/dev/null | sed -n 's/.*"loss": *\([0-9.e+-]*\).*/\1/p'; }
same() { # NAME LOSS LOSS
    if awk "BEGIN { d = ${2:-nan} - ${3:-nan}; exit !(d < 1e-5 && d > -1e-5) }" </dev/null; then pass "$1"; else fail "$1" "'$2' and '$3'"; fi
}
plain=$(loss --model tiny) tuned=$(loss --model tiny --adapter lora)
expect_true 'the adapter changes the model' awk "BEGIN { exit !($tuned < $plain - 0.1) }"

# ---- inspect ----
expect_output 'kind: LoRA' 'inspect says the kind' "$SOW" adapter inspect lora --model tiny
expect_output 'model.layers.1.mlp.down_proj +24 +16 +3' 'and lists the layers' "$SOW" adapter inspect lora --model tiny
expect_output 'kind: DoRA' 'DoRA' "$SOW" adapter inspect dora
expect_output 'kind: LoRA with a core' 'cores' "$SOW" adapter inspect xs
expect_output 'kind: LoRA$' 'cores read as LoRA' "$SOW" adapter inspect xs --as-lora
expect_output '"sum of ranks": *42' 'as JSON' "$SOW" adapter inspect lora --json

# ---- fuse ----
expect_ok 'fuse writes a model' "$SOW" adapter fuse lora --model tiny -o fused
same 'which scores like base and adapter' "$(loss --model fused)" "$tuned"
expect_ok 'DoRA too' "$SOW" adapter fuse dora --model tiny -o fused-dora
same 'with its magnitudes' "$(loss --model fused-dora)" "$(loss --model tiny --adapter dora)"
expect_message 1 'fused' 'a folder is not overwritten' "$SOW" adapter fuse lora --model tiny -o fused
expect_ok 'fuse in bf16' "$SOW" adapter fuse lora --model tiny --dtype bf16 -o fused16
expect_ok 'replay makes the same model' "$SOW" replay fused/model.safetensors

# ---- convert ----
expect_ok 'another alpha' "$SOW" adapter convert lora --alpha 1.5 -o rescaled
same 'is the same update' "$(loss --model tiny --adapter rescaled)" "$tuned"
expect_ok 'a larger rank' "$SOW" adapter convert lora --rank 8 -o wider
same 'is the same update too' "$(loss --model tiny --adapter wider)" "$tuned"
expect_output 'lost: 0\.' 'a smaller rank says what is lost' "$SOW" adapter convert lora --rank 1 -o narrow
expect_output 'largest rank: 1' 'and has it' "$SOW" adapter inspect narrow
expect_ok 'cores become plain' "$SOW" adapter convert xs -o xs-plain
same 'with the same update' "$(loss --model tiny --adapter xs-plain)" "$(loss --model tiny --adapter xs)"
expect_fail 'DoRA has no plain form' "$SOW" adapter convert dora -o never
expect_true 'and nothing is left behind' test ! -e never
expect_ok 'a GGUF file' "$SOW" adapter convert lora --to gguf --model tiny -o lora.gguf
expect_true 'which begins as one' sh -c 'head -c 4 lora.gguf | grep -q GGUF'
expect_fail 'GGUF needs the base' "$SOW" adapter convert lora --to gguf -o other.gguf
expect_ok 'replay makes the same adapter' "$SOW" replay rescaled/adapter_model.safetensors

# ---- wrong folders ----
python3 "$SOW_ROOT/tests/cli/tiny_lm.py" wide 32
expect_message 1 'another base model: model.layers.0' 'another base is refused with the layers that do not fit' "$SOW" adapter inspect lora --model wide
expect_status 1 'a missing folder' "$SOW" adapter inspect nowhere
cp -r lora cut
head -c 400 lora/adapter_model.safetensors >cut/adapter_model.safetensors
expect_status 1 'a file that was cut' "$SOW" adapter inspect cut
expect_status 2 'an unknown action' "$SOW" adapter fus lora
expect_status 2 'no adapter named' "$SOW" adapter inspect
