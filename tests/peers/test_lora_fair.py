"""LoRA-FAIR against PEFT and dense NumPy: PEFT's "cat" is flora, its "svd" flexlora; PEFT loads what is merged; fair takes the paper's steps."""
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import tap

SOW = os.environ.get("SOW", "build/sow")
WEIGHTS, RANK, ALPHA = [0.2, 0.5, 0.3], 4, 8
folder = tempfile.TemporaryDirectory()
here = folder.name


def base():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                        num_key_value_heads=2)).eval()


def merged(kind, *options):
    """Sow's merge of the three clients, and its path."""
    out = f"{here}/{kind}"
    if not os.path.exists(out):
        subprocess.run([SOW, "lora-fair", "merge", *[f"{here}/{name}" for name in "abc"], "--weights", "20,50,30", "--kind", kind, *options,
                        "-o", out, "--quiet"], check=True, capture_output=True)
    return out


def clients():
    """A PEFT model with three adapters that began at one A and were trained apart; saved as folders."""
    model = get_peft_model(base(), LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "down_proj"], lora_dropout=0.0), "a")
    for name in "bc":
        model.add_adapter(name, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "down_proj"], lora_dropout=0.0))
    generator = torch.Generator().manual_seed(1)
    for _, layer in sites(model):
        start = 0.3 * torch.randn(layer.lora_A["a"].weight.shape, generator=generator)
        for name in "abc":
            layer.lora_A[name].weight.data = start + 0.15 * torch.randn(start.shape, generator=generator)
            layer.lora_B[name].weight.data = 0.05 + 0.1 * torch.randn(layer.lora_B[name].weight.shape, generator=generator)
    for name in "abc":
        model.save_pretrained(here, selected_adapters=[name])
    return model


def sites(model):
    return [(n, m) for n, m in model.named_modules() if hasattr(m, "lora_A") and len(m.lora_A)]


def logits(model):
    ids = torch.arange(24).reshape(2, 12) * 7 % 64
    with torch.no_grad():
        return model(ids).logits


def deltas(out):
    """Update of every layer of a folder, by module."""
    tensors, config = load_file(f"{out}/adapter_model.safetensors"), json.load(open(f"{out}/adapter_config.json"))
    scale = config["lora_alpha"] / config["r"]
    names = [n[:-len(".lora_A.weight")] for n in tensors if n.endswith(".lora_A.weight")]
    return {n[len("base_model.model."):]: scale * tensors[n + ".lora_B.weight"].astype(float) @ tensors[n + ".lora_A.weight"] for n in names}


def peft_gives_the_same(kind, combination, **options):
    model.add_weighted_adapter(list("abc"), WEIGHTS, kind, combination_type=combination, **options)
    found = deltas(merged(kind))
    assert len(found) == 4
    for name, layer in sites(model):
        expected = layer.get_delta_weight(kind).detach().numpy()
        np.testing.assert_allclose(found[name.removeprefix("base_model.model.")], expected, rtol=0, atol=2e-6)
    model.set_adapter(kind)
    np.testing.assert_allclose(logits(PeftModel.from_pretrained(base(), merged(kind))), logits(model), rtol=0, atol=1e-5)


def stacks_are_pefts_cat():
    peft_gives_the_same("flora", "cat")


def singular_values_are_pefts_svd():
    peft_gives_the_same("flexlora", "svd", svd_rank=RANK)


def dense(kind, name):
    """dW, A, B of a layer from the clients' files, and B' as the paper's loss gives it, with dense matrices."""
    a, b = ([load_file(f"{here}/{c}/adapter_model.safetensors")[f"base_model.model.{name}.lora_{f}.weight"].astype(float) for c in "abc"]
            for f in "AB")
    ideal = sum(p * y @ x for p, x, y in zip(WEIGHTS, a, b))
    a, b = (sum(p * x for p, x in zip(WEIGHTS, z)) for z in (a, b))
    if kind == "fair-ls":
        return b + (ideal - b @ a) @ a.T @ np.linalg.inv(a @ a.T + 0.01 * np.eye(RANK)), a
    at, size, w = torch.tensor(a), float(np.linalg.norm(b @ a)), torch.tensor(ideal)
    d = torch.zeros(b.shape, dtype=torch.double, requires_grad=True)
    for _ in range(200):
        product = (torch.tensor(b) / size + d) @ at
        loss = 1 - torch.nn.functional.cosine_similarity(product.flatten(), w.flatten(), dim=0) + 0.01 * (d ** 2).sum()
        gradient, = torch.autograd.grad(loss, d)
        d = (d - 0.01 * gradient).detach().requires_grad_()
    return b + size * d.detach().numpy(), a


def corrections_are_those_of_dense_matrices():
    for kind, options in (("fair", ["--steps", "200", "--stop", "0"]), ("fair-ls", [])):
        tensors = load_file(f"{merged(kind, *options)}/adapter_model.safetensors")
        for name, _ in sites(model):
            name = name.removeprefix("base_model.model.")
            b, a = dense(kind, name)
            np.testing.assert_allclose(tensors[f"base_model.model.{name}.lora_B.weight"], b, rtol=0, atol=1e-7)
            np.testing.assert_allclose(tensors[f"base_model.model.{name}.lora_A.weight"], a, rtol=0, atol=1e-7)


def corrected_adapters_load_and_come_nearer_to_the_ideal():
    ideal = deltas(merged("flora"))
    for kind in ("fair", "fair-ls"):
        PeftModel.from_pretrained(base(), merged(kind))
        for name, found in deltas(merged(kind)).items():
            cosine = lambda x: np.sum(x * ideal[name]) / np.linalg.norm(x) / np.linalg.norm(ideal[name])
            assert cosine(found) > cosine(deltas(merged("fedit"))[name]) + 1e-4


TESTS = [stacks_are_pefts_cat, singular_values_are_pefts_svd, corrections_are_those_of_dense_matrices,
         corrected_adapters_load_and_come_nearer_to_the_ideal]

model = clients()
tap.run(TESTS)
