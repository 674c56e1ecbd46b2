"""Speed of Sow against PyTorch on this machine: medians of interleaved pairs in one run, as a table and a JSON file.

Run by `make bench`. Environment: SOW (the command), BENCH_PROGRAMS (folder of the built C programs), LONG=1 (slow
peers too), FORCE=1 (run although the machine is busy). Every row: name, ours, peer, ratio, goal, unit, note.
"""
import argparse, glob, json, math, os, platform, resource, shutil, statistics, subprocess, sys, tempfile, time

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
PROGRAMS = os.environ.get("BENCH_PROGRAMS", "build/bench")
SOW = os.environ.get("SOW", "build/sow")
PAIRS = 7
rows = []


def busy_share(seconds=1.0):
    """Share of the processors that others use."""
    def read():
        with open("/proc/stat") as f:
            values = [int(v) for v in f.readline().split()[1:9]]
        return sum(values), values[3] + values[4]
    a, b = read(), (time.sleep(seconds), read())[1]
    return 1 - (b[1] - a[1]) / max(1, b[0] - a[0])


def ours(program, *arguments):
    out = subprocess.run([os.path.join(PROGRAMS, program), *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def pairs(left, right, count=PAIRS):
    """Medians of two measurements taken in turn, and of their ratio right/left."""
    a, b = [], []
    for _ in range(count):
        a.append(left())
        b.append(right())
    return statistics.median(a), statistics.median(b), statistics.median(y / x for x, y in zip(a, b))


def row(name, mine, peer, ratio, goal, unit, note=""):
    rows.append({"name": name, "ours": mine, "peer": peer, "ratio": ratio, "goal": goal, "unit": unit, "note": note})
    shown = [f"{v:.4g}" if isinstance(v, float) else "-" if v is None else str(v) for v in (mine, peer, ratio)]
    print(f"{name:44} {shown[0]:>9} {shown[1]:>9} {unit:6} {shown[2]:>7}  {goal:10} {note}", flush=True)


def lenet(threads, fused, mask=False):
    """A PyTorch LeNet-300-100 training step; returns a function that measures its median seconds."""
    import torch
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(784, 300), torch.nn.ReLU(), torch.nn.Linear(300, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
    x, y = torch.rand(60, 784), torch.arange(60) % 10
    optimizer = torch.optim.Adam(net.parameters(), lr=1.2e-3, fused=True if fused else None)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    def measure(seconds=0.6):
        torch.set_num_threads(threads)
        for _ in range(20):
            step()
        times, begin = [], time.perf_counter()
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            for _ in range(20):
                step()
            times.append((time.perf_counter() - start) / 20)
        return statistics.median(times)
    return measure


def resnet20(threads):
    """A PyTorch ResNet-20 (1x1 shortcuts) training step, CIFAR shapes, batch 128, momentum, channels-last."""
    import torch
    from torch import nn
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)) if stride != 1 or inputs != outputs else None

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(x)))))
            return torch.relu_(y + (self.down(x) if self.down else x))
    widths = [16] * 4 + [32] * 3 + [64] * 3
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    layers += [Block(widths[i], widths[i + 1], 2 if widths[i + 1] != widths[i] else 1) for i in range(9)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).to(memory_format=torch.channels_last)
    x, y = torch.rand(128, 3, 32, 32).to(memory_format=torch.channels_last), torch.arange(128) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def measure(steps=4):
        torch.set_num_threads(threads)
        times = []
        for i in range(steps + 1):
            start = time.perf_counter()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])
    return measure


