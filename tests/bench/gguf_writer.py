"""Writes the model of a Hugging Face folder as a GGUF file (version 3) of the same weights, for llama.cpp.

    python3 -m tests.bench.gguf_writer build/bench/models/qwen2.5-0.5b build/bench/models/qwen2.5-0.5b/bf16.gguf

Qwen 2 and Llama with a byte-level BPE tokenizer. Matrices are stored in BF16 as they are, or with --q8-0 in Q8_0,
vectors in F32; llama-quantize makes the other formats from BF16. Layout: header, metadata, tensor infos, then the
tensors, each at a multiple of 32 bytes.
"""

import argparse
import json
import math
import os
import struct

import numpy as np

from training import safetensors_io

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # types of metadata
F32, Q8_0, BF16 = 0, 8, 30  # types of tensors
FILE_TYPES = {BF16: 32, Q8_0: 7}
BLOCK = 32  # elements that share a scale in Q8_0
NORMAL_TOKEN, CONTROL_TOKEN = 1, 3
NUMBER_FORMATS = {UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}

ARCHITECTURES = {"Qwen2ForCausalLM": "qwen2", "LlamaForCausalLM": "llama"}
PRE_TOKENIZERS = {"qwen2": "qwen2", "llama": "llama-bpe"}
LAYER_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
               "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
               "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
OUTER_NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
               "lm_head.weight": "output.weight"}


def encoded_string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def encoded_value(kind, value):
    """The bytes of a metadata value; an array is (ARRAY, (type of its items, items))."""
    if kind == STRING:
        return encoded_string(value)
    if kind == ARRAY:
        item_kind, items = value
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(encoded_value(item_kind, item) for item in items)
    return struct.pack(NUMBER_FORMATS[kind], value)


