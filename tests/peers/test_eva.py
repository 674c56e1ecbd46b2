"""EVA against PEFT: the incremental solver on the same batches gives the same ranks and directions, and PEFT loads the folder."""
import ctypes
import json
import pathlib
import tempfile

import numpy as np
import torch
from peft import EvaConfig, LoraConfig, PeftModel
from peft.tuners.lora.eva import get_eva_state_dict
from safetensors.numpy import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import tap
from tap import expect
from engine import Sites, Tokens, check, declare, made, sow

P, I64, REAL, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_bool


class Config(ctypes.Structure):
    _fields_ = [("rank", I64), ("rho", REAL), ("tau", REAL), ("capture", REAL), ("alpha", REAL), ("own_alpha", FLAG),
                ("whiten", FLAG), ("exact", FLAG), ("solver", ctypes.c_int), ("metric", ctypes.c_int),
                ("min_batches", I64), ("max_batches", I64), ("seed", ctypes.c_uint64)]


PASS = ctypes.CFUNCTYPE(ctypes.c_int, P, P, I64, P)


class Kind(ctypes.Structure):
    _fields_ = [("pass_", PASS), ("loss", P), ("counted", P), ("free", P)]


class Feed(ctypes.Structure):
    _fields_ = [("kind", P), ("state", P), ("batches", I64), ("keep", P), ("own", P)]


class Report(ctypes.Structure):
    _fields_ = [("layers", P), ("count", I64), ("hooks", I64), ("budget", I64), ("batches", I64), ("converged", FLAG),
                ("progress", P), ("progress_count", I64)]


for name, arguments in (("sow_arena_new", [P]), ("sow_lm_open", [ctypes.c_char_p, P]), ("sow_lm_sites", [P, P, P]),
                        ("sow_eva", [P, P, P, P, P, P]), ("sow_adapter_write", [P, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p])):
    declare(name, ctypes.c_int, *arguments)
declare("sow_eva_defaults", Config)
declare("sow_lm_states", P, P, P, P)

torch.set_num_threads(1)  # small matrices

# A network whose inputs have steep spectra, as those of trained ones: embeddings whose directions fade, tokens by Zipf's law.
LAYERS, WIDTH, SEQUENCES, LENGTH, BATCHES = 3, 48, 8, 24, 40
RANK, RHO, TAU = 6, 2, .99
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_model():
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=200, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=LAYERS,
                                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                                         initializer_range=.2, tie_word_embeddings=True))
    with torch.no_grad():
        turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
        model.model.embed_tokens.weight.copy_((torch.randn(200, WIDTH) / torch.arange(1, WIDTH + 1)) @ turn)
    return model.eval()


def make_batches():
    weights = 1 / np.arange(1, 201)
    drawn = np.random.default_rng(0).choice(200, size=(BATCHES, SEQUENCES, LENGTH), p=weights / weights.sum())
    return drawn.astype(np.int32)


def sow_start(folder, batches, out, solver):
    arena, lm = made(sow.sow_arena_new), made(sow.sow_lm_open, str(folder).encode())
    sites, report = Sites(), Report()
    check(sow.sow_lm_sites(arena, lm, ctypes.byref(sites)))
    starts = np.arange(0, SEQUENCES * LENGTH + 1, LENGTH, dtype=np.int64)

    @PASS
    def forward(_feed, tape, number, _last):
        forward.tokens = Tokens(batches[number % BATCHES].ctypes.data, starts.ctypes.data, SEQUENCES)
        sow.sow_lm_states(tape, lm, ctypes.byref(forward.tokens))
        return 0

    config = sow.sow_eva_defaults()
    config.rank, config.rho, config.tau, config.solver, config.max_batches = RANK, RHO, TAU, solver, 400
    adapter, kind = P(), Kind(forward)
    feed = Feed(kind=ctypes.addressof(kind), batches=0 if solver == 0 else BATCHES)
    check(sow.sow_eva(ctypes.byref(config), ctypes.byref(sites), ctypes.byref(feed), arena, ctypes.byref(adapter), ctypes.byref(report)))
    out.mkdir()
    check(sow.sow_adapter_write(adapter, str(out).encode(), None, b"How it was made.\n"))
    return report


