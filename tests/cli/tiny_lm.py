"""A Llama of two layers with a tokenizer of bytes, as a Hugging Face folder: python3 tiny_lm.py FOLDER [WIDTH]"""
import json
import math
import os
import random
import struct
import sys

folder, H = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 16
F, LAYERS, HEADS, KV_HEADS, V = 24, 2, 2, 1, 259
D = H // HEADS
os.makedirs(folder, exist_ok=True)
random.seed(1)

shapes = {"model.embed_tokens.weight": [V, H], "model.norm.weight": [H]}
for i in range(LAYERS):
    for name, shape in {"self_attn.q_proj": [HEADS * D, H], "self_attn.k_proj": [KV_HEADS * D, H], "self_attn.v_proj": [KV_HEADS * D, H],
                        "self_attn.o_proj": [H, HEADS * D], "mlp.gate_proj": [F, H], "mlp.up_proj": [F, H], "mlp.down_proj": [H, F],
                        "input_layernorm": [H], "post_attention_layernorm": [H]}.items():
        shapes[f"model.layers.{i}.{name}.weight"] = shape
header, data = {}, b""
for name, shape in shapes.items():
    count = math.prod(shape)
    values = [1.0] * count if "norm" in name else [random.gauss(0, 0.3) for _ in range(count)]
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * count]}
    data += struct.pack(f"<{count}f", *values)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(f"{folder}/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
with open(f"{folder}/config.json", "w") as f:
    json.dump({"model_type": "llama", "hidden_size": H, "intermediate_size": F, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
               "num_key_value_heads": KV_HEADS, "head_dim": D, "rms_norm_eps": 1e-5, "vocab_size": V, "max_position_embeddings": 64,
               "hidden_act": "silu", "tie_word_embeddings": True, "eos_token_id": 256, "rope_theta": 10000.0}, f)

vocabulary, moved = {}, 256
for b in range(256):  # GPT-2's alphabet of bytes
    if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174:
        vocabulary[chr(b)] = b
    else:
        vocabulary[chr(moved)], moved = b, moved + 1
special = [{"id": 256 + i, "content": text, "special": True, "normalized": False} for i, text in
           enumerate(["</s>", "<|im_start|>", "<|im_end|>"])]
with open(f"{folder}/tokenizer.json", "w") as f:
    json.dump({"added_tokens": special, "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
               "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}, "decoder": {"type": "ByteLevel"}}, f)
