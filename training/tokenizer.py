"""Byte-level BPE: a small trainer and encoder around the stock `tokenizer.json` format.

The demo's file uses the pre-tokenisation regex of Qwen2 and the byte alphabet of GPT-2. The encoder reads those of
other models too: byte-level BPE as in GPT-2, Llama 3 and Qwen, and SentencePiece-style BPE with byte fallback as in
Llama 2 and Mistral. It needs only the Python standard library.
"""

import argparse
import collections
import functools
import json
import os
import re
import sys
import unicodedata

SPLIT_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # as in a character class
GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@functools.lru_cache(None)
def characters_of(category):
    """The characters whose Unicode category begins with `category`, as the inside of a character class."""
    ranges, begin = [], None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and unicodedata.category(chr(code)).startswith(category)
        if inside and begin is None:
            begin = code
        elif not inside and begin is not None:
            ranges.append(f"\\U{begin:08x}-\\U{code - 1:08x}")
            begin = None
    return "".join(ranges)


@functools.lru_cache(None)
def compile_pattern(pattern):
    """A regex of tokenizer.json for Python's `re`, which knows no \\p{...} and has another \\s."""
    out, in_class, i = [], False, 0
    while i < len(pattern):
        found = re.match(r"\\(?:p\{(\w+)\}|(s)|(S)|.)|.", pattern[i:], re.DOTALL)
        token, category, space, no_space = found.group(0, 1, 2, 3)
        if no_space and in_class:
            raise ValueError(f"tokenizer.json: \\S in a character class is not supported: {pattern}")
        inside = characters_of(category) if category else WHITE_SPACE if space or no_space else None
        if inside is not None:
            token = inside if in_class else f"[{'^' if no_space else ''}{inside}]"
        elif token in "[]":
            in_class = token == "["
        out.append(token)
        i += found.end()
    return re.compile("".join(out))


def pre_split(text, pattern=SPLIT_REGEX):
    """The pieces of `text` between which BPE never merges: matches of `pattern` and what lies between them."""
    pieces, end = [], 0
    for match in compile_pattern(pattern).finditer(text):
        pieces += [text[end : match.start()], match.group()]
        end = match.end()
    return [piece for piece in pieces + [text[end:]] if piece]


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


def steps_of(part, list_name):
    """The steps of a `normalizer` or `pre_tokenizer`, which may be None, one step, or a Sequence of them."""
    if part is None:
        return []
    return part[list_name] if part["type"] == "Sequence" else [part]


def normalize(text, steps):
    for step in steps:
        if step["type"] in ("NFC", "NFD", "NFKC", "NFKD"):
            text = unicodedata.normalize(step["type"], text)
        elif step["type"] == "Prepend":
            text = step["prepend"] + text if text else text
        elif step["type"] == "Replace" and "String" in step["pattern"]:
            text = text.replace(step["pattern"]["String"], step["content"])
        else:
            raise ValueError(f"tokenizer.json: normalizer {step['type']} is not supported")
    return text


def pre_tokenize(pieces, step):
    """`pieces` after one step of the pre-tokeniser; only the step ByteLevel turns characters into bytes."""
    kind = step["type"]
    if kind == "ByteLevel":
        if step.get("add_prefix_space"):
            pieces = [piece if piece[0].isspace() else " " + piece for piece in pieces]
        if step.get("use_regex", True):
            pieces = [part for piece in pieces for part in pre_split(piece, GPT2_REGEX)]
        return ["".join(BYTE_TO_CHAR[b] for b in piece.encode("utf-8")) for piece in pieces]
    if kind == "Digits":
        pattern = r"\p{N}" if step.get("individual_digits") else r"\p{N}+"
        return [part for piece in pieces for part in pre_split(piece, pattern)]
    if kind == "Split" and step["behavior"] == "Isolated" and not step.get("invert"):
        pattern = step["pattern"].get("Regex") or re.escape(step["pattern"]["String"])
        return [part for piece in pieces for part in pre_split(piece, pattern)]
    raise ValueError(f"tokenizer.json: pre-tokeniser {kind} is not supported")


