"""Writes a model folder of a published shape with random weights, for measuring speed and for trying things out.

    python3 -m tests.bench.make_model qwen2.5-0.5b build/bench/models/qwen2.5-0.5b
    python3 -m tests.bench.make_model qwen2.5-3b ahn-gdn --ahn      # the module of an AHN instead, as it is published

The folder is complete: config.json, generation_config.json, model.safetensors (BF16; above 5 GB in shards with an
index, as published folders are), tokenizer.json, tokenizer_config.json, and a memory module of kind `memgate`
(memory.json, memory.safetensors). The same shape and seed give the same bytes. Weights are drawn so that activations
keep the size they have in trained models: matrices with a standard deviation of 0.02, those that write into the
residual stream smaller by sqrt(2 L) (GPT-2), norm weights around 1. What such a model says is without meaning; what it
costs is the same.
"""

import argparse
import itertools
import json
import math
import os
import struct
import sys
import zlib

import numpy as np

from tests.bench.shapes import GEOMETRY, SHAPES, MemoryGeometry
from training import safetensors_io

DEVIATION = 0.02
CHUNK = 1 << 24  # numbers drawn at a time, so that memory stays small
SHARD_BYTES = 5_000_000_000  # what one file of a published folder holds at most
# Mean and standard deviation of an AHN's vectors: decays and steps as Gated DeltaNet starts them (arXiv 2412.06464).
AHN_SPREAD = {"A_log": (1.5, 0.5), "dt_bias": (-4.0, 1.0), "D": (1.0, 0.0)}
END_OF_TEXT, CHAT_START, CHAT_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, CHAT_START, CHAT_END)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPACE = "\u0120"  # how byte-level BPE spells a blank
WORD_PATTERN = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"
# ChatML. A line break at the very end would be lost, were it not in an expression.
CHAT_TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
                 "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def tensor_shapes(shape):
    """{name: dimensions} of all tensors, as Hugging Face names them."""
    c, f, q, kv = shape.hidden, shape.ffn, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    tensors = {"model.embed_tokens.weight": (shape.vocabulary, c), "model.norm.weight": (c,)}
    for i in range(shape.layers):
        layer = f"model.layers.{i}."
        tensors[layer + "input_layernorm.weight"] = (c,)
        tensors[layer + "post_attention_layernorm.weight"] = (c,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            tensors[f"{layer}self_attn.{name}_proj.weight"] = (rows, c)
            if shape.attention_bias:
                tensors[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        tensors[layer + "self_attn.o_proj.weight"] = (c, q)
        tensors[layer + "mlp.gate_proj.weight"] = (f, c)
        tensors[layer + "mlp.up_proj.weight"] = (f, c)
        tensors[layer + "mlp.down_proj.weight"] = (c, f)
    return tensors


def generator(seed, name):
    """The random source of one tensor, whatever else is drawn."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def spread(name, layers):
    """Mean and standard deviation of the numbers of a tensor."""
    if name.endswith("norm.weight"):
        return 1.0, 0.1
    if name.endswith((".o_proj.weight", "down_proj.weight")):
        return 0.0, DEVIATION / math.sqrt(2 * layers)
    return AHN_SPREAD.get(name.rpartition(".")[2], (0.0, DEVIATION))


def draw(name, dimensions, layers, seed):
    """Yields the numbers of a tensor as float32 arrays, in order."""
    mean, deviation = spread(name, layers)
    random, left = generator(seed, name), math.prod(dimensions)
    while left > 0:
        count = min(left, CHUNK)
        yield mean + deviation * random.standard_normal(count, dtype=np.float32)
        left -= count


def write_bfloat16(path, tensors, layers, seed, report):
    """A safetensors file of `tensors` ({name: dimensions}), drawn as it is written; report(bytes) after every part."""
    header, offset = {}, 0
    for name, dimensions in sorted(tensors.items()):
        end = offset + bytes_of(dimensions)
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, entry in header.items():
            for part in draw(name, entry["shape"], layers, seed):
                stored = safetensors_io.to_bfloat16(part)
                f.write(stored.data)
                report(stored.nbytes)
    os.replace(path + ".tmp", path)


def bytes_of(dimensions):
    """Of a tensor in BF16."""
    return 2 * math.prod(dimensions)


def shards_of(tensors, limit):
    """`tensors` in groups of at most `limit` bytes, each in ascending order of name."""
    shards, room = [{}], limit
    for name, dimensions in sorted(tensors.items()):
        if shards[-1] and bytes_of(dimensions) > room:
            shards.append({})
            room = limit
        shards[-1][name] = dimensions
        room -= bytes_of(dimensions)
    return shards


def write_weights(folder, tensors, layers, seed, progress, shard_bytes):
    """model.safetensors, or its shards and their index; `progress` is called with (bytes written, bytes in all)."""
    shards = shards_of(tensors, shard_bytes)
    files = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    total, written = sum(map(bytes_of, tensors.values())), 0

    def report(count):
        nonlocal written
        written += count
        progress(written, total)

    for file, shard in zip(files, shards):
        write_bfloat16(os.path.join(folder, file), shard, layers, seed, report)
    if len(shards) > 1:
        write_json(os.path.join(folder, "model.safetensors.index.json"), {
            "metadata": {"total_size": total},
            "weight_map": {name: file for file, shard in zip(files, shards) for name in shard}})


def module_tensors(shape, matrix, seed):
    """{name: float32 array} of a `memgate` module; scores and write strengths spread as after training."""
    g, h, d, c = shape.kv_heads, shape.heads, shape.head_dim, shape.hidden
    tensors = {}

    def add(name, mean, deviation, dimensions):
        numbers = generator(seed, name).standard_normal(dimensions, dtype=np.float32)
        tensors[name] = mean + deviation * numbers

    for i in range(shape.layers):
        layer = f"layers.{i}."
        add(layer + "retention.weight", 0.0, 1 / math.sqrt(c), (g, c))
        add(layer + "retention.bias", 0.0, 0.1, (g,))
        if matrix:
            add(layer + "matrix.write_weight", 0.0, 1 / math.sqrt(c), (g, c))
            add(layer + "matrix.write_bias", -1.0, 0.1, (g,))
            add(layer + "matrix.decay", -5.0, 0.5, (g,))
            for side, heads in (("key", g), ("query", h)):
                add(f"{layer}matrix.{side}_scale", 1.0, 0.1, (heads, d))
                add(f"{layer}matrix.{side}_shift", 0.0, 0.1, (heads, d))
            add(layer + "matrix.gain", 0.1, 0.02, (h,))
    return tensors


def write_module(folder, shape, geometry, matrix, seed):
    """memory.json and memory.safetensors, tied to the weights in `folder`."""
    safetensors_io.save(os.path.join(folder, "memory.safetensors"), module_tensors(shape, matrix, seed))
    write_json(os.path.join(folder, "memory.json"), {
        "format": "memgate-memory", "version": 1, "kind": "memgate",
        "base_fingerprint": safetensors_io.fingerprint(safetensors_io.read_folder(folder)),
        "num_layers": shape.layers, "hidden_size": shape.hidden, "num_kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim, "sink_tokens": geometry.sinks, "window_tokens": geometry.window,
        "segment_tokens": geometry.segment, "salient_tokens": geometry.salient})


def ahn_tensors(shape):
    """{name: dimensions} of a published AHN of the variant GatedDeltaNet (docs/formats.md)."""
    c, h, d = shape.hidden, shape.heads, shape.head_dim
    tensors = {}
    for i in range(shape.layers):
        layer = f"model.layers.{i}.ahn.fn."
        tensors |= {f"{layer}{name}_proj.weight": (h, c) for name in "abg"}
        tensors |= {layer + name: (h,) for name in AHN_SPREAD}
        tensors |= {layer + "o_norm.weight": (d,), layer + "o_proj.weight": (h, d, d)}
    return tensors


def write_ahn(folder, shape, seed=1, progress=lambda written, total: None):
    """The folder of an AHN-GDN without its base, as its authors publish it: config.json comes last."""
    os.makedirs(folder, exist_ok=True)
    write_weights(folder, ahn_tensors(shape), shape.layers, seed, progress, SHARD_BYTES)
    write_json(os.path.join(folder, "config.json"), {
        **config_of(shape), "_layer_implementation": "Qwen2MemDecoderLayer", "_ahn_implementation": "GatedDeltaNet",
        "sliding_window": shape.max_position, "sliding_window_type": "random", "ahn_position": "random",
        "use_sliding_window": False, "fa_layer_ids": "", "use_ahn_router": False, "use_q_proj": False})


def byte_symbols():
    """The 256 characters by which byte-level BPE spells bytes, in order of the byte (GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    symbol = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [symbol[byte] for byte in range(256)]


def vocabulary(size):
    """(pieces by id, merges): bytes, then words of letters with and without a blank, the special tokens last.

    Each longer piece is a shorter one and a letter, so merges spell every piece, and every id means some text.
    """
    pieces, merges = byte_symbols(), []
    shorter = [SPACE, *LETTERS]
    while len(pieces) < size - len(SPECIAL_TOKENS):
        room = size - len(SPECIAL_TOKENS) - len(pieces)
        pairs = list(itertools.islice(itertools.product(shorter, LETTERS), room))
        merges += pairs
        shorter = [left + right for left, right in pairs]
        pieces += shorter
    return pieces + list(SPECIAL_TOKENS), merges


def write_tokenizer(folder, shape):
    pieces, merges = vocabulary(shape.vocabulary)
    regular = len(pieces) - len(SPECIAL_TOKENS)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    write_json(os.path.join(folder, "tokenizer.json"), {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": regular + i, "content": content, "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}
                         for i, content in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORD_PATTERN}, "behavior": "Isolated", "invert": False},
            byte_level]},
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {piece: i for i, piece in enumerate(pieces[:regular])},
                  "merges": [" ".join(pair) for pair in merges]}})
    write_json(os.path.join(folder, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "bos_token": None,
        "eos_token": END_OF_TEXT, "chat_template": CHAT_TEMPLATE})


