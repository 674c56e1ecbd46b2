"""Tokenizes the paragraphs of a text with Hugging Face's tokenizers (Rust) on one thread.

usage: tokenize_peer.py MODEL FILE [whole]: MODEL is a tokenizer.json, or a GGUF file with a byte-level BPE whose pattern
is SmolLM2's (digits one by one, then GPT-2's). Prints one JSON line like bench/tokenize.c.
"""
import json, mmap, os, struct, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers
from tokenizers import models, pre_tokenizers


def gguf_keys(path):
    """The key-value pairs of a GGUF file."""
    with open(path, "rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    at, formats = 24, {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

    def plain(format):
        nonlocal at
        value, = struct.unpack_from(format, data, at)
        at += struct.calcsize(format)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            size = plain("<Q")
            at += size
            return data[at - size:at].decode()
        if kind == 9:
            kind, count = plain("<I"), plain("<Q")
            return [value(kind) for _ in range(count)]
        return plain(formats[kind])
    count, = struct.unpack_from("<Q", data, 16)
    return {value(8): value(plain("<I")) for _ in range(count)}


def opened(path):
    if not path.endswith(".gguf"):
        made = tokenizers.Tokenizer.from_file(path)
        made.no_truncation()
        made.no_padding()
        return made
    keys = gguf_keys(path)
    tokens, kinds = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    merges = [tuple(m.split(" ")) for m in keys["tokenizer.ggml.merges"]]
    made = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.add_special_tokens([t for t, kind in zip(tokens, kinds) if kind == 3])
    made.add_tokens([tokenizers.AddedToken(t, normalized=False) for t, kind in zip(tokens, kinds) if kind == 4])
    return made


def main():
    with open(sys.argv[2], encoding="utf-8") as f:
        text = f.read()
    texts = [text] if "whole" in sys.argv[3:] else text.split("\n\n")
    model = opened(sys.argv[1])
    begin = time.process_time()
    found = model.encode_batch_fast(texts)
    seconds = time.process_time() - begin
    tokens, mixed = 0, 14695981039346656037
    for encoding in found:
        tokens += len(encoding.ids)
        for i in encoding.ids:
            mixed = (mixed ^ i) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    print(json.dumps({"seconds": seconds, "tokens": tokens, "hash": f"{mixed:016x}"}))


if __name__ == "__main__":
    main()
