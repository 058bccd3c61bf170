"""Decoder-only models as plain PyTorch modules, with tensor names as in a Hugging Face checkpoint.

One class serves Llama 2 and 3, Mistral, Qwen 2 and 3, Phi-3, SmolLM3, Gemma 2 and 3; what differs between them is data
in `Config`.

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
            "Qwen3ForCausalLM": "qwen3", "Phi3ForCausalLM": "phi3", "SmolLM3ForCausalLM": "smollm3",
            "Gemma2ForCausalLM": "gemma2", "Gemma3ForCausalLM": "gemma3", "Gemma3ForConditionalGeneration": "gemma3"}
FOREIGN_TO_ALL = ("quantization_config", "mlp_bias")  # keys of `config.json` that change the arithmetic
# What a missing key means to the family; other families have the value under "".
DEFAULTS = {
    "rms_norm_eps": {"": 1e-6, "phi3": 1e-5},
    "rope_theta": {"": 10000.0, "smollm3": 2e6, "gemma3": 1e6},
    "tie_word_embeddings": {"": False, "smollm3": True, "gemma2": True, "gemma3": True},
    "head_dim": {"qwen3": 128, "gemma2": 256, "gemma3": 256},
    "num_attention_heads": {"gemma3": 8},
    "num_key_value_heads": {"gemma3": 4},
    "vocab_size": {"gemma3": 262208},
    "max_position_embeddings": {"gemma3": 131072},
    "sliding_window": {"qwen2": 4096, "qwen3": 4096, "gemma2": 4096, "gemma3": 4096},
}
NULL_IS_NONE = ("sliding_window", "attn_logit_softcapping", "final_logit_softcapping")  # not the default


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
    rope_scaling: Optional[dict] = None  # None, or rope_type "linear", "llama3" or "longrope" with its numbers
    qkv_bias: bool = False               # Qwen 2
    qk_norm: bool = False                # Qwen 3, Gemma 3: RMSNorm over each head's q and k
    tie_word_embeddings: bool = True     # logits by the embedding instead of lm_head
    fused: bool = False                  # Phi-3: one matrix for q, k and v, one for gate and up
    gemma: bool = False                  # 1 + w in norms, norms behind the blocks, GELU, embeddings times sqrt(C)
    score_scale: Optional[float] = None  # of q times k; None: 1 / sqrt(D)
    score_cap: Optional[float] = None    # Gemma 2: of scaled scores
    logit_cap: Optional[float] = None
    unrotated_layers: tuple = ()         # SmolLM3: layers without positions
    local_layers: tuple = ()             # Gemma 3: layers with a rotation of their own, of ...
    local_theta: float = 10000.0

    @property
    def heads_per_kv_head(self):
        return self.num_attention_heads // self.num_key_value_heads

    def scores(self, products):
        """Logits of attention from products of queries and keys."""
        scores = products * (self.head_dim ** -0.5 if self.score_scale is None else self.score_scale)
        return capped(scores, self.score_cap)

    @classmethod
    def from_json(cls, data):
        """The `Config` of the contents of a config.json; ValueError names what is not supported."""
        (name,) = data.get("architectures") or [None]
        if name not in FAMILIES:
            raise ValueError(f"architecture {name} is not supported; supported are {', '.join(FAMILIES)}")
        family = FAMILIES[name]
        outer, data = data, with_defaults(data.get("text_config", data), family)
        for key in FOREIGN_TO_ALL + (() if family == "qwen2" else ("attention_bias",)):
            if outer.get(key) or data.get(key):
                raise ValueError(f"config.json: {key} is not supported")
        gemma = family.startswith("gemma")
        activation, key = ("gelu_pytorch_tanh", "hidden_activation") if gemma else ("silu", "hidden_act")
        if data.get(key, activation) != activation:
            raise ValueError(f"config.json: {key} {data[key]} is not supported")
        heads = data["num_attention_heads"]
        return cls(
            vocab_size=data["vocab_size"], hidden_size=data["hidden_size"],
            intermediate_size=data["intermediate_size"], num_hidden_layers=data["num_hidden_layers"],
            num_attention_heads=heads, num_key_value_heads=data.get("num_key_value_heads") or heads,
            head_dim=data.get("head_dim") or data["hidden_size"] // heads,
            max_position_embeddings=longest_view(data, family), rms_norm_eps=data["rms_norm_eps"],
            qkv_bias=family == "qwen2", qk_norm=family in ("qwen3", "gemma3"),
            tie_word_embeddings=data["tie_word_embeddings"], fused=family == "phi3", gemma=gemma,
            **rope_fields(data), **layer_fields(data, family), **score_fields(data, family))

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls.from_json(json.load(f))


def with_defaults(data, family):
    """`data` with what the family's files may leave out."""
    defaults = {key: values.get(family, values.get("")) for key, values in DEFAULTS.items()}
    given = {key: value for key, value in data.items() if value is not None or key in NULL_IS_NONE}
    return {**{key: value for key, value in defaults.items() if value is not None}, **given}


