"""Decoder-only models as plain PyTorch modules, with tensor names as in a Hugging Face checkpoint.

One class serves Llama 2 and 3, Mistral, Qwen 2 and Qwen 3; what differs between them is data in `Config`.

Shapes: B batch, T tokens, C model dim, H query heads, G KV heads, R = H/G, D head dim, F ffn dim, V vocabulary.
Attention is a strategy, `attend(layer, h, q, k, v)`, so that exact, gated and streaming attention share all the rest.
"""

import json
import math
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn
from torch.nn import functional

from training import safetensors_io

FAMILIES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2",
            "Qwen3ForCausalLM": "qwen3"}
FOREIGN_TO_ALL = ("quantization_config", "mlp_bias")  # keys of `config.json` that change the arithmetic


@dataclass(frozen=True)
class Config:
    """The fields of `config.json` that matter."""

    vocab_size: int
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 64
    max_position_embeddings: int = 512
    rope_theta: float = 500000.0
    rms_norm_eps: float = 1e-5
    rope_scaling: Optional[dict] = None  # None, or rope_type "linear" or "llama3" with its numbers
    qkv_bias: bool = False               # Qwen 2
    qk_norm: bool = False                # Qwen 3: RMSNorm over each head's q and k
    tie_word_embeddings: bool = True     # logits by the embedding instead of lm_head

    @property
    def heads_per_kv_head(self):
        return self.num_attention_heads // self.num_key_value_heads

    @classmethod
    def from_json(cls, data):
        """The `Config` of the contents of a config.json; ValueError names what is not supported."""
        (name,) = data.get("architectures") or [None]
        if name not in FAMILIES:
            raise ValueError(f"architecture {name} is not supported; supported are {', '.join(FAMILIES)}")
        family = FAMILIES[name]
        for key in FOREIGN_TO_ALL + (() if family == "qwen2" else ("attention_bias",)):
            if data.get(key):
                raise ValueError(f"config.json: {key} is not supported")
        if data.get("hidden_act", "silu") != "silu":
            raise ValueError(f"config.json: hidden_act {data['hidden_act']} is not supported")
        heads = data["num_attention_heads"]
        derived = 128 if family == "qwen3" else data["hidden_size"] // heads
        return cls(
            vocab_size=data["vocab_size"], hidden_size=data["hidden_size"],
            intermediate_size=data["intermediate_size"], num_hidden_layers=data["num_hidden_layers"],
            num_attention_heads=heads, num_key_value_heads=data.get("num_key_value_heads") or heads,
            head_dim=data.get("head_dim") or derived, max_position_embeddings=longest_view(data, family),
            rms_norm_eps=data.get("rms_norm_eps", 1e-6), qkv_bias=family == "qwen2", qk_norm=family == "qwen3",
            tie_word_embeddings=data.get("tie_word_embeddings", False), **rope_fields(data))

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls.from_json(json.load(f))


def longest_view(data, family):
    """Tokens up to which the model is plain causal attention: its context, or a sliding window that is shorter."""
    context, window = data["max_position_embeddings"], data.get("sliding_window")
    if family in ("qwen2", "qwen3"):
        used = data.get("use_sliding_window") and data.get("max_window_layers", 28) < data["num_hidden_layers"]
        window = (window or 4096) if used else None
    return min(context, window) if window and family != "llama" else context


def rope_fields(data):
    """rope_theta and rope_scaling of a config.json; newer files keep both in `rope_parameters`."""
    scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
    theta = scaling.get("rope_theta", data.get("rope_theta", 10000.0))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise ValueError(f"config.json: rope_type {kind} is not supported; supported are default, linear and llama3")
    if scaling.get("partial_rotary_factor", data.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ValueError("config.json: rotating a part of the head is not supported")
    return {"rope_theta": theta, "rope_scaling": None if kind == "default" else {**scaling, "rope_type": kind}}


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Linear(nn.Module):
    """y = W x (+ b), W [outputs, inputs] without a start value."""

    def __init__(self, inputs, outputs, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x):
        return functional.linear(x, self.weight, self.bias)


class Embedding(nn.Module):
    def __init__(self, vocab, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab, size))

    def forward(self, ids):
        return functional.embedding(ids, self.weight)


