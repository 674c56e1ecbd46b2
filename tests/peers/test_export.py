"""Folders that `sow lm export` writes open in transformers: equal logits, equal ids, the same chats."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

SOW = os.environ.get("SOW", "build/sow")
ORACLES = pathlib.Path(__file__).resolve().parent.parent / "oracles"
torch.set_num_threads(2)
logging.disable_progress_bar()


def sow(*words, check=True, text=None):
    return subprocess.run([SOW, *words], check=check, capture_output=True, text=True, input=text)


def report(name, good, why=""):
    print("ok -" if good else "not ok -", name)
    if not good and why:
        print("#  ", why)
    return good


def logits_differ(folder, model, prompts):
    """The largest gap between Sow's best logits on its own model and transformers' on the folder."""
    worst = 0
    for prompt in prompts:
        ours = json.loads(sow("lm", "score", "--model", folder, "--prompt", prompt, "--top", "200", "--json").stdout)
        with torch.no_grad():
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            theirs = model(ids).logits[0, -1].float()
        worst = max(worst, max(abs(theirs[i].item() - z) for i, z in ours["top"]),
                    abs(torch.logsumexp(theirs, 0).item() - ours["logsumexp"]))
    return worst


def strings():
    for entry in json.loads((ORACLES / "tokenizers.json").read_text()).get("strings", []):
        text = entry if isinstance(entry, str) else entry.get("text")
        if isinstance(text, str) and "\n" not in text and "\r" not in text:
            yield text


PROMPTS = ["The capital of France is", "Once upon a time, in a small village", "def fibonacci(n):\n    "]
with tempfile.TemporaryDirectory() as base:
    if sow("lm", "tokenize", "--model", "smollm2", check=False, text="a\n").returncode != 0:
        print("ok - an exported model opens in transformers # SKIP sow fetch smollm2")
        sys.exit(0)
    good = True
    plain, half = os.path.join(base, "f32"), os.path.join(base, "bf16")
    sow("lm", "export", "--model", "smollm2", "-o", plain)
    sow("lm", "export", "--model", "smollm2", "--dtype", "bf16", "-o", half)
    tokenizer = AutoTokenizer.from_pretrained(plain)
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
    gap = max(logits_differ("smollm2", model, PROMPTS), logits_differ(plain, model, PROMPTS))
    good &= report("an exported model has the logits of its GGUF file, within 5e-4", gap <= 5e-4, f"gap {gap}")
    rounded = AutoModelForCausalLM.from_pretrained(half, dtype=torch.float32).eval()
    gap = logits_differ(half, rounded, PROMPTS)
    good &= report("so has one in BF16, against its own weights", gap <= 5e-4, f"gap {gap}")
    weights = rounded.state_dict()
    same = all(torch.equal(weights[k], v.to(torch.bfloat16).float()) for k, v in model.state_dict().items())
    good &= report("whose weights are those of the other, rounded to the nearest", same)
    texts = list(strings()) + PROMPTS[:2]
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    ours = [json.loads(line)["ids"] for line in sow("lm", "tokenize", "--model", "smollm2", "--data", "-", "--json", text=lines).stdout.splitlines()]
    theirs = [tokenizer(t).input_ids for t in texts]
    wrong = [t for t, a, b in zip(texts, ours, theirs) if a != b]
    good &= report(f"and the same ids for {len(texts)} texts", not wrong and len(ours) == len(texts), repr(wrong[:3]))
    again = [json.loads(line)["ids"] for line in sow("lm", "tokenize", "--model", plain, "--data", "-", "--json", text=lines).stdout.splitlines()]
    good &= report("which Sow reads back from the folder", ours == again)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "What is 2 + 2?"}], tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(chat).input_ids])
    text = tokenizer.decode(model.generate(ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1]:], skip_special_tokens=True)
    out = json.loads(sow("lm", "generate", "--model", plain, "--chat", "--prompt", "What is 2 + 2?", "--max-tokens", "16", "--json").stdout)
    good &= report("a chat by its template is answered alike", text == out["text"], f"{text!r} {out['text']!r}")
    good &= report("the folder is not overwritten", sow("lm", "export", "--model", "smollm2", "-o", plain, check=False).returncode == 1)
sys.exit(0 if good else 1)
