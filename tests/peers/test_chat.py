"""Chats against transformers: ids of apply_chat_template for each template, and which tokens the assistant wrote."""
import ctypes
import os
import pathlib
import sys
import tempfile

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from engine import sow

P = ctypes.c_void_p
ASSISTANT_MASK = "{% generation %}", "{% endgeneration %}"

# The formats in our own words; "MINE" and "/MINE" stand round what the assistant writes.
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}MINE{{ m.content + '<|im_end|>' }}/MINE{{ '\n' }}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "smollm2": "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
               "Hugging Face<|im_end|>\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}MINE{{ m.content + "
               "'<|im_end|>' }}/MINE{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama3": "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}MINE{{ (m.content | trim)"
              " + '<|eot_id|>' }}/MINE{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
              "{% endif %}",
    "gemma": "{{ bos_token }}{% set first = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
             "{% for m in messages if m.role != 'system' %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' + "
             "(first if loop.first else '') }}MINE{{ (m.content | trim) + '<end_of_turn>' }}/MINE{{ '\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "zephyr": "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}MINE{{ m.content + eos_token }}/MINE{{ '\n' }}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<bos>",
           "<start_of_turn>", "<end_of_turn>", "</s>"]
BEGIN = {"llama3": "<|begin_of_text|>", "gemma": "<bos>"}

CHATS = [
    [("user", "What is 17 + 4?"), ("assistant", "It is 21.")],
    [("system", "Answer in French."), ("user", "  Hello there \n"), ("assistant", " Bonjour!\n\n"), ("user", "Merci"), ("assistant", "")],
    [("user", "élan 日本語 \u00a0x\t"), ("assistant", "line one\nline two\n  indented"), ("user", "more"), ("assistant", "Ωmega")],
    [("user", ""), ("assistant", "assistant\n")],
]


class Message(ctypes.Structure):
    _fields_ = [("role", ctypes.c_char_p), ("text", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class Encoding(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int32)), ("first", P), ("last", P), ("count", ctypes.c_int64)]


sow.sow_arena_free.argtypes = sow.sow_tokenizer_free.argtypes = [P]
sow.sow_chat_encode.argtypes = [P, P, P, P, ctypes.c_int64, ctypes.c_bool, P, P]


def check(status):
    if status:
        raise RuntimeError(sow.sow_message().decode())


def ours(tokenizer, name, chat, reply):
    template, arena, encoding, mine = P(), P(), Encoding(), ctypes.POINTER(ctypes.c_uint8)()
    messages = (Message * len(chat))()
    for i, (role, text) in enumerate(chat):
        data = text.encode()
        messages[i] = Message(role.encode(), data, len(data))
    check(sow.sow_chat_find(None, name.encode(), ctypes.byref(template)))
    check(sow.sow_arena_new(ctypes.byref(arena)))
    check(sow.sow_chat_encode(template, tokenizer, arena, messages, len(chat), reply, ctypes.byref(encoding), ctypes.byref(mine)))
    result = [encoding.ids[i] for i in range(encoding.count)], [mine[i] for i in range(encoding.count)]
    sow.sow_arena_free(arena)
    return result


def reference(tokenizer, name, chat, reply):
    """ids and, by rendering each assistant's part between marks, the tokens that lie in it."""
    parts = TEMPLATES[name].replace("/MINE", "").replace("MINE", "")
    tokenizer.chat_template = parts
    tokenizer.bos_token = BEGIN.get(name, "<bos>")
    messages = [{"role": role, "content": text} for role, text in chat]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=reply, tokenize=True, return_dict=True)["input_ids"]
    tokenizer.chat_template = TEMPLATES[name].replace("/MINE", "\ue001").replace("MINE", "{{ '\ue000' if m.role == 'assistant' else '\ue002' }}")
    marked = tokenizer.apply_chat_template(messages, add_generation_prompt=reply, tokenize=False)
    spans, text, begin = [], "", None
    for c in marked:
        if c == "\ue000":
            begin = len(text)
        elif c == "\ue001":
            if begin is not None:
                spans.append((begin, len(text)))
            begin = None
        elif c != "\ue002":
            text += c
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert coded["input_ids"] == ids
    return ids, [int(any(a <= first and last <= b for a, b in spans)) for first, last in coded["offset_mapping"]]


def main():
    folder = pathlib.Path(tempfile.mkdtemp())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [pathlib.Path(__file__).read_text(), "user\n\nassistant\n\nmodel\n\n\n"] + [text for chat in CHATS for _, text in chat] * 4
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False,
                                                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.save(str(folder / "tokenizer.json"))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token="</s>")
    opened, wrong, chats = P(), 0, 0
    check(sow.sow_tokenizer_open(str(folder).encode(), ctypes.byref(opened)))
    for name in TEMPLATES:
        for chat in CHATS:
            for reply in (False, True):
                chats += 1
                expected, found = reference(theirs, name, chat, reply), ours(opened, name, chat, reply)
                if expected != found:
                    wrong += 1
                    print(f"{name}, {chat}, open_reply {reply}:\n  found    {found}\n  expected {expected}")
    sow.sow_tokenizer_free(opened)
    print(f"{chats - wrong} of {chats} chats have the ids and the assistant's tokens of transformers")
    return 1 if wrong or chats < 40 else 0


sys.exit(main())