def two_at_once():
    """Steps a second of two one-thread trainings side by side."""
    command = [os.path.join(PROGRAMS, "steps"), "step", "1", "0.8"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return 1 / sum(1 / json.loads(p.communicate()[0])["seconds"] for p in both)


def dense_rows():
    peak = lambda: ours("steps", "sgemm", 1, 1)["gflops"]
    one = lambda: ours("steps", "step", 1, 0.6)["seconds"]
    us = lambda v: v * 1e6
    example, top = ours("steps", "step", 1, 0.6), statistics.median(peak() for _ in range(3))
    share = f"{100 * example['gflops'] / top:.0f} % of sgemm's {top:.0f} GF/s, peak {example['peak_mib']:.0f} MiB"
    for threads, fused, goal, name in ((1, False, ">= 3", "default Adam"), (1, True, ">= 2.5", "fused Adam"), (2, False, "-", "default Adam, PyTorch on 2 threads")):
        a, b, r = pairs(one, lenet(threads, fused))
        row(f"LeNet step, 1 thread, against {name}", us(a), us(b), r, goal, "us", share if threads == 1 else "")
    a, b, r = pairs(two_at_once, lenet(2, False))
    row("LeNet, two side by side, against 2 threads", us(a), us(b), r, ">= 4", "us", "a step, both trainings counted")
    a, b, r = pairs(one, lambda: ours("steps", "masked", 1, 0.6)["seconds"])
    row("LeNet step with a mask over one without", us(b), us(a), r, "<= 1.05", "us")
    a, b, r = pairs(lambda: ours("steps", "hand", 1, 0.6)["seconds"], one)
    row("LeNet step on the tape over one by hand", us(b), us(a), r, "<= 1.05", "us")
    a, b, r = pairs(lambda: 1 / ours("steps", "gemm", 1, 0.6)["gflops"], lambda: 1 / peak())
    row("matmul 1024x576x1536 over sgemm 2048^3", 1 / a, 1 / b, r, ">= 0.9", "GF/s")
    for what, settings in (("batch", [(60, 300, 2), (120, 300, 2), (240, 300, 2), (480, 300, 2)]), ("width", [(60, 300, 2), (60, 600, 2), (60, 1200, 2)]), ("depth", [(60, 300, 2), (60, 300, 4), (60, 300, 8)])):
        found = [ours("steps", "step", 1, 0.5, *s) for s in settings]
        row(f"step growing with {what}", us(found[-1]["seconds"]), us(found[0]["seconds"]), found[-1]["seconds"] / found[0]["seconds"], "-", "us",
            ", ".join(f"{s[('batch', 'width', 'depth').index(what)]}: {us(f['seconds']):.0f}" for s, f in zip(settings, found)))


def resnet_rows():
    for threads, goal in ((2, ">= 1.2"), (1, "-")):
        example = ours("resnet", threads, 5)
        a, b, r = pairs(lambda: ours("resnet", threads, 5)["ms"] / 1000, resnet20(threads), 5)
        row(f"ResNet-20 step, {threads} thread{'s' if threads > 1 else ''}", a * 1000, b * 1000, r, goal, "ms", f"{31 / a:.0f} GF/s, peak {example.get('peak_mib', float('nan')):.0f} MiB" if a else "")


def smollm2(threads, backward):
    """transformers' SmolLM2-135M (random weights): loss of 4 x 256 tokens, with or without its gradients."""
    import torch, transformers
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                                      num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True)
    model = transformers.LlamaForCausalLM(config)
    ids = torch.randint(0, 49152, (4, 256))

    def measure():
        torch.set_num_threads(threads)
        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
            loss = model(input_ids=ids, labels=ids).loss
            if backward:
                model.zero_grad()
                loss.backward()
        return time.perf_counter() - start
    measure()
    return measure


def lm_rows():
    for what, goal in (("both", ">= 2.3"), ("forward", ">= 2.3")):
        example = ours("lm", 2, 1, what)
        a, b, r = pairs(lambda: ours("lm", 2, 1, what)["seconds"], smollm2(2, what == "both"), 3)
        name = "forward + backward" if what == "both" else "forward"
        row(f"SmolLM2-135M, 4 x 256 tokens, {name}", a, b, r, goal, "s", f"peak {example['peak_mib']:.0f} MiB")
    a, b, r = pairs(lambda: ours("lm", 2, 1, "recompute")["seconds"], lambda: ours("lm", 2, 1, "both")["seconds"], 3)
    row("the same with recompute, over without", a, b, a / b, "<= 1.3", "s", f"peak {ours('lm', 2, 1, 'recompute')['peak_mib']:.0f} MiB")


