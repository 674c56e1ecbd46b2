"""Tuning language models against PyTorch, transformers and PEFT: the same texts, steps and rates give the same losses and weights."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

SOW = os.environ.get("SOW", "build/sow")
HERE = pathlib.Path(__file__).resolve().parent
END, results = 256, []


def say(ok, name, detail=""):
    results.append(ok)
    print(f"{'ok' if ok else 'FAIL'}: {name}{' ' + detail if detail else ''}")


def sow(*words):
    done = subprocess.run([SOW, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def batch(pairs):
    """Padded ids and labels as transformers wants them: prompts and padding do not count."""
    rows = [([*(p + "\n").encode()], [*c.encode(), END]) for p, c in pairs]
    length = max(len(p) + len(c) for p, c in rows)
    ids = torch.tensor([p + c + [0] * (length - len(p) - len(c)) for p, c in rows])
    labels = torch.tensor([[-100] * len(p) + c + [-100] * (length - len(p) - len(c)) for p, c in rows])
    mask = torch.tensor([[1] * (len(p) + len(c)) + [0] * (length - len(p) - len(c)) for p, c in rows])
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def train(model, data, optimizer, steps, rates, clip):
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rates(step)
        optimizer.zero_grad()
        loss = model(**data).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def curve(folder):
    rows = [line.split(",") for line in (folder / "curve.csv").read_text().splitlines()[1:]]
    return [float(row[1]) for row in rows if row[1]]


def close(ours, theirs, tolerance):
    return len(ours) == len(theirs) and all(abs(a - b) <= tolerance * max(1, abs(b)) for a, b in zip(ours, theirs))


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    subprocess.run([sys.executable, HERE.parent / "cli" / "tiny_lm.py", folder / "tiny"], check=True)
    pairs = [(f"{a}+{b}", str(a + b) * (1 + a % 3)) for a in range(5) for b in range(0, 10, 3)]
    with open(folder / "sums.jsonl", "w") as f:
        for p, c in pairs:
            f.write(json.dumps({"question": p, "answer": c}) + "\n")
    data, steps, n = batch(pairs), 8, len(pairs)
    common = ["train", "--model", str(folder / "tiny"), "--data", str(folder / "sums.jsonl"), "--val", "0", "--steps", str(steps),
              "--evaluate-every", "1", "--schedule", "constant"]  # a step sees all texts: their order does not matter

    # the whole model, the step cut into four parts of unequal weight, its gradient clipped
    sow(*common, "--tune", "full", "--batch", str(n // 4), "--accumulate", "4", "--lr", "0.01", "--clip", "0.5", "-o", str(folder / "full"))
    model = LlamaForCausalLM.from_pretrained(folder / "tiny")
    losses = train(model, data, torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0), steps, lambda _: 0.01, 0.5)
    ours = curve(folder / "full")
    say(close(ours, losses, 1e-4), "losses of full tuning, AdamW, clipped, four micro-batches", f"{ours[-1]:.6f} {losses[-1]:.6f}")
    loaded = LlamaForCausalLM.from_pretrained(folder / "full")
    gap = max((a - b).abs().max().item() for a, b in zip(loaded.parameters(), model.parameters()))
    say(gap < 5e-4, "transformers loads the result and finds the same weights", f"largest gap {gap:.1e}")

    # an adapter that PEFT starts and Sow trains on; momentum, warm-up
    base = LlamaForCausalLM.from_pretrained(folder / "tiny")
    torch.manual_seed(1)
    peft = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"))
    peft.save_pretrained(folder / "start")
    sow(*common[:-2], "--schedule", "warmup:4+constant", "--adapter", str(folder / "start"), "--batch", str(n), "--optimizer", "sgd",
        "--momentum", "0.9", "--lr", "0.1", "--clip", "1e9", "-o", str(folder / "trained"))
    trainable = [p for p in peft.parameters() if p.requires_grad]
    losses = train(peft, data, torch.optim.SGD(trainable, lr=0.1, momentum=0.9), steps, lambda s: 0.1 * min(1, (s + 1) / 4), 1e9)
    ours = curve(folder / "trained")
    say(close(ours, losses, 1e-4), "losses of PEFT's adapter, SGD with momentum and warm-up", f"{ours[-1]:.6f} {losses[-1]:.6f}")
    back = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder / "tiny"), folder / "trained")
    with torch.no_grad():
        theirs, expected = back(**data).loss.item(), peft(**data).loss.item()
    say(abs(theirs - expected) < 1e-4, "PEFT loads the trained adapter and finds the same loss", f"{theirs:.6f} {expected:.6f}")
    scored = json.loads(sow("lm", "score", "--model", str(folder / "tiny"), "--adapter", str(folder / "trained"), "--data",
                            str(folder / "sums.jsonl"), "--json"))["loss"]
    say(abs(scored - expected) < 1e-4, "sow lm score finds it too", f"{scored:.6f}")

    # every start that `sow train` offers, through its folder: PEFT finds the loss that training reported
    for form in "lora", "rslora", "dora", "pissa", "olora", "lora-xs":
        report = folder / form / "run.json"
        sow("train", "--model", str(folder / "tiny"), "--data", str(folder / "sums.jsonl"), "--val", str(folder / "sums.jsonl"), "--tune", form,
            "--rank", "4", "--lr", "0.01", "--steps", "20", "-o", str(folder / form))
        best = json.loads(report.read_text())["best"]["val_loss"]
        back = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder / "tiny"), folder / form).eval()
        with torch.no_grad():
            theirs = back(**data).loss.item()
        say(abs(theirs - best) < 2e-4, f"--tune {form}, loaded by PEFT", f"{theirs:.6f} {best:.6f}")
    print(f"{sum(results)} of {len(results)}")
    return 0 if all(results) and len(results) == 11 else 1


sys.exit(main())
