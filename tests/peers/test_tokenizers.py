"""Ids of random texts: `sow lm tokenize` against tokenizers, with MiniLM's tokenizer.json and SmolLM2's BPE of its GGUF file."""
import glob, json, os, random, subprocess, sys, tempfile, unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sow = os.environ.get("SOW", os.path.join(root, "build", "sow"))
sys.path.insert(0, os.path.join(root, "bench"))
from tokenize_peer import opened

cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "sow")
common = [" ", " ", "  ", "\t", "\r\n", "a", "B", "the", "ing", "'s", "'LL", "7", "123", ".", "--", "(", "_", "\u00e9", "e\u0301", "\u0416",
          "\u4f60", "\u3042", "\uac00", "\u0e01", "\u0939\u093f", "\u0639", "\u00a0", "\u3000", "\u2028", "\u0085", "\u2014", "\u3002", "\U0001f600",
          "\u200d", "\ufffd", "\x00", "\x7f", "\u00ad", "\u0130", "\u03a3", "\u0660", "\u2460"]


def random_texts(count, seed):
    """Common pieces, and one in six of all characters assigned below U+20000."""
    generator = random.Random(seed)
    assigned = [c for c in range(0x20, 0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    piece = lambda: chr(generator.choice(assigned)) if generator.random() < 1 / 6 else generator.choice(common)
    return ["".join(piece() for _ in range(generator.randrange(1, 30))) for _ in range(count)]


def marks_and_signs():
    """Every character that a category may set apart, between letters."""
    return [f"a{chr(c)}b" for c in range(0x80, 0x20000) if unicodedata.category(chr(c))[0] in "PMC" and unicodedata.category(chr(c)) != "Cs"]


def check(name, path, texts, special):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for text in texts:
            f.write(json.dumps({"text": text}) + "\n")
        f.flush()
        command = [sow, "lm", "tokenize", "--model", name, "--data", f.name, "--json"] + ([] if special else ["--no-special"])
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line)["ids"] for line in lines]
    expected = [e.ids for e in opened(path).encode_batch_fast(texts, add_special_tokens=special)]
    assert len(found) == len(expected)
    wrong = [(t, a, b) for t, a, b in zip(texts, found, expected) if a != b]
    for text, a, b in wrong[:5]:
        print(f"{name}: {text!r}: found {a}, expected {b}")
    print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} texts have equal ids")
    return not wrong


def main():
    good = True
    for name, pattern, special in (("minilm", "tokenizer.json", True), ("smollm2", "*.gguf", False)):
        paths = glob.glob(os.path.join(cache, name, pattern))
        if not paths:
            print(f"SKIPPED: sow fetch {name}")
            continue
        good = check(name, paths[0], random_texts(20000, 1), special) and good
        if name == "minilm":
            good = check(name, paths[0], marks_and_signs(), special) and good
    sys.exit(not good)


if __name__ == "__main__":
    main()