def end_ids(shape):
    return [shape.vocabulary - len(SPECIAL_TOKENS) + SPECIAL_TOKENS.index(name) for name in (END_OF_TEXT, CHAT_END)]


def config_of(shape):
    """The contents of config.json."""
    ends, scaling = end_ids(shape), None
    if shape.llama3_scaling:
        names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        scaling = {**dict(zip(names, shape.llama3_scaling)), "rope_type": "llama3"}
    return {
        "architectures": [{"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}[shape.family]],
        "model_type": shape.family, "vocab_size": shape.vocabulary, "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "max_position_embeddings": shape.max_position, "rope_theta": shape.rope_theta, "rope_scaling": scaling,
        "rms_norm_eps": shape.rms_norm_eps, "hidden_act": "silu", "tie_word_embeddings": True,
        "bos_token_id": ends[0], "eos_token_id": ends, "torch_dtype": "bfloat16"}


def write_config(folder, shape):
    write_json(os.path.join(folder, "config.json"), config_of(shape))
    write_json(os.path.join(folder, "generation_config.json"), {"do_sample": False, "eos_token_id": end_ids(shape)})


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def write_model(folder, shape, geometry=GEOMETRY, matrix=True, seed=1, progress=lambda written, total: None,
                shard_bytes=SHARD_BYTES):
    """Everything; no module where `geometry` is None. config.json comes last, so a folder that has one is complete."""
    os.makedirs(folder, exist_ok=True)
    write_weights(folder, tensor_shapes(shape), shape.layers, seed, progress, shard_bytes)
    write_tokenizer(folder, shape)
    if geometry:
        write_module(folder, shape, geometry, matrix, seed)
    write_config(folder, shape)


class ProgressBar:
    """Bytes written, on a terminal in one line."""

    def __init__(self, stream=sys.stderr):
        self.stream, self.shown = stream, -1

    def __call__(self, written, total):
        share = 100 * written // total
        if share > self.shown:
            self.shown = share
            end = "\n" if written == total else ""
            if self.stream.isatty() or end:
                start = "\r" if self.stream.isatty() else ""
                print(f"{start}{share:3d} % of {total / 1e6:,.0f} MB written", end=end, file=self.stream, flush=True)


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench.make_model", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES, help=", ".join(SHAPES))
    parser.add_argument("folder", help="where the files go; made if absent")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (default %(default)s)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--no-matrix", action="store_true",
                      help="leave the gated-delta matrix out of the memory module: what has no slot is forgotten")
    kind.add_argument("--no-module", action="store_true", help="leave the memory module out, as published folders do")
    kind.add_argument("--ahn", action="store_true", help="write an AHN-GDN for the shape instead of the model")
    for part, default in vars(GEOMETRY).items():
        parser.add_argument(f"--{part}", type=int, default=default, metavar="TOKENS",
                            help="of a session by default (default %(default)s)")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    if arguments.ahn:
        write_ahn(arguments.folder, shape, arguments.seed, ProgressBar())
    else:
        geometry = MemoryGeometry(*(getattr(arguments, part) for part in vars(GEOMETRY)))
        write_model(arguments.folder, shape, None if arguments.no_module else geometry, not arguments.no_matrix,
                    arguments.seed, ProgressBar())
    print(f"{arguments.folder}: {'AHN-GDN for ' if arguments.ahn else ''}{shape.name}, seed {arguments.seed}")


if __name__ == "__main__":
    main()
