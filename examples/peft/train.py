"""Goes on with an adapter that Sow made, by PEFT: the same first loss as `sow lm score`, then a few steps of AdamW.

    sow lm export --model smollm2 -o smollm2-hf/
    sow eva --model smollm2 --data train.jsonl --rank 4 -o adapter/
    sow lm score --model smollm2 --adapter adapter/ --data train.jsonl
    python train.py smollm2-hf/ adapter/ train.jsonl
"""
import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def example(tokenizer, row):
    """Ids of a chat, and which of them count: what the assistant writes, its end included."""
    chat = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    prompt = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
    end = len(ids) - ids[::-1].index(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    return ids, [-100] * len(prompt) + ids[len(prompt):end] + [-100] * (len(ids) - end)


def mean_loss(model, examples):
    total, counted = 0, 0
    for ids, labels in examples:
        logits = model(torch.tensor([ids])).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]), reduction="sum", ignore_index=-100)
        counted += sum(label >= 0 for label in labels[1:])
    return total / counted


def main(base, adapter, data, steps=3):
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter, is_trainable=True)
    examples = [example(tokenizer, json.loads(line)) for line in open(data, encoding="utf-8")]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
    for step in range(steps + 1):
        loss = mean_loss(model, examples)
        print(f"step {step}: loss {loss.item():.5f}", flush=True)
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