def peft_start(model, batches):
    loader = [{"input_ids": torch.tensor(b.astype(np.int64)), "attention_mask": torch.ones(SEQUENCES, LENGTH, dtype=torch.long)} for b in batches]
    config = LoraConfig(r=RANK, lora_alpha=1, target_modules=LINEAR, init_lora_weights="eva", eva_config=EvaConfig(rho=RHO, tau=TAU))
    return get_eva_state_dict(model, loader, config, show_progress_bar=False)


def rows_of(folder):
    state = load_file(folder / "adapter_model.safetensors")
    return {k.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): v for k, v in state.items() if "lora_A" in k}


def gap_index(values):
    """Components up to the last one that stands 5 % above the next."""
    return max([i + 1 for i in range(len(values) - 1) if values[i] > 1.05 * values[i + 1]], default=0)


def inputs_of(model, batches):
    """What enters each layer, centred, over all batches: singular values and right singular vectors."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in LINEAR:
            handles.append(module.register_forward_pre_hook(
                lambda _m, a, name=name: seen.setdefault(name, []).append(a[0].reshape(-1, a[0].shape[-1]))))
    with torch.no_grad():
        for b in batches:
            model(torch.tensor(b.astype(np.int64)))
    for handle in handles:
        handle.remove()
    out = {}
    for name, rows in seen.items():
        x = torch.cat(rows).double()
        values, vectors = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))
        out[name] = values.flip(0).clamp(min=0).sqrt().numpy(), vectors.flip(1).T.numpy()
    return out


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    model, batches = make_model(), make_batches()
    model.save_pretrained(folder / "base")
    theirs = {k: v.numpy() for k, v in peft_start(model, batches).items()}
    report = sow_start(folder / "base", batches, folder / "adapter", 0)
    mine = rows_of(folder / "adapter")
    budget = RANK * len(theirs)
    expect("all layers have been looked at, each input once", report.count == len(theirs) == 7 * LAYERS and report.hooks == 4 * LAYERS,
          f"{report.count} layers, {report.hooks} inputs, {report.batches} batches")
    expect("it settled", report.converged)
    expect("the budget is spent", sum(len(v) for v in mine.values()) == budget)
    moved = sum(abs(len(mine.get(k, ())) - len(v)) for k, v in theirs.items())
    expect("ranks are PEFT's: total difference at most 2 % of the budget", moved <= .02 * budget, f"{moved} of {budget}")
    worst, truth = 1.0, inputs_of(model, batches)
    for name, rows in theirs.items():
        spread = truth[name][0]
        count = min(gap_index(spread[:len(rows) + 1]), len(mine.get(name, ())), len(rows))
        if count == 0:
            continue
        cosines = np.linalg.svd(mine[name][:count] @ rows[:count].T, compute_uv=False)
        worst = min(worst, cosines.min())
    expect("directions are PEFT's: principal cosines of all layers, up to the last gap of 5 %", worst >= .99, f"least {worst:.5f}")

    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    tuned = PeftModel.from_pretrained(make_model(), folder / "adapter")
    state = {k: v for k, v in tuned.state_dict().items() if "lora_A" in k}
    loaded = {k.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight"): v.numpy() for k, v in state.items()}
    expect("PEFT loads the folder: every layer, its rank and its values",
          loaded.keys() == mine.keys() and all(np.array_equal(loaded[k], mine[k]) for k in mine))
    scales = {m.scaling["default"] for m in tuned.modules() if isinstance(getattr(m, "scaling", None), dict)}
    expect("all layers have the scale alpha / r", all(abs(s - 1 / RANK) < 1e-9 for s in scales), str(scales))
    ids = torch.tensor(batches[0].astype(np.int64))
    with torch.no_grad():
        expect("and the model is unchanged", torch.equal(tuned.eval()(ids).logits, model(ids).logits))
    expect("the folder lists exactly the layers that have an entry", set(config["target_modules"]) == set(mine))

    # Second moments of all batches: the decomposition of all rows, whatever their order.
    report = sow_start(folder / "base", batches, folder / "exact", 1)
    exact, worst, truth = rows_of(folder / "exact"), 1.0, inputs_of(model, batches[:report.batches])
    for name, rows in exact.items():
        spread, vectors = truth[name]
        count = gap_index(spread[:len(rows) + 1])
        if count:
            worst = min(worst, np.linalg.svd(rows[:count] @ vectors[:count].T, compute_uv=False).min())
    expect("second moments give the principal directions of their rows", worst >= .99, f"{report.batches} batches, least {worst:.5f}")

tap.finish()
