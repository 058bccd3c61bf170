"""Writes the golden models and logits beside this file. Needs PyTorch, nothing of memgate.

    python3 tests/golden/make_goldens.py

Each folder holds a Hugging Face model of random weights (config.json, model.safetensors), or a memory module for
the model of `llama3` (memory.json, memory.safetensors), and what must come out: golden.json (token ids) and
golden.safetensors (logits at every position, [T, V]). All arithmetic is in double precision over the whole sequence
at once; nothing here streams.
"""

import hashlib
import json
import math
import os
import struct

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def raw(tensor):
    tensor = tensor.contiguous()
    return (tensor.view(torch.int16) if tensor.element_size() == 2 else tensor).numpy().tobytes()


def save(path, tensors):
    header, data = {}, b""
    for name in sorted(tensors):
        t = tensors[name]
        header[name] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + t.numel() * t.element_size()]}
        data += raw(t)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def fingerprint(tensors):
    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(name.encode() + b"\0" + DTYPES[t.dtype].encode() + b"\0")
        digest.update(b"".join(struct.pack("<Q", n) for n in t.shape) + raw(t))
    return "sha256:" + digest.hexdigest()


def write_json(path, value, indent=1):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=indent)
        f.write("\n")


def random_weights(config, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    c, d, f = config["hidden_size"], config["head_dim"], config["intermediate_size"]
    h, g, v = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    kind = config["model_type"]
    tensors = {}

    def add(name, *shape, mean=0.0, std=None):
        std = std if std is not None else shape[-1] ** -0.5
        tensors[name] = (mean + std * torch.randn(*shape, generator=generator)).to(dtype)

    add("model.embed_tokens.weight", v, c, std=0.7)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        add(layer + "input_layernorm.weight", c, mean=1.0, std=0.2)
        for name, size in (("q", h * d), ("k", g * d), ("v", g * d)):
            add(f"{layer}self_attn.{name}_proj.weight", size, c, std=1.5 * c ** -0.5)
            if kind == "qwen2":
                add(f"{layer}self_attn.{name}_proj.bias", size, std=0.5)
        if kind == "qwen3":
            add(layer + "self_attn.q_norm.weight", d, mean=1.0, std=0.3)
            add(layer + "self_attn.k_norm.weight", d, mean=1.0, std=0.3)
        add(layer + "self_attn.o_proj.weight", c, h * d)
        add(layer + "post_attention_layernorm.weight", c, mean=1.0, std=0.2)
        add(layer + "mlp.gate_proj.weight", f, c)
        add(layer + "mlp.up_proj.weight", f, c)
        add(layer + "mlp.down_proj.weight", c, f)
    add("model.norm.weight", c, mean=1.0, std=0.2)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", v, c)
    return tensors


def frequencies(config):
    d = config["head_dim"]
    freq = config["rope_theta"] ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    scaling = config["rope_scaling"]
    if scaling is None:
        return freq
    if scaling["rope_type"] == "linear":
        return freq / scaling["factor"]
    original = scaling["original_max_position_embeddings"]
    low, high = original / scaling["low_freq_factor"], original / scaling["high_freq_factor"]
    wavelength = 2 * math.pi / freq
    smooth = (original / wavelength - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"])
    between = ((1 - smooth) / scaling["factor"] + smooth) * freq
    out = torch.where(wavelength > low, freq / scaling["factor"], freq)
    return torch.where((wavelength <= low) & (wavelength >= high), between, out)


def rotate(x, positions, freq):
    """x [..., T, D] at `positions` [T]; the two halves of a head are the real and imaginary parts."""
    half = x.shape[-1] // 2
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * positions[:, None] * freq)
    return torch.cat((turned.real, turned.imag), dim=-1)


def rms_norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def logits_of(config, tensors, ids, memory=None):
    """[T, V]; `memory(layer, h, q, k, v, freq)` replaces plain causal attention."""
    w = {name: t.double() for name, t in tensors.items()}
    d, eps = config["head_dim"], config["rms_norm_eps"]
    repeat = config["num_attention_heads"] // config["num_key_value_heads"]
    freq = frequencies(config)
    positions = torch.arange(len(ids), dtype=torch.float64)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = rms_norm(x, w[layer + "input_layernorm.weight"], eps)

        def heads(name):
            out = h @ w[f"{layer}self_attn.{name}_proj.weight"].T + w.get(f"{layer}self_attn.{name}_proj.bias", 0.0)
            out = out.view(len(ids), -1, d).transpose(0, 1)
            norm = w.get(f"{layer}self_attn.{name}_norm.weight")
            out = out if norm is None else rms_norm(out, norm, eps)
            return out if name == "q" else out.repeat_interleave(repeat, dim=0)

        q, k, v = heads("q"), heads("k"), heads("v")  # [H, T, D]
        if memory is None:
            scores = rotate(q, positions, freq) @ rotate(k, positions, freq).transpose(1, 2) / math.sqrt(d)
            future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
            attended = scores.masked_fill(future, -math.inf).softmax(-1) @ v
        else:
            attended = memory(i, h, q, k, v, freq)
        x = x + attended.transpose(0, 1).reshape(len(ids), -1) @ w[layer + "self_attn.o_proj.weight"].T
        h = rms_norm(x, w[layer + "post_attention_layernorm.weight"], eps)
        gate = h @ w[layer + "mlp.gate_proj.weight"].T
        up = h @ w[layer + "mlp.up_proj.weight"].T
        x = x + (gate * torch.sigmoid(gate) * up) @ w[layer + "mlp.down_proj.weight"].T
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return rms_norm(x, w["model.norm.weight"], eps) @ w[head].T


class GatedAttention:
    """Attention of a bounded session, worked out for each query from the whole history."""

    def __init__(self, kind, shape, tensors, repeat):
        self.kind, self.shape, self.repeat = kind, shape, repeat
        self.tensors = {name: t.double() for name, t in tensors.items()}

    def __call__(self, layer, h, q, k, v, freq):
        s, w, p, e = self.shape
        tokens, d = q.shape[1:]
        out = torch.empty_like(q)
        for t in range(tokens):
            folded = max(0, (t - s - w) // p) * p
            for head in range(q.shape[0]):
                if folded == 0:
                    near, far = list(range(t + 1)), []
                else:
                    near = list(range(s + folded, t + 1))
                    far = list(range(s)) + self.salient(layer, h, head, s, s + folded, e)
                at = torch.tensor([float(t)], dtype=torch.float64)
                window = torch.tensor(near, dtype=torch.float64)
                near_q = rotate(q[head, t : t + 1], at, freq)[0]
                far_q = rotate(q[head, t : t + 1], torch.tensor([float(w + p)], dtype=torch.float64), freq)[0]
                scores = torch.cat((k[head, far] @ far_q, rotate(k[head, near], window, freq) @ near_q))
                local = (scores / math.sqrt(d)).softmax(0) @ v[head, far + near]
                if folded and self.kind.startswith("infini"):
                    recalled = self.recall(q[head, t], k[head, s : s + folded], v[head, s : s + folded], p)
                    gate = torch.sigmoid(self.tensors[f"layers.{layer}.infini.beta"][head])
                    local = gate * recalled + (1 - gate) * local
                out[head, t] = local
        return out

    def salient(self, layer, h, head, begin, end, count):
        if self.kind != "memgate":
            return []
        group = head // self.repeat
        u = self.tensors[f"layers.{layer}.retention.weight"][group]
        score = h[begin:end] @ u + self.tensors[f"layers.{layer}.retention.bias"][group]
        ranked = sorted(range(end - begin), key=lambda i: (-score[i].item(), i))
        return [begin + i for i in ranked[:count]]

    def recall(self, query, keys, values, segment):
        """Linear memory: equations 3 to 5 of arXiv 2404.07143."""
        phi = lambda x: torch.nn.functional.elu(x) + 1
        d = query.shape[0]
        matrix, normaliser = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
        read = lambda a: (a @ matrix) / ((a @ normaliser) + 1e-6)[..., None]
        for begin in range(0, keys.shape[0], segment):
            a, value = phi(keys[begin : begin + segment]), values[begin : begin + segment]
            if self.kind == "infini-delta":
                value = value - read(a)
            matrix, normaliser = matrix + a.T @ value, normaliser + a.sum(0)
        return read(phi(query)[None])[0]


def base_config(architecture, model_type, **fields):
    config = {"architectures": [architecture], "model_type": model_type, "vocab_size": 61, "hidden_size": 24,
              "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
              "head_dim": 6, "max_position_embeddings": 512, "rope_theta": 10000.0, "rope_scaling": None,
              "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False}
    config.update(fields)
    return config


MODELS = {
    "llama2": (base_config("LlamaForCausalLM", "llama"), torch.float32),
    "llama_linear_rope": (base_config("LlamaForCausalLM", "llama", num_key_value_heads=2,
                                      rope_scaling={"type": "linear", "rope_type": "linear", "factor": 3.0}),
                          torch.float16),
    # Wavelengths 6, 63, 628 and 6283: one kept, one blended, two stretched.
    "llama3": (base_config("LlamaForCausalLM", "llama", num_attention_heads=6, num_key_value_heads=2, head_dim=8,
                           hidden_size=48, tie_word_embeddings=True,
                           rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                         "high_freq_factor": 4.0, "original_max_position_embeddings": 128}),
               torch.bfloat16),
    "mistral": (base_config("MistralForCausalLM", "mistral", num_key_value_heads=1, sliding_window=None,
                            rope_theta=1e6), torch.bfloat16),
    "qwen2": (base_config("Qwen2ForCausalLM", "qwen2", num_attention_heads=6, num_key_value_heads=3, head_dim=4,
                          rope_theta=1e6, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False),
              torch.bfloat16),
    "qwen3": (base_config("Qwen3ForCausalLM", "qwen3", num_key_value_heads=2, head_dim=10, rope_theta=1e6,
                          rms_norm_eps=1e-6), torch.bfloat16),
}
SHAPE = (2, 10, 5, 4)  # sinks, window, segment, salient
GATED_TOKENS = 97      # 17 foldings


def write_golden(folder, ids, logits, **facts):
    write_json(f"{folder}/golden.json", {"ids": ids, **facts}, indent=None)
    save(f"{folder}/golden.safetensors", {"logits": logits.float()})


def write_module(kind, config, model, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for i in range(config["num_hidden_layers"]):
        if kind == "memgate":
            shape = (config["num_key_value_heads"], config["hidden_size"])
            tensors[f"layers.{i}.retention.weight"] = torch.randn(shape, generator=generator)
            tensors[f"layers.{i}.retention.bias"] = torch.randn(shape[:1], generator=generator)
        else:
            tensors[f"layers.{i}.infini.beta"] = torch.randn(config["num_attention_heads"], generator=generator)
    folder = f"{HERE}/{kind.replace('-', '_')}"
    os.makedirs(folder, exist_ok=True)
    shape = SHAPE if kind == "memgate" else SHAPE[:3] + (0,)
    write_json(f"{folder}/memory.json", {
        "format": "memgate-memory", "version": 1, "kind": kind, "base_fingerprint": fingerprint(model),
        "num_layers": config["num_hidden_layers"], "hidden_size": config["hidden_size"],
        "num_kv_heads": config["num_key_value_heads"], "head_dim": config["head_dim"], "sink_tokens": shape[0],
        "window_tokens": shape[1], "segment_tokens": shape[2], "salient_tokens": shape[3]})
    save(f"{folder}/memory.safetensors", tensors)
    ids = torch.randint(0, config["vocab_size"], (GATED_TOKENS,), generator=generator).tolist()
    attention = GatedAttention(kind, shape, tensors,
                               config["num_attention_heads"] // config["num_key_value_heads"])
    write_golden(folder, ids, logits_of(config, model, ids, attention), base="llama3")


def main():
    for seed, (name, (config, dtype)) in enumerate(MODELS.items()):
        folder = f"{HERE}/{name}"
        os.makedirs(folder, exist_ok=True)
        tensors = random_weights(config, dtype, seed)
        write_json(f"{folder}/config.json", config)
        save(f"{folder}/model.safetensors", tensors)
        ids = torch.randint(0, config["vocab_size"], (48,), generator=torch.Generator().manual_seed(100 + seed))
        write_golden(folder, ids.tolist(), logits_of(config, tensors, ids))
        if name == "llama3":
            for offset, kind in enumerate(("memgate", "infini", "infini-delta")):
                write_module(kind, config, tensors, 200 + offset)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