def optimizer_peer(kind, threads):
    """AdamW (foreach), or SGD-SaI as its package has it: a loop over tensors. Shapes as in bench/optimizers.c."""
    import torch
    d, shapes = 384, [(8192, 384)]
    for _ in range(12):
        shapes += [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    weights = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
    for w in weights:
        w.grad = torch.randn_like(w) * 1e-3
    if kind == "adamw":
        optimizer = torch.optim.AdamW(weights, lr=1e-6, weight_decay=0.1, foreach=True)
        step = optimizer.step
    else:
        momentum, scale = [w.grad.clone() for w in weights], [float(w.grad.norm() / (w.grad.std() + 1e-8)) for w in weights]

        @torch.no_grad()
        def step():
            for w, m, g in zip(weights, momentum, scale):
                m.mul_(0.9).add_(w.grad, alpha=0.1)
                w.mul_(1 - 1e-6 * 0.1).add_(m, alpha=-1e-6 * g)

    def measure(seconds=1.0):
        torch.set_num_threads(threads)
        step()
        times, begin = [], time.perf_counter()
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    return measure


def optimizer_rows():
    adamw, loop = optimizer_peer("adamw", 2), optimizer_peer("sgd-sai", 2)
    mine = lambda kind: (lambda: 1000 * ours("optimizers", kind, 2, 1)["seconds"])
    a, b, r = pairs(mine("sgd-sai"), lambda: 1000 * loop())
    row("sgd-sai step, 24.4 M weights, against its loop", a, b, r, ">= 1.5", "ms", "PyTorch, tensor by tensor; 2 threads")
    a, b, r = pairs(mine("sgd-sai"), lambda: 1000 * adamw())
    row("sgd-sai step against PyTorch's AdamW (foreach)", a, b, r, ">= 3", "ms")
    a, b, r = pairs(mine("sgd-sai"), mine("adamw"))
    row("sgd-sai step against our AdamW", a, b, r, ">= 1.3", "ms", "three passes over memory against four and a half")
    a, b, r = pairs(mine("sgd-sai"), mine("measure"))
    row("first step of sgd-sai over a later one", b, a, r, "<= 6", "ms", "two more passes, sums in f64")


def english(folder):
    """The manual of Perl (Debian's perl-doc), whole and as one word of its letters: paths, or None."""
    pages = sorted({os.path.realpath(p) for p in glob.glob("/usr/share/perl/*/pod/*.pod")})
    text = b"".join(open(p, "rb").read() for p in pages)
    if len(text) < 5 << 20:
        return None
    paths = os.path.join(folder, "english.txt"), os.path.join(folder, "unbroken.txt")
    with open(paths[0], "wb") as f:
        f.write(text)
    with open(paths[1], "wb") as f:
        f.write(bytes(b for b in text.lower() if 97 <= b <= 122))
    return paths


def model_file(name, suffix):
    """A file of a model that `sow fetch` brings."""
    subprocess.run([SOW, "fetch", name, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return next(p for p in sorted(glob.glob(os.path.join(cache, "sow", name, "*"))) if p.endswith(suffix))


def tokenizer_rows():
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        paths = english(folder)
        if not paths:
            print("tokenizers: no English text; Debian's perl-doc is missing (deps/install peers)")
            return
        size = [os.path.getsize(p) for p in paths]
        for name, kind, suffix in (("smollm2", "SmolLM2's BPE", ".gguf"), ("minilm", "MiniLM's WordPiece", "tokenizer.json")):
            model = model_file(name, suffix)
            mine = lambda which=0, *more: ours("tokenize", model, paths[which], 3, *more)
            def peer():
                return json.loads(subprocess.run([sys.executable, os.path.join(here, "tokenize_peer.py"), model, paths[0]], check=True,
                                                 capture_output=True, text=True).stdout)
            a, b = mine(), peer()
            same = "equal ids" if (a["tokens"], a["hash"]) == (b["tokens"], b["hash"]) else "IDS DIFFER"
            a, b, r = pairs(lambda: mine()["seconds"], lambda: peer()["seconds"], 3)
            row(f"{kind}, {size[0] / 1e6:.1f} MB of English, 1 thread", a, b, r, ">= 4", "s", f"peer: tokenizers; {size[0] / a / 1e6:.0f} against {size[0] / b / 1e6:.1f} MB/s; {same}")
            a, b, r = pairs(lambda: mine(1, "whole")["seconds"] / size[1] * 1e9, lambda: mine()["seconds"] / size[0] * 1e9, 3)
            row(f"{kind}, {size[1] / 1e6:.1f} MB without a break, over that", a, b, a / b, "<= 3", "ns", "a byte")


def generation_peer(folder, tokens):
    """transformers on the exported folder: seconds of greedy generation with its cache."""
    import torch, transformers
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)("Once upon a time, in a small village", return_tensors="pt").input_ids

    def measure():
        torch.set_num_threads(2)
        start = time.perf_counter()
        out = model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
        assert out.shape[1] == ids.shape[1] + tokens
        return time.perf_counter() - start
    measure()
    return measure


def opening_peer(path):
    """transformers from the GGUF file: seconds until the first scores."""
    import torch, transformers
    start = time.perf_counter()
    folder, file = os.path.split(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    with torch.no_grad():
        model(tokenizer("Once upon a time, in a small village", return_tensors="pt").input_ids).logits[0, -1].max().item()
    return time.perf_counter() - start


def generation_rows():
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sow", "smollm2")
    files = [os.path.join(cache, f) for f in os.listdir(cache) if f.endswith(".gguf")] if os.path.isdir(cache) else []
    if len(files) != 1:
        return print("generation: sow fetch smollm2")
    tokens = 128
    with tempfile.TemporaryDirectory() as base:
        folder = os.path.join(base, "hf")
        subprocess.run([SOW, "lm", "export", "--model", files[0], "-o", folder, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        example, mine = ours("generate", files[0], 2, tokens), lambda: ours("generate", files[0], 2, tokens)["seconds"]
        a, b, r = pairs(mine, generation_peer(folder, tokens), 3)
        read = example["bytes"] * example["tokens"] / a / 1e9
        row(f"SmolLM2-135M, {tokens} tokens greedily, GGUF", tokens / a, tokens / b, r, ">= 8", "1/s",
            f"{read:.1f} GB/s, {100 * read / example['read_gbs']:.0f} % of the read rate; peak {example['peak_mib']:.0f} MiB")
    try:
        import gguf
    except ImportError:
        return print("opening: pip install gguf (deps/peers.txt)")
    a, b, r = pairs(lambda: ours("generate", files[0], 2, 1)["first_seconds"], lambda: opening_peer(files[0]), 1)
    row("opening that model until the first token", a, b, r, ">= 25", "s", "peer: transformers from the GGUF file")


def numpy_pass(path, threads):
    """Seconds of NumPy's two products with a dense operator, as a step makes them; in a process of its own, whose threads are set."""
    program = ("import numpy as np, time, statistics\n"
               f"a, times = np.load({path!r}), []\n"
               "f, y = np.arange(5.0 * int(a.shape[1] ** .5)).reshape(-1, 5) % 11 - 5, np.arange(a.shape[0]) % 7.0\n"
               "for i in range(15):\n"
               "    start = time.perf_counter(); e = (a @ (f @ f.T).ravel() - y) @ a; times.append(time.perf_counter() - start)\n"
               "print(statistics.median(times))")
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment).stdout)


def cold_read(path):
    with open(path, "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        buffer, start = bytearray(4 << 20), time.perf_counter()
        while f.readinto(buffer):
            pass
        return time.perf_counter() - start


def cold_pass(path):
    with open(path, "rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return ours("factors", path, 2, 0, 256)["seconds"]


def factor_rows():
    import numpy
    with tempfile.TemporaryDirectory() as folder:
        path, large = os.path.join(folder, "a.npy"), os.path.join(folder, "large.npy")
        numpy.save(path, numpy.random.default_rng(0).standard_normal((4000, 10000)))
        for threads, goal in ((1, ">= 2"), (2, ">= 1.7")):
            share = ours("factors", path, threads, 1)
            a, b, r = pairs(lambda: ours("factors", path, threads, 1)["seconds"], lambda: numpy_pass(path, threads), 5)
            row(f"dense operator 4,000 x 10,000, a step, {threads} thread{'s' if threads > 1 else ''}", a * 1000, b * 1000, r, goal, "ms",
                f"peer NumPy; {100 * share['read'] / share['seconds']:.0f} % of the read rate (goal 85)")
        one = numpy.random.default_rng(1).standard_normal((1342, 10000))
        block = numpy.lib.format.open_memmap(large, mode="w+", dtype="f8", shape=(13420, 10000))
        for i in range(10):
            block[1342 * i:1342 * (i + 1)] = one
        block.flush()
        del block
        peak = ours("factors", large, 2, 0, 256)["peak_mib"]
        a, b, r = pairs(lambda: cold_pass(large), lambda: cold_read(large), 3)
        row("operator of 1 GiB streamed within 256 MiB, cold", a, b, r, ">= 0.8", "s", f"peer: a plain read of the file; peak {peak:.0f} MiB (goal < 256)")


def command_rows():
    def run(*command):
        start = time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start
    row("start-up of `sow list`", statistics.median(run(SOW, "list") for _ in range(21)) * 1000, None, None, "< 20", "ms")
    def study(slots, *launcher):
        with tempfile.TemporaryDirectory() as folder:
            return run(*launcher, SOW, "study", "lottery-ticket", "--scale", "smoke", "--slots", str(slots), "--out", os.path.join(folder, "s"), "--quiet")
    a, b, r = pairs(lambda: study(2), lambda: study(1), 3)
    row("study's cells, two side by side over in turn", a, b, r, ">= 1.8", "s")
    if shutil.which("mpirun") and os.path.exists(os.path.join(os.path.dirname(SOW), "sow-mpi.so")):
        a, b, r = pairs(lambda: study(1, "mpirun", "--bind-to", "none", "-n", "2"), lambda: study(1), 3)
        row("study's cells, two ranks over one", a, b, r, ">= 1.8", "s", "start of mpirun included")
    found = ours("cells", 10000, 1, "look")
    small = ours("cells", 1000, 1)
    ms, shell = 1000 * found["seconds_a_cell"], 1000 * found["shell_seconds"]
    row("a cell of 10,000 over `sh -c true`", ms, shell, ms - shell, "< 10", "ms", "ratio: the difference")
    row("memory of 10,000 cells over 1,000", found["peak_mib"], small["peak_mib"], found["peak_mib"] / small["peak_mib"], "flat", "MiB")
    row("slowest reading of that store meanwhile", 1000 * found["slowest_look"], None, None, "< 100", "ms")


def ppp_rows():
    """Six planted groups in 32 columns, number not told, against scikit-learn: told it (k-means with ten starts, a
    mixture), or looking for it by BIC. The peer runs in a process of its own; a million rows and the scan with LONG=1."""
    if not os.environ.get("LONG"):
        return print("partitions (ppp): LONG=1 runs scikit-learn on them")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ppp_peer.py")
    run = lambda *words: subprocess.run([sys.executable, script, *words], check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        for count, how, pairs_wanted, goal in ((1000000, "told", 3, ">= 1.5"), (100000, "scan", 1, ">= 10")):
            data = os.path.join(folder, f"{count}.npy")
            run("make", data, str(count))
            mine, peer = [], []
            for _ in range(pairs_wanted):
                mine.append(ours("ppp", data, 2))
                peer.append(json.loads(run(data, how)))
            a, b = (statistics.median(x["seconds"] for x in side) for side in (mine, peer))
            r = statistics.median(y["seconds"] / x["seconds"] for x, y in zip(mine, peer))
            name = f"partition of {count:,} x 32, against scikit-learn " + ("told k" if how == "told" else "by BIC")
            row(name, a, b, r, goal, "s", f"{mine[0]['clusters']} clusters found, theirs {peer[0]['clusters']}")
            a, b = (statistics.median(x["peak_mib"] for x in side) for side in (mine, peer))
            row(f"peak memory of that, {count:,} rows", a, b, b / a, ">= 4", "MiB")
            os.remove(data)


def dense_merges(shape, clients=8, rank=16):
    """Seconds of dense NumPy on one layer: a step of fair's descent (of 100), least squares in closed form, the SVD."""
    import numpy as np
    rng, weights = np.random.default_rng(0), np.arange(1, clients + 1, dtype=np.float32) / sum(range(1, clients + 1))
    start = rng.normal(0, 0.02, (rank, shape[0]))
    a = [(start + rng.normal(0, 0.01, start.shape)).astype(np.float32) for _ in weights]
    b = [rng.normal(0.005, 0.01, (shape[1], rank)).astype(np.float32) for _ in weights]
    mean_a, mean_b = (sum(p * x for p, x in zip(weights, side)) for side in (a, b))
    ideal = lambda: sum(p * y @ x for p, x, y in zip(weights, a, b))
    dw = ideal()
    w, size = np.linalg.norm(dw), np.linalg.norm(mean_b @ mean_a)

    def descend():
        d = np.zeros_like(mean_b)
        for _ in range(100):
            product = (mean_b / size + d) @ mean_a
            n, q = np.linalg.norm(product), np.vdot(product, dw)
            d -= np.float32(0.01) * ((dw / (n * w) - q / (n ** 3 * w) * product) @ mean_a.T + np.float32(0.02) * d)

    def least_squares():
        return mean_b + (ideal() - mean_b @ mean_a) @ mean_a.T @ np.linalg.inv(mean_a @ mean_a.T + 0.01 * np.eye(rank, dtype=np.float32))

    def seconds(work, times):
        found = []
        for _ in range(times):
            begin = time.perf_counter()
            work()
            found.append(time.perf_counter() - begin)
        return statistics.median(found)
    return seconds(descend, 1) / 100, seconds(least_squares, 3), seconds(lambda: np.linalg.svd(ideal(), full_matrices=False), 1)


def lora_fair_rows():
    """8 clients' rank-16 adapters of SmolLM2's 210 layers in memory. Dense NumPy is timed on one layer of each shape, the descent
    on 100 of its 1,000 steps, and extrapolated."""
    step = squares = svd = 0
    for shape, count in (((576, 576), 60), ((576, 192), 60), ((576, 1536), 60), ((1536, 576), 30)):
        one = dense_merges(shape)
        step, squares, svd = step + count * one[0], squares + count * one[1], svd + count * one[2]
    for kind, peer, goal, note in (("fair", 1000 * step, ">= 300", "1,000 steps a layer"), ("fair-ls", 1000 * step, ">= 20", "against the same descent"),
                                   ("fair-ls", squares, "-", "against dense least squares"), ("flexlora", svd, ">= 20", "against a dense SVD")):
        mine = ours("lora_fair", kind, 8, 2)
        row(f"merging 8 clients x 210 layers, {kind}", mine["seconds"], peer, peer / mine["seconds"], goal, "s", "NumPy extrapolated; " + note)


def alone(*command):
    """Seconds and peak memory (MiB) of a command. A small process starts it: what getrusage says of a child begins with its parent's."""
    script = ("import json,resource,subprocess,sys,time\nt=time.perf_counter()\nsubprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL)\n"
              "print(json.dumps([time.perf_counter()-t,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024]))")
    return json.loads(subprocess.run([sys.executable, "-S", "-c", script, *command], check=True, capture_output=True, text=True).stdout)


def eva_rows():
    """The start of adapters on SmolLM2-135M, against PEFT's on the same samples. LONG=1; TEXTS names a file of {"question",
    "answer"} a line (GSM8K's training part)."""
    texts = os.environ.get("TEXTS")
    if not os.environ.get("LONG") or not texts:
        return print("eva: LONG=1 TEXTS=gsm8k-train.jsonl runs PEFT on them")
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        with open(texts) as f, open(at("samples.jsonl"), "w") as out:
            for line, _ in zip(f, range(512)):
                sample = json.loads(line)
                out.write(json.dumps({"prompt": sample["question"] + "\n", "completion": sample["answer"]}) + "\n")
        subprocess.run([SOW, "lm", "export", "--model", "smollm2", "--dtype", "f32", "-o", at("base"), "--quiet"], check=True, stdout=subprocess.DEVNULL)
        peer = json.loads(subprocess.run([sys.executable, os.path.join(here, "eva_peer.py"), at("base"), at("samples.jsonl"), at("peer.json")],
                                         check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])
        with open(at("peer.json")) as f:
            theirs = json.load(f)
        for solver, goal in (("ipca", ">= 3"), ("gram", ">= 8")):
            seconds, mib = alone(SOW, "eva", "--model", "smollm2", "--data", at("samples.jsonl"), "--chat-template", "none", "--loss-on", "all",
                                 "--label-mask", "off", "--length", "128", "--svd-batch", "4", "--in-order", "--rank", "16", "--rho", "2",
                                 "--solver", solver, "--threads", "2", "--quiet", "-o", at(solver))
            with open(at(os.path.join(solver, "report.json"))) as f:
                report = json.load(f)
            moved = sum(abs(layer["rank"] - theirs.get(layer["module"], 0)) for layer in report["layers"])
            row(f"eva's start of SmolLM2-135M, {solver}", seconds, peer["seconds"], peer["seconds"] / seconds, goal, "s",
                f"ours with loading and writing; {report['batches']} batches; ranks differ by {moved} of {report['budget']}")
            row("its peak memory", mib, peer["peak_mib"], mib / peer["peak_mib"], "<= 0.6", "MiB")


def mycorrhiza_rows():
    def peer(*command):
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["seconds"]
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        table = os.path.join(folder, "table.csv")
        ours("mycorrhiza", "forest", 2, table)
        a, b, r = pairs(lambda: ours("mycorrhiza", "forest", 2)["seconds"], lambda: peer(sys.executable, os.path.join(here, "mycorrhiza_peer.py"), table, "1"), 3)
        row("forest of 60 trees, 300 splits x 1,000 samples", a * 1000, b * 1000, r, ">= 8", "ms", "scikit-learn, one job")
        r_here = shutil.which("Rscript") and subprocess.run(["Rscript", "-e", "library(phangorn)"], capture_output=True).returncode == 0
        for taxa, goal, count in ((30, "-", 3), (50, ">= 300", 3), (100, ">= 5000", 1)):
            if not r_here or (taxa == 100 and not os.environ.get("LONG")):
                continue
            ours("mycorrhiza", "network", taxa, 2, table)
            a, b, r = pairs(lambda: ours("mycorrhiza", "network", taxa, 2)["seconds"], lambda: peer("Rscript", os.path.join(here, "mycorrhiza_peer.R"), table), count)
            row(f"split network of {taxa} taxa, against phangorn", a * 1000, b * 1000, r, goal, "ms")
    times = {taxa: statistics.median(ours("mycorrhiza", "network", taxa, 2)["seconds"] for _ in range(3)) for taxa in (500, 1000)}
    row("split network of 1,000 taxa", times[1000], None, None, "<= 15", "s")
    exponent = math.log2(times[1000] / times[500])
    row("split network, growth from 500 to 1,000 taxa", times[1000], times[500], exponent, "<= 3.1", "s", "ratio: the exponent")
    if os.environ.get("LONG"):
        found = ours("mycorrhiza", "network", 2000, 2)
        row("split network of 2,000 taxa", found["seconds"], None, None, "-", "s", f"peak {found['peak_mib']:.0f} MiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="build/bench.json")
    options = parser.parse_args()
    load = busy_share()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {100 * load:.0f} % busy with other work")
    if load > 0.08 and not os.environ.get("FORCE"):
        sys.exit("bench: the machine is busy; figures would be worthless (FORCE=1 measures all the same)")
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    version = subprocess.run([SOW, "--version"], capture_output=True, text=True).stdout.strip()
    import torch
    print(version, f"PyTorch {torch.__version__}", sep="\n")
    print(f"{'work':44} {'ours':>9} {'peer':>9} {'unit':6} {'ratio':>7}  {'goal':10} note")
    dense_rows()
    resnet_rows()
    lm_rows()
    generation_rows()
    optimizer_rows()
    tokenizer_rows()
    factor_rows()
    lora_fair_rows()
    eva_rows()
    command_rows()
    mycorrhiza_rows()
    ppp_rows()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the peer's process: {peak:.0f} MiB")
    with open(options.out + ".part", "w") as f:
        json.dump({"machine": model, "cores": os.cpu_count(), "sow": version, "torch": torch.__version__, "peer_peak_mib": peak, "rows": rows}, f, indent=1)
    os.replace(options.out + ".part", options.out)
    print("written:", options.out)


main()