def longest_view(data, family):
    """Tokens up to which the model is plain causal attention, with one rotation: its context, or a window that is
    shorter, or the context for which longrope has its short factors."""
    context, window = data["max_position_embeddings"], data.get("sliding_window")
    if family in ("qwen2", "qwen3"):
        used = data.get("use_sliding_window") and data.get("max_window_layers", 28) < data["num_hidden_layers"]
        window = window if used else None
    if family in ("llama", "smollm3"):
        window = None
    scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
    original = None
    if "short_factor" in scaling:
        original = data.get("original_max_position_embeddings") or scaling["original_max_position_embeddings"]
    return min(length for length in (context, window, original) if length)


def rope_fields(data):
    """rope_theta and rope_scaling of a config.json; newer files keep both in `rope_parameters`, by type of layer."""
    scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
    scaling = scaling.get("full_attention", scaling)
    theta = scaling.get("rope_theta", data["rope_theta"])
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    kind = "longrope" if kind == "su" else kind
    if kind not in ("default", "linear", "llama3", "longrope"):
        raise ValueError(
            f"config.json: rope_type {kind} is not supported; supported are default, linear, llama3 and longrope")
    if scaling.get("partial_rotary_factor", data.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ValueError("config.json: rotating a part of the head (partial_rotary_factor) is not supported")
    return {"rope_theta": theta, "rope_scaling": None if kind == "default" else {**scaling, "rope_type": kind}}


def layer_fields(data, family):
    """Which layers differ from the others."""
    layers = range(data["num_hidden_layers"])
    if family == "smollm3":
        if data.get("use_sliding_window"):
            raise ValueError("config.json: use_sliding_window is not supported for SmolLM3")
        interval = data.get("no_rope_layer_interval", 4)
        rotating = data.get("no_rope_layers") or [(i + 1) % interval for i in layers]
        return {"unrotated_layers": tuple(i for i in layers if not rotating[i])}
    if family == "gemma3":
        pattern = data.get("sliding_window_pattern", 6)
        types = data.get("layer_types") or [("sliding" if (i + 1) % pattern else "full") + "_attention" for i in layers]
        local = (data.get("rope_parameters") or {}).get("sliding_attention", {})
        if local.get("rope_type", "default") != "default" or local.get("partial_rotary_factor", 1.0) != 1.0:
            raise ValueError("config.json: scaling of sliding_attention is not supported")
        if not data.get("sliding_window"):
            return {}
        return {"local_layers": tuple(i for i in layers if types[i] == "sliding_attention"),
                "local_theta": local.get("rope_theta", data.get("rope_local_base_freq", 10000.0))}
    return {}


def score_fields(data, family):
    """What becomes of the products of queries and keys, and of the logits."""
    if family == "phi3":
        factor = longrope_factor(data)
        head_dim = data.get("head_dim") or data["hidden_size"] // data["num_attention_heads"]
        return {"score_scale": factor * factor * head_dim ** -0.5}
    if family == "gemma2":
        return {"score_scale": data.get("query_pre_attn_scalar", 256) ** -0.5,
                "score_cap": data.get("attn_logit_softcapping", 50.0),
                "logit_cap": data.get("final_logit_softcapping", 30.0)}
    if family == "gemma3":
        return {"score_scale": data.get("query_pre_attn_scalar", 256) ** -0.5,
                "score_cap": data.get("attn_logit_softcapping"), "logit_cap": data.get("final_logit_softcapping")}
    return {}


def longrope_factor(data):
    """What rotated queries and keys are multiplied by (arXiv 2402.13753)."""
    scaling = data.get("rope_parameters") or data.get("rope_scaling") or {}
    if "short_factor" not in scaling:
        return 1.0
    if scaling.get("attention_factor"):
        return scaling["attention_factor"]
    outer = data.get("original_max_position_embeddings")
    original = outer or scaling["original_max_position_embeddings"]
    ratio = data["max_position_embeddings"] / original if outer or not scaling.get("factor") else scaling["factor"]
    return 1.0 if ratio <= 1 else math.sqrt(1 + math.log(ratio) / math.log(original))


def capped(x, cap):
    """x within +-cap, smoothly; None leaves it."""
    return x if cap is None else cap * torch.tanh(x / cap)


class RmsNorm(nn.Module):
    def __init__(self, size, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps, self.offset = config.rms_norm_eps, float(config.gemma)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (self.offset + self.weight)


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


def rope_frequencies(config, layer=0):
    """Angle per position [D/2] of a layer in double precision, after the scaling of the configuration."""
    d, local = config.head_dim, layer in config.local_layers
    if layer in config.unrotated_layers:
        return torch.zeros(d // 2, dtype=torch.float64)
    theta = config.local_theta if local else config.rope_theta
    frequencies = theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    scaling = config.rope_scaling
    if scaling is None or local:
        return frequencies
    if scaling["rope_type"] == "longrope":
        return frequencies / torch.tensor(scaling["short_factor"], dtype=torch.float64)
    stretched = frequencies / scaling["factor"]
    if scaling["rope_type"] == "linear":
        return stretched
    # Llama 3: waves shorter than a part of the original context stay, long ones are stretched, those between blend.
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return stretched + kept * (frequencies - stretched)


def rope_angles(positions, config, layer=0):
    """cos and sin [..., D] of a layer for `positions` [...]; angles are formed in double precision."""
    angles = positions.double()[..., None] * rope_frequencies(config, layer).to(positions.device)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


class LayerAngles:
    """rope_angles of every layer, by layer; those of layers that rotate alike are computed once."""

    def __init__(self, positions, config):
        self.config, self.usual = config, rope_angles(positions, config, config.num_hidden_layers)
        self.own = {kind: rope_angles(positions, config, layers[0])
                    for kind in ("local_layers", "unrotated_layers") if (layers := getattr(config, kind))}

    def __getitem__(self, layer):
        kinds = [kind for kind in self.own if layer in getattr(self.config, kind)]
        return self.own[kinds[0]] if kinds else self.usual


def rotate(x, angles):
    """RoPE over halves of the head dimension: x [..., T, D]."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class ExactAttention:
    """Plain causal attention over one whole sequence that starts at position 0."""

    def __init__(self, config, tokens, device=None):
        self.config = config
        self.angles = LayerAngles(torch.arange(tokens, device=device), config)
        self.mask = torch.full((tokens, tokens), float("-inf"), device=device).triu(1)

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]."""
        q, k = rotate(q, self.angles[layer]), rotate(k, self.angles[layer])
        return (self.config.scores(q @ k.transpose(-1, -2)) + self.mask).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c, d, bias = config.hidden_size, config.head_dim, config.qkv_bias
        self.config, self.layer = config, layer
        self.rows = [heads * d for heads in (config.num_attention_heads, *2 * (config.num_key_value_heads,))]
        if config.fused:
            self.qkv_proj = Linear(c, sum(self.rows))
        else:
            self.q_proj, self.k_proj, self.v_proj = (Linear(c, rows, bias) for rows in self.rows)
        self.o_proj = Linear(config.num_attention_heads * d, c)
        if config.qk_norm:
            self.q_norm = RmsNorm(d, config)
            self.k_norm = RmsNorm(d, config)

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
        if self.config.fused:
            projected = self.qkv_proj(h).split(self.rows, dim=-1)
        else:
            projected = self.q_proj(h), self.k_proj(h), self.v_proj(h)
        q, k, v = map(self.split, projected)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        return self.output(attend(self.layer, h, q, k, v))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        c, f = config.hidden_size, config.intermediate_size
        self.config = config
        if config.fused:
            self.gate_up_proj = Linear(c, 2 * f)
        else:
            self.gate_proj, self.up_proj = Linear(c, f), Linear(c, f)
        self.down_proj = Linear(f, c)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1) if self.config.fused else (self.gate_proj(x), self.up_proj(x))
        gate = functional.gelu(gate, approximate="tanh") if self.config.gemma else functional.silu(gate)
        return self.down_proj(gate * up)


class Layer(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config)
        self.mlp = Mlp(config)
        self.gemma = config.gemma
        if config.gemma:
            self.pre_feedforward_layernorm = RmsNorm(config.hidden_size, config)
            self.post_feedforward_layernorm = RmsNorm(config.hidden_size, config)

    def forward(self, x, attend):
        attended = self.self_attn(self.input_layernorm(x), attend)
        if not self.gemma:
            x = x + attended
            return x + self.mlp(self.post_attention_layernorm(x))
        x = x + self.post_attention_layernorm(attended)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config)


class CausalModel(nn.Module):
    """Logits [B, T, V] of token ids [B, T]. Weights have no start value; `load` reads them."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size)
        self.stored = {}  # {name: StoredTensor} as read by `load`
        self.names = {}   # what `stored` calls a parameter, where it calls it otherwise

    def head(self):
        """The output matrix [V, C]."""
        return (self.lm_head or self.model.embed_tokens).weight

    def logits(self, hidden):
        """[..., C], the output of the last layer -> [..., V]."""
        return capped(functional.linear(hidden, self.head()), self.config.logit_cap)

    def hidden(self, ids, attend=None):
        """The normalised output of the last layer, [B, T, C]."""
        attend = attend or ExactAttention(self.config, ids.shape[1], ids.device)
        x = self.model.embed_tokens(ids)
        x = x * math.sqrt(self.config.hidden_size) if self.config.gemma else x
        for layer in self.model.layers:
            x = layer(x, attend)
        return self.model.norm(x)

    def forward(self, ids, attend=None):
        return self.logits(self.hidden(ids, attend))

    def tensors(self):
        """{name: float32 array} as stored in model.safetensors."""
        return {self.names.get(name, name): p.detach().cpu().numpy() for name, p in self.named_parameters()}

    def fingerprint(self):
        """Of the parameters as they are now, in the types of the checkpoint; what it holds besides counts as it is."""
        tensors = dict(self.stored)
        for name, data in self.tensors().items():
            dtype = self.stored[name].dtype if name in self.stored else "F32"
            tensors[name] = safetensors_io.StoredTensor.of(data, dtype)
        return safetensors_io.fingerprint(tensors)

    def norms_fingerprint(self):
        """Of the norms as they are computed with: equal for files of this model in other formats, which keep norms.

        None if all their numbers are the same: norms that were never trained tell no model from another.
        """
        norms = [(m.offset + m.weight).detach().cpu().numpy() for m in self.modules() if isinstance(m, RmsNorm)]
        if all((norm == norms[0][0]).all() for norm in norms):
            return None
        return safetensors_io.fingerprint_of_numbers(norms)

    def base_keys(self):
        """What memory.json says of the model that a module was trained on."""
        norms = self.norms_fingerprint()
        return {"base_fingerprint": self.fingerprint(), **({"base_norms": norms} if norms else {})}

    def save(self, path):
        safetensors_io.save(path, self.tensors(), {"format": "pt"})

    @classmethod
    @torch.no_grad()
    def load(cls, folder, device="cpu"):
        """Reads config.json and the checkpoint of `folder`; ValueError names a tensor that is missing or misshapen."""
        model = cls(Config.load(f"{folder}/config.json"))
        model.stored = safetensors_io.read_folder(folder)
        for own_name, parameter in model.named_parameters():
            name = model.names[own_name] = stored_name(own_name, model.stored)
            if name not in model.stored or model.stored[name].shape != tuple(parameter.shape):
                raise ValueError(f"{folder}: tensor {name} {list(parameter.shape)} is missing or of another shape")
            parameter.copy_(torch.from_numpy(model.stored[name].float32()))
        return model.eval().to(device)


def stored_name(name, stored):
    """What a checkpoint calls a parameter: models that also read images have their language model under a prefix."""
    for candidate in (f"language_model.{name}", name.replace("model.", "model.language_model.", 1)):
        if candidate in stored:
            return candidate
    return name
