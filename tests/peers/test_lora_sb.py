"""LoRA-SB against PyTorch: the same first step of a tiny Llama, the same subspaces; PEFT loads the folder with the same logits."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import LlamaForCausalLM

import tap
from tap import expect

SOW, ROOT = os.environ["SOW"], os.environ["SOW_ROOT"]
ETA, RANK = 0.01, 4
torch.set_num_threads(1)


def run(*words):
    done = subprocess.run([SOW, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(" ".join(words) + ": " + done.stderr)
    return done.stdout


# A tiny Llama whose tokens are bytes; answers count, with the token that ends them.
subprocess.run([sys.executable, f"{ROOT}/tests/cli/tiny_lm.py", "tiny"], check=True)
pairs = [(f"{a}+{b}=", str(a + b)) for a, b in np.random.default_rng(1).integers(0, 30, (14, 2))]
pathlib.Path("pairs.jsonl").write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs))

model = LlamaForCausalLM.from_pretrained("tiny", dtype=torch.float32)
total, counted = 0, 0
for prompt, completion in pairs:
    ids = list((prompt + completion).encode()) + [256]
    labels = torch.tensor(ids[len(prompt):])
    logits = model(torch.tensor([ids])).logits[0, len(prompt) - 1:-1]
    total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    counted += len(labels)
(total / counted).backward()
gradient = {name.removesuffix(".weight"): p.grad.numpy() for name, p in model.named_parameters() if "proj" in name}


def start(out, *options):
    result = json.loads(run("lora-sb", "--model", "tiny", "--data", "pairs.jsonl", "--lr", str(ETA), "--batch", "5", "--json", "-o", out, *options))
    tensors = load_file(f"{out}/lora_sb.safetensors")
    return result, {m: (tensors[m + ".B"], tensors[m + ".R"], tensors[m + ".A"]) for m in gradient}


# ---- the first step ----
result, layers = start("sgd", "--rank", "99", "--first-step", "sgd")
expect("all linear layers have a core", len(load_file("sgd/lora_sb.safetensors")) == 3 * len(gradient), f"{len(gradient)} layers")
expect("loss of the base", abs(result["loss_of_base"] - float(total.detach()) / counted) < 1e-5, f"{result['loss_of_base']:.6f}")
worst = max(np.abs(B @ R @ A + ETA * gradient[m]).max() / (ETA * np.abs(gradient[m]).max()) for m, (B, R, A) in layers.items())
expect("SGD: at full rank B R A is -eta times PyTorch's gradient", worst < 2e-5, f"largest gap {worst:.1e} of the largest")

_, layers = start("adam", "--rank", "99")
# Signs may differ only where the gradient is nothing but rounding.
unlike = [m for m, (B, R, A) in layers.items()
          if np.any((np.abs(B @ R @ A + ETA * np.sign(gradient[m])) > 1e-5) & (np.abs(gradient[m]) > 1e-6 * np.abs(gradient[m]).max()))]
expect("Adam: at full rank it is -eta times the signs", not unlike, ", ".join(unlike))

# ---- subspaces ----
_, some = start("some", "--rank", str(RANK))
cosine, values, energy = 1, 0, 0
for m, (B, R, A) in some.items():
    whole = layers[m][0] @ layers[m][1] @ layers[m][2]
    u, s, vt = torch.linalg.svd(torch.from_numpy(whole.astype(np.float64)), full_matrices=False)
    values = max(values, np.abs(np.diag(R) - s[:RANK].numpy()).max() / float(s[0]))
    if s[RANK - 1] - s[RANK] < 0.05 * s[RANK - 1]:
        continue  # the last direction is not determined
    for ours, theirs in ((B, u[:, :RANK].numpy()), (A.T, vt[:RANK].numpy().T)):
        cosine = min(cosine, np.linalg.svd(ours.T @ theirs, compute_uv=False).min())
expect("cores hold PyTorch's leading singular values", values < 1e-5, f"largest gap {values:.1e} of the first")
expect("bases span its leading singular vectors", cosine > 1 - 1e-5, f"least principal cosine 1 - {1 - cosine:.1e}")
skew = max(max(np.abs(B.T @ B - np.eye(RANK)).max(), np.abs(A @ A.T - np.eye(RANK)).max()) for B, _, A in some.values())
expect("bases are orthonormal", skew < 1e-6, f"{skew:.1e}")

# ---- PEFT ----
ids = torch.tensor([list(b"12+7=19")])
tuned = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("tiny", dtype=torch.float32), "some").eval()
merged = LlamaForCausalLM.from_pretrained("tiny", dtype=torch.float32).eval()
with torch.no_grad():
    base = merged(ids).logits
    for m, (B, R, A) in some.items():
        merged.get_submodule(m).weight += torch.from_numpy(B @ R @ A)
    loaded, direct = tuned(ids).logits, merged(ids).logits
gap = float((loaded - direct).abs().max())
expect("PEFT loads the folder: logits of W0 + B R A", gap < 1e-5, f"{gap:.1e}, which move by {float((direct - base).abs().max()):.2g}")
top = json.loads(run("lm", "score", "--model", "tiny", "--adapter", "some", "--prompt", "12+7=19", "--top", "10", "--json"))["top"]
gap = max(abs(float(loaded[0, -1, token]) - logit) for token, logit in top)
expect("and those of sow", gap < 1e-5, f"{gap:.1e}")
whole = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("tiny", dtype=torch.float32), "adam")
gap = max(np.abs(whole.base_model.model.get_submodule(m).get_delta_weight("default").detach().numpy() - B @ R @ A).max()
          for m, (B, R, A) in layers.items())
expect("ranks that layers are too small for are cut, the scale is 1 all the same", gap < 1e-7, f"{gap:.1e}")
parameters = sum(p.numel() for name, p in tuned.named_parameters() if "lora_" in name)
expect("it has LoRA's parameters of that rank", parameters == sum(RANK * (g.shape[0] + g.shape[1]) for g in gradient.values()))

tap.finish()