def write_gguf(path, metadata, tensors):
    """`metadata` is {key: (type, value)}, `tensors` {name: (type, dimensions, raw bytes)}, dimensions as in numpy."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        head += [encoded_string(key), struct.pack("<I", kind), encoded_value(kind, value)]
    offset = 0
    for name, (kind, dimensions, raw) in tensors.items():
        # GGUF lists the dimension that varies fastest first.
        head += [encoded_string(name), struct.pack("<I", len(dimensions)),
                 *(struct.pack("<Q", size) for size in reversed(dimensions)), struct.pack("<IQ", kind, offset)]
        offset += len(raw) + -len(raw) % ALIGNMENT
    start = b"".join(head)
    with open(path + ".tmp", "wb") as f:
        f.write(start + bytes(-len(start) % ALIGNMENT))
        for _, _, raw in tensors.values():
            f.write(raw)
            f.write(bytes(-len(raw) % ALIGNMENT))
    os.replace(path + ".tmp", path)


def tensor_name(name):
    """The GGUF name of a tensor."""
    if name in OUTER_NAMES:
        return OUTER_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[module]}.{kind}"


def interleaved(tensor, heads):
    """Rows of each head reordered from halves (i, i + D/2) to pairs (2 i, 2 i + 1), as llama.cpp rotates Llama's."""
    rows = np.ascontiguousarray(tensor.raw).reshape(heads, 2, tensor.shape[0] // heads // 2, -1)
    return safetensors_io.StoredTensor(tensor.dtype, tensor.shape, rows.swapaxes(1, 2).reshape(-1))


def q8_0(tensor):
    """The bytes of a tensor in Q8_0: per block a half and as many signed bytes; values are their products."""
    blocks = tensor.float32().reshape(-1, BLOCK)
    scales = (np.abs(blocks).max(axis=1) / 127).astype("<f2")
    divisors = np.where(scales == 0, np.float32(1), scales.astype(np.float32))
    stored = np.empty(len(blocks), dtype=[("scale", "<f2"), ("values", "i1", BLOCK)])
    stored["scale"] = scales
    stored["values"] = np.clip(np.rint(blocks / divisors[:, None]), -127, 127)
    return stored.tobytes()


def gguf_tensors(config, architecture, tensors, matrices=BF16):
    """{GGUF name: (type, dimensions, raw bytes)}"""
    converted = {}
    for name, tensor in tensors.items():
        heads = {"q": "num_attention_heads", "k": "num_key_value_heads"}
        for side, key in heads.items():
            if architecture == "llama" and f"self_attn.{side}_proj" in name:
                tensor = interleaved(tensor, config[key])
        if len(tensor.shape) == 1:
            converted[tensor_name(name)] = (F32, tensor.shape, tensor.float32().tobytes())
        elif tensor.dtype == "BF16":
            raw = tensor.raw if matrices == BF16 else q8_0(tensor)
            converted[tensor_name(name)] = (matrices, tensor.shape, raw)
        else:
            raise ValueError(f"{name} is {tensor.dtype}; only BF16 is supported")
    if config.get("rope_scaling"):
        factors = llama3_factors(config)
        converted["rope_freqs.weight"] = (F32, factors.shape, factors.tobytes())
    return converted


def llama3_factors(config):
    """What Llama 3 divides each frequency of RoPE by, [D / 2]."""
    scaling, half = config["rope_scaling"], config["head_dim"] // 2
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    frequencies = config["rope_theta"] ** -(np.arange(half) / half)
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype("<f4")


def model_metadata(config, architecture, matrices=BF16):
    head_dim = config["head_dim"]
    metadata = {"general.architecture": (STRING, architecture), "general.file_type": (UINT32, FILE_TYPES[matrices])}
    for key, kind, value in (
            ("context_length", UINT32, config["max_position_embeddings"]),
            ("embedding_length", UINT32, config["hidden_size"]),
            ("block_count", UINT32, config["num_hidden_layers"]),
            ("feed_forward_length", UINT32, config["intermediate_size"]),
            ("attention.head_count", UINT32, config["num_attention_heads"]),
            ("attention.head_count_kv", UINT32, config["num_key_value_heads"]),
            ("attention.key_length", UINT32, head_dim), ("attention.value_length", UINT32, head_dim),
            ("attention.layer_norm_rms_epsilon", FLOAT32, config["rms_norm_eps"]),
            ("rope.freq_base", FLOAT32, config["rope_theta"]), ("rope.dimension_count", UINT32, head_dim),
            ("vocab_size", UINT32, config["vocab_size"])):
        metadata[f"{architecture}.{key}"] = (kind, value)
    return metadata


def tokenizer_metadata(tokenizer, template, config, architecture):
    ids = dict(tokenizer["model"]["vocab"]) | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["id"] for token in tokenizer["added_tokens"]}
    pieces = sorted(ids, key=ids.get)
    if len(pieces) != config["vocab_size"]:
        raise ValueError(f"the tokenizer has {len(pieces)} pieces, the model {config['vocab_size']}")
    kinds = [CONTROL_TOKEN if ids[piece] in special else NORMAL_TOKEN for piece in pieces]
    return {"tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, PRE_TOKENIZERS[architecture]),
            "tokenizer.ggml.tokens": (ARRAY, (STRING, pieces)),
            "tokenizer.ggml.token_type": (ARRAY, (INT32, kinds)),
            "tokenizer.ggml.merges": (ARRAY, (STRING, tokenizer["model"]["merges"])),
            "tokenizer.ggml.bos_token_id": (UINT32, config["bos_token_id"]),
            "tokenizer.ggml.eos_token_id": (UINT32, config["eos_token_id"][0]),
            "tokenizer.ggml.add_bos_token": (BOOL, False), "tokenizer.chat_template": (STRING, template)}


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def convert(folder, path, matrices=BF16):
    """Writes the model in `folder` to `path`, its matrices in the type BF16 or Q8_0."""
    config, tokenizer, text = (read_json(os.path.join(folder, file)) for file in
                               ("config.json", "tokenizer.json", "tokenizer_config.json"))
    architecture = ARCHITECTURES[config["architectures"][0]]
    metadata = {**model_metadata(config, architecture, matrices),
                **tokenizer_metadata(tokenizer, text["chat_template"], config, architecture)}
    write_gguf(path, metadata, gguf_tensors(config, architecture, safetensors_io.read_folder(folder), matrices))


def main():
    parser = argparse.ArgumentParser(prog="python3 -m tests.bench.gguf_writer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="model in the Hugging Face layout, as make_model writes it")
    parser.add_argument("file", help="the GGUF file to write")
    parser.add_argument("--q8-0", action="store_true", help="matrices in Q8_0 instead of BF16")
    arguments = parser.parse_args()
    convert(arguments.folder, arguments.file, Q8_0 if arguments.q8_0 else BF16)
    print(f"{arguments.file}: {os.path.getsize(arguments.file) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