def rope_frequencies(config):
    """Angle per position [D/2] in double precision, after the scaling of the configuration."""
    d = config.head_dim
    frequencies = config.rope_theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    stretched = frequencies / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return stretched
    # Llama 3: waves shorter than a part of the original context stay, long ones are stretched, those between blend.
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return stretched + kept * (frequencies - stretched)


def rope_angles(positions, config):
    """cos and sin [..., D] for `positions` [...]; angles are formed in double precision."""
    angles = positions.double()[..., None] * rope_frequencies(config).to(positions.device)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, angles):
    """RoPE over halves of the head dimension: x [..., T, D]."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class ExactAttention:
    """Plain causal attention over one whole sequence that starts at position 0."""

    def __init__(self, config, tokens, device=None):
        self.angles = rope_angles(torch.arange(tokens, device=device), config)
        self.mask = torch.full((tokens, tokens), float("-inf"), device=device).triu(1)

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]."""
        q, k = rotate(q, self.angles), rotate(k, self.angles)
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.mask
        return logits.softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c, d, bias = config.hidden_size, config.head_dim, config.qkv_bias
        self.config, self.layer = config, layer
        self.q_proj = Linear(c, config.num_attention_heads * d, bias)
        self.k_proj = Linear(c, config.num_key_value_heads * d, bias)
        self.v_proj = Linear(c, config.num_key_value_heads * d, bias)
        self.o_proj = Linear(config.num_attention_heads * d, c)
        if config.qk_norm:
            self.q_norm = RmsNorm(d, config.rms_norm_eps)
            self.k_norm = RmsNorm(d, config.rms_norm_eps)

    def split(self, x):
        """[B, T, heads * D] -> [B, G, heads / G, T, D]."""
        batch, tokens, _ = x.shape
        heads = x.view(batch, tokens, self.config.num_key_value_heads, -1, self.config.head_dim)
        return heads.permute(0, 2, 3, 1, 4)

    def output(self, attended):
        """[B, G, R, T, D] -> [B, T, C]."""
        batch, _, _, tokens, _ = attended.shape
        return self.o_proj(attended.permute(0, 3, 1, 2, 4).reshape(batch, tokens, -1))

    def forward(self, h, attend):
        """h [B, T, C], the normalised layer input. Query head h reads KV head h // R."""
        q, k, v = self.split(self.q_proj(h)), self.split(self.k_proj(h)), self.split(self.v_proj(h))
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        return self.output(attend(self.layer, h, q, k, v))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x, attend):
        x = x + self.self_attn(self.input_layernorm(x), attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class CausalModel(nn.Module):
    """Logits [B, T, V] of token ids [B, T]. Weights have no start value; `load` reads them."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size)
        self.stored = {}  # {name: StoredTensor} as read by `load`

    def head(self):
        """The output matrix [V, C]."""
        return (self.lm_head or self.model.embed_tokens).weight

    def hidden(self, ids, attend=None):
        """The normalised output of the last layer, [B, T, C]."""
        attend = attend or ExactAttention(self.config, ids.shape[1], ids.device)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, attend)
        return self.model.norm(x)

    def forward(self, ids, attend=None):
        return functional.linear(self.hidden(ids, attend), self.head())

    def tensors(self):
        """{name: float32 array} as stored in model.safetensors."""
        return {name: p.detach().cpu().numpy() for name, p in self.named_parameters()}

    def fingerprint(self):
        """Of the parameters as they are now, in the types of the checkpoint; what it holds besides counts as it is."""
        tensors = dict(self.stored)
        for name, data in self.tensors().items():
            dtype = self.stored[name].dtype if name in self.stored else "F32"
            tensors[name] = safetensors_io.StoredTensor.of(data, dtype)
        return safetensors_io.fingerprint(tensors)

    def save(self, path):
        safetensors_io.save(path, self.tensors(), {"format": "pt"})

    @classmethod
    @torch.no_grad()
    def load(cls, folder, device="cpu"):
        """Reads config.json and the checkpoint of `folder`; ValueError names a tensor that is missing or misshapen."""
        model = cls(Config.load(f"{folder}/config.json"))
        model.stored = safetensors_io.read_folder(folder)
        for name, parameter in model.named_parameters():
            if name not in model.stored or model.stored[name].shape != tuple(parameter.shape):
                raise ValueError(f"{folder}: tensor {name} {list(parameter.shape)} is missing or of another shape")
            parameter.copy_(torch.from_numpy(model.stored[name].float32()))
        return model.eval().to(device)
