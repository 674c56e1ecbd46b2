"""Adapters against PEFT: folders written by PEFT give Sow the same logits, folders written by Sow give them to PEFT; usual starts."""
import ctypes
import pathlib
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

import tap
from tap import expect
from engine import Sites, Tokens, check, declare, made, sow

P, I64 = ctypes.c_void_p, ctypes.c_int64


for name, arguments in (("sow_arena_new", [P]), ("sow_lm_open", [ctypes.c_char_p, P]), ("sow_lm_sites", [P, P, P]),
                        ("sow_choose_sites", [P, P, ctypes.c_char_p, P]),
                        ("sow_adapter_read", [ctypes.c_char_p, ctypes.c_bool, P]), ("sow_adapter_bind", [P, P]),
                        ("sow_adapter_attach", [P, P]), ("sow_adapter_merge", [P]),
                        ("sow_adapter_make", [ctypes.c_int, P, I64, ctypes.c_double, ctypes.c_uint64, P]),
                        ("sow_adapter_write", [P, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p])):
    declare(name, ctypes.c_int, *arguments)
for name in ("sow_lm_states", "sow_lm_logits"):
    declare(name, P, P, P, P)
for name in ("sow_lm_free", "sow_adapter_free", "sow_arena_free"):
    declare(name, None, P)

IDS = np.array([3, 17, 5, 42, 11, 8, 29], dtype=np.int32)
START = np.array([0, len(IDS)], dtype=np.int64)


class Model:
    """A model of Sow's with its sites."""

    def __init__(self, folder):
        self.arena, self.lm = made(sow.sow_arena_new), made(sow.sow_lm_open, str(folder).encode())
        self.sites = Sites()
        check(sow.sow_lm_sites(self.arena, self.lm, ctypes.byref(self.sites)))

    def outputs(self, adapter=None, head=True):
        tape = made(sow.sow_tape_new)
        if adapter:
            check(sow.sow_adapter_attach(adapter, tape))
        tokens = Tokens(IDS.ctypes.data, START.ctypes.data, 1)
        states = sow.sow_lm_states(tape, self.lm, ctypes.byref(tokens))
        if head:
            states = sow.sow_lm_logits(tape, self.lm, states)
        check(sow.sow_tape_status(tape))
        values = sow.sow_value(states).view().copy()
        sow.sow_tape_free(tape)
        return values

    def adapter(self, folder):
        adapter = made(sow.sow_adapter_read, str(folder).encode(), False)
        check(sow.sow_adapter_bind(adapter, ctypes.byref(self.sites)))
        return adapter


def outputs_of(model):
    model.eval()
    with torch.no_grad():
        out = model(torch.tensor(IDS[None].astype(np.int64)))
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state)[0].numpy()


def gap(a, b):
    return float(np.abs(a - b).max() / max(1, np.abs(b).max()))


LLAMA = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True)
bases = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "bert": lambda: BertModel(BertConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                         num_attention_heads=4, max_position_embeddings=64), add_pooling_layer=False),
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
configurations = [
    ("llama", "LoRA on all layers", LoraConfig(r=4, lora_alpha=6, target_modules=LINEAR)),
    ("llama", "ranks and alphas that differ", LoraConfig(
        r=4, lora_alpha=6, target_modules=LINEAR, rank_pattern={"down_proj": 2, "model.layers.1.self_attn.q_proj": 7},
        alpha_pattern={"layers.0.mlp.up_proj": 1.5, r".*layers\.2\..*v_proj": 3})),
    ("llama", "layers without an adapter", LoraConfig(r=3, lora_alpha=3, target_modules=["model.layers.1.mlp.up_proj"])),
    ("llama", "rsLoRA", LoraConfig(r=4, lora_alpha=2, use_rslora=True, target_modules=LINEAR)),
    ("llama", "DoRA", LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=LINEAR)),
    ("llama", "a module trained whole", LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj"], modules_to_save=["o_proj"])),
    ("qwen2", "biases", LoraConfig(r=4, lora_alpha=6, target_modules=LINEAR)),
    ("qwen2", "DoRA with biases", LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=["q_proj", "k_proj"])),
    ("gpt2", "transposed layers", LoraConfig(r=4, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"])),
    ("gpt2", "DoRA, transposed", LoraConfig(r=4, lora_alpha=6, fan_in_fan_out=True, use_dora=True, target_modules=["c_attn"])),
    ("bert", "an encoder", LoraConfig(r=4, lora_alpha=6, target_modules=["query", "value", "output.dense"])),
]

with tempfile.TemporaryDirectory() as temporary:
    top = pathlib.Path(temporary)
    for family, make in bases.items():
        torch.manual_seed(1)
        make().save_pretrained(top / family)
    for number, (family, what, configuration) in enumerate(configurations):
        folder, back = top / f"adapter{number}", top / f"back{number}"
        torch.manual_seed(number)
        base = type(bases[family]()).from_pretrained(top / family)
        tuned = get_peft_model(base, configuration)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        tuned.save_pretrained(folder)
        expected = outputs_of(tuned)
        model, head = Model(top / family), family != "bert"
        plain = model.outputs(head=head)
        adapter = model.adapter(folder)
        found = model.outputs(adapter, head)
        expect(f"{family}, {what}: read", gap(found, expected) < 1e-5 and gap(plain, expected) > 1e-3,
              f"{gap(found, expected):.1e}, the base is off by {gap(plain, expected):.1e}")
        back.mkdir()
        check(sow.sow_adapter_write(adapter, str(back).encode(), None, b"Read and written again.\n"))
        base = type(bases[family]()).from_pretrained(top / family)
        again = PeftModel.from_pretrained(base, back)
        expect(f"{family}, {what}: written", gap(outputs_of(again), expected) < 1e-5, f"{gap(outputs_of(again), expected):.1e}")
        check(sow.sow_adapter_merge(adapter))
        expect(f"{family}, {what}: merged", gap(model.outputs(head=head), expected) < 1e-5)
        sow.sow_adapter_free(adapter)

    # PiSSA and OLoRA: the same A^T B^T as PEFT (factors have free signs), and a folder of twice the rank on the original base
    for start, name in ((4, "pissa"), (5, "olora")):
        model, chosen, folder = Model(top / "llama"), Sites(), top / name
        check(sow.sow_choose_sites(model.arena, ctypes.byref(model.sites), b"q_proj,down_proj", ctypes.byref(chosen)))
        before = model.outputs()
        adapter = made(sow.sow_adapter_make, start, ctypes.byref(chosen), 4, 6.0, 1)
        expect(f"{name}: the start keeps the function", gap(model.outputs(adapter), before) < 1e-5)
        folder.mkdir()
        check(sow.sow_adapter_write(adapter, str(folder).encode(), None, None))
        ours = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(top / "llama"), folder).state_dict()
        theirs = get_peft_model(LlamaForCausalLM.from_pretrained(top / "llama"),
                                LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], init_lora_weights=name)).state_dict()
        worst = 0
        for key in theirs:
            if "lora_A" not in key:
                continue
            a, b = ours[key][:4], ours[key.replace("lora_A", "lora_B")][:, :4]
            worst = max(worst, float((b @ a - theirs[key.replace("lora_A", "lora_B")] @ theirs[key]).abs().max()))
        expect(f"{name}: B A as PEFT starts it", worst < 1e-5, f"{worst:.1e}")

tap.finish()