class Tokenizer:
    """Encoder and decoder of a stock `tokenizer.json` with a BPE model, byte-level or with byte fallback.

    Added tokens in a text become their ids. No token is put at the beginning or end.
    """

    def __init__(self, data):
        model = data["model"]
        if model.get("type", "BPE") != "BPE":
            raise ValueError(f"tokenizer.json: model {model['type']} is not supported")
        self.vocab = model["vocab"]
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        self.ranks = {merge: i for i, merge in enumerate(merges)}
        self.byte_fallback, self.unknown = model.get("byte_fallback"), self.vocab.get(model.get("unk_token"))
        self.ignore_merges = model.get("ignore_merges")
        self.normalizers = steps_of(data["normalizer"], "normalizers")
        self.pre_tokenizers = steps_of(data["pre_tokenizer"], "pretokenizers")
        self.special = {token["content"]: token["id"] for token in data["added_tokens"]}
        self.strings = {i: token for token, i in self.vocab.items()}
        longest_first = sorted(data["added_tokens"], key=lambda token: -len(token["content"]))
        space = f"[{WHITE_SPACE}]*"
        self.added = re.compile("|".join(
            f"{space if token['lstrip'] else ''}(?:{re.escape(token['content'])}){space if token['rstrip'] else ''}"
            for token in longest_first) or "(?!)")
        # Words can be merged one by one if no merge reaches over the space before a word.
        self.words_alone = not any(a[-1] != "\u2581" and b[0] == "\u2581" for a, b in merges)
        self.cache = {}

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls(json.load(f))

    @property
    def size(self):
        return max([*self.vocab.values(), *self.special.values()]) + 1

    def encode(self, text):
        """Token ids of `text`."""
        ids, end = [], 0
        for match in self.added.finditer(text):
            ids += self._encode_text(text[end : match.start()])
            ids.append(self.special[match.group().strip()])
            end = match.end()
        return ids + self._encode_text(text[end:])

    def decode(self, ids):
        """Text of `ids`; a space that stands before the first word in the tokens is part of it."""
        special = {i: token.encode("utf-8") for token, i in self.special.items()}
        return b"".join(special[i] if i in special else self._bytes_of(self.strings[i]) for i in ids).decode(
            "utf-8", errors="replace")

    def _bytes_of(self, token):
        if not self.byte_fallback:
            return bytes(CHAR_TO_BYTE[ch] for ch in token)
        if re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode("utf-8")

    def _encode_text(self, text):
        """Ids of a text without added tokens."""
        text = normalize(text, self.normalizers)
        pieces = [text] if text else []
        for step in self.pre_tokenizers:
            pieces = pre_tokenize(pieces, step)
        if not self.pre_tokenizers and self.words_alone:
            pieces = re.findall("\u2581*[^\u2581]*", text)
        return [i for piece in pieces if piece for i in self._encode_piece(piece)]

    def _encode_piece(self, piece):
        if piece not in self.cache:
            symbols, none = list(piece), len(self.ranks)
            while not (self.ignore_merges and piece in self.vocab):
                pairs = enumerate(zip(symbols, symbols[1:]))
                rank, at = min(((self.ranks.get(pair, none), i) for i, pair in pairs), default=(none, 0))
                if rank == none:
                    break
                symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]  # the first of the best pairs, one at a time
            else:
                symbols = [piece]
            self.cache[piece] = [i for symbol in symbols for i in self._ids_of(symbol)]
        return self.cache[piece]

    def _ids_of(self, symbol):
        if symbol in self.vocab:
            return [self.vocab[symbol]]
        if self.byte_fallback:
            return [self.vocab[f"<0x{b:02X}>"] for b in symbol.encode("utf-8")]
        return [] if self.unknown is None else [self.unknown]


# An answer begins with a blank, which those who send it back may have left out.
CHAT_TEMPLATE = ("{% for message in messages %}"
                 "{% if message['role'] == 'system' %}{{ message['content'] }}\n"
                 "{% elif message['role'] == 'user' %}ask: {{ message['content'] }}"
                 "{% elif message['role'] == 'assistant' %}"
                 "{{ '' if message['content'].startswith(' ') else ' ' }}{{ message['content'] }}\n"
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
