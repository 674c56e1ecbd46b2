"""PEFT's side of the benchmark of eva, in a process of its own: `eva_peer.py FOLDER SAMPLES.jsonl RANKS.json` prints one JSON line.

FOLDER is a Hugging Face folder of the model, SAMPLES has {"prompt", "completion"} a line, RANKS takes the ranks found. Seconds are
those of PEFT's start alone, without loading; peak memory is the process's."""
import json, resource, sys, time

LENGTH, BATCH, RANK, RHO = 128, 4, 16, 2


def main():
    import torch
    from peft import EvaConfig, LoraConfig
    from peft.tuners.lora.eva import get_eva_state_dict
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    ids = []
    with open(sys.argv[2]) as f:
        for line in f:
            sample = json.loads(line)
            ids.append((tokenizer(sample["prompt"] + sample["completion"])["input_ids"] + [tokenizer.eos_token_id])[:LENGTH])
    loader = []
    for i in range(0, len(ids), BATCH):
        part = ids[i:i + BATCH]
        longest = max(map(len, part))
        loader.append({"input_ids": torch.tensor([p + [0] * (longest - len(p)) for p in part]),
                       "attention_mask": torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in part])})
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=RANK, lora_alpha=1, target_modules=targets, init_lora_weights="eva", eva_config=EvaConfig(rho=RHO))
    begin = time.perf_counter()
    found = get_eva_state_dict(model, loader, config, show_progress_bar=False)
    seconds = time.perf_counter() - begin
    with open(sys.argv[3], "w") as f:
        json.dump({name: len(rows) for name, rows in found.items()}, f)
    with open("/proc/self/status") as f:  # getrusage's begins with the parent's
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


main()
