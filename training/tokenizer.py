"""Byte-level BPE: a small trainer and encoder around the stock `tokenizer.json` format.

The file uses the pre-tokenisation regex of Qwen2 and the byte alphabet of GPT-2. The encoder here needs only the Python
standard library: `pre_split` is that regex written as code.
"""

import argparse
import collections
import json
import os
import unicodedata

SPLIT_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(c) for c in range(0x2000, 0x200B)}


def _is_letter(ch):
    return unicodedata.category(ch)[0] == "L"


def _is_number(ch):
    return unicodedata.category(ch)[0] == "N"


def _is_mark(ch):
    """Neither white space nor letter nor number."""
    return ch not in WHITE_SPACE and unicodedata.category(ch)[0] not in "LN"


def _run(text, start, accepts):
    """End of the longest run from `start` whose characters `accepts` takes."""
    end = start
    while end < len(text) and accepts(text[end]):
        end += 1
    return end


def _match(text, i):
    """End of the match of SPLIT_REGEX at `i`; the alternatives are tried in the order of the regex."""
    for suffix in CONTRACTIONS:
        if text[i : i + len(suffix)].lower().replace("\u017f", "s") == suffix:
            return i + len(suffix)
    first = text[i]
    letters_from = i if _is_letter(first) else i + 1
    if letters_from == i or not (first in "\r\n" or _is_number(first)):
        end = _run(text, letters_from, _is_letter)
        if end > letters_from:
            return end
    if _is_number(first):
        return i + 1
    marks_from = i + 1 if first == " " else i
    end = _run(text, marks_from, _is_mark)
    if end > marks_from:
        return _run(text, end, lambda ch: ch in "\r\n")
    end = _run(text, i, lambda ch: ch in WHITE_SPACE)
    last_newline = max(text.rfind("\n", i, end), text.rfind("\r", i, end))
    if last_newline >= 0:
        return last_newline + 1
    return end if end == len(text) or end == i + 1 else end - 1


def pre_split(text):
    """The pieces of `text` between which BPE never merges."""
    pieces, i = [], 0
    while i < len(text):
        end = _match(text, i)
        pieces.append(text[i:end])
        i = end
    return pieces


def byte_alphabet():
    """GPT-2's map from byte to printable character: printable bytes stand for themselves, others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in alphabet:
            alphabet[b] = chr(0x100 + len(alphabet) - len(printable))
    return alphabet


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {ch: b for b, ch in BYTE_TO_CHAR.items()}


def _merge_pair(symbols, pair):
    """`symbols` with each occurrence of `pair`, left to right, replaced by its concatenation."""
    merged, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return merged


def train_bpe(text, vocab_size):
    """Returns (vocab, merges) of at most `vocab_size` - 1 entries; the last id is left to END_OF_TEXT."""
    counts = collections.Counter(pre_split(text))
    words = [([BYTE_TO_CHAR[b] for b in piece.encode("utf-8")], n) for piece, n in sorted(counts.items())]
    vocab = {ch: i for i, ch in enumerate(sorted(BYTE_TO_CHAR.values()))}
    merges = []
    while len(vocab) < vocab_size - 1:
        pairs = collections.Counter()
        for symbols, n in words:
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += n
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        vocab.setdefault(best[0] + best[1], len(vocab))
        words = [(_merge_pair(symbols, best), n) for symbols, n in words]
    return vocab, merges


def tokenizer_json(vocab, merges):
    """The contents of a stock `tokenizer.json`."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": len(vocab), "content": END_OF_TEXT, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT_REGEX}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": [f"{a} {b}" for a, b in merges]},
    }


class Tokenizer:
    """Encoder and decoder of a `tokenizer.json` written by this module. END_OF_TEXT in a text is a special token."""

    def __init__(self, data):
        self.vocab = data["model"]["vocab"]
        self.ranks = {tuple(merge.split(" ")): i for i, merge in enumerate(data["model"]["merges"])}
        self.special = {token["content"]: token["id"] for token in data["added_tokens"]}
        self.strings = {i: token for token, i in self.vocab.items()}
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls(json.load(f))

    @property
    def size(self):
        return len(self.vocab) + len(self.special)

    def encode(self, text):
        """Token ids of `text`."""
        end_id = self.special[END_OF_TEXT]
        ids = []
        for i, part in enumerate(text.split(END_OF_TEXT)):
            if i:
                ids.append(end_id)
            for piece in pre_split(part):
                ids.extend(self._encode_piece(piece))
        return ids

    def decode(self, ids):
        special = {i: token.encode("utf-8") for token, i in self.special.items()}
        data = b"".join(special[i] if i in special else bytes(CHAR_TO_BYTE[ch] for ch in self.strings[i]) for i in ids)
        return data.decode("utf-8", errors="replace")

    def _encode_piece(self, piece):
        if piece not in self.cache:
            symbols = [BYTE_TO_CHAR[b] for b in piece.encode("utf-8")]
            while True:
                known = [pair for pair in zip(symbols, symbols[1:]) if pair in self.ranks]
                if not known:
                    break
                symbols = _merge_pair(symbols, min(known, key=self.ranks.get))
            self.cache[piece] = [self.vocab[symbol] for symbol in symbols]
        return self.cache[piece]


CHAT_TEMPLATE = ("{% for message in messages %}"
                 "{% if message['role'] == 'system' %}{{ message['content'] }}\n"
                 "{% elif message['role'] == 'user' %}ask: {{ message['content'] }}"
                 "{% elif message['role'] == 'assistant' %} {{ message['content'] }}\n"
                 "{% endif %}{% endfor %}")


def write_json(path, data):
    """Writes `data` next to `path` first and renames it, so that a reader never sees half a file."""
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(data, f, indent=2, ensure_ascii=False)
        f.write("\n")
    os.replace(path + ".tmp", path)


def make_tokenizer(folder, vocab_size, seed=1):
    """Trains on a generated log and writes tokenizer.json, tokenizer_config.json and generation_config.json."""
    from training.gateway_log import make_log

    lines, _ = make_log(120_000, 600, seed, asked_share=0.5)
    vocab, merges = train_bpe("".join(lines), vocab_size)
    write_json(f"{folder}/tokenizer.json", tokenizer_json(vocab, merges))
    tokenizer = Tokenizer.load(f"{folder}/tokenizer.json")
    write_json(f"{folder}/tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False, "add_bos_token": False,
        "bos_token": None, "eos_token": END_OF_TEXT, "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE})
    write_json(f"{folder}/generation_config.json", {
        "do_sample": False, "eos_token_id": [tokenizer.special[END_OF_TEXT], tokenizer.encode("\n")[0]]})
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--vocab", type=int, default=1024, help="largest vocabulary, END_OF_TEXT included")
    args = parser.parse_args()
    tokenizer = make_tokenizer(args.out, args.vocab)
    print(f"vocabulary {tokenizer.size}")


if __name__ == "__main__":
    main()
