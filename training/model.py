"""The base: a decoder in the stock Llama layout, with tensor names as in a Hugging Face checkpoint.

Shapes: B batch, T tokens, C model dim, H query heads, G KV heads, D head dim, F ffn dim, V vocabulary.
Attention is a strategy, `attend(layer, h, q, k, v)`, so that exact, gated and streaming attention share all the rest.
"""

import json
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.nn import functional

from training import safetensors_io


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

    def save(self, path, end_of_text_id, eos_ids):
        from training.tokenizer import write_json

        write_json(path, {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(self), "hidden_act": "silu",
            "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "tie_word_embeddings": True,
            "rope_scaling": None, "initializer_range": 0.02, "pretraining_tp": 1, "use_cache": True,
            "torch_dtype": "float32", "bos_token_id": None, "eos_token_id": eos_ids, "pad_token_id": end_of_text_id})

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rope_angles(positions, head_dim, theta):
    """cos and sin [T, D] for `positions` [T]; angles are formed in double precision."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = positions.double()[:, None] * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, angles):
    """RoPE over halves of the head dimension: x [..., T, D]."""
    cos, sin = angles
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class ExactAttention:
    """Plain causal attention over one whole sequence that starts at position 0."""

    def __init__(self, config, tokens):
        self.angles = rope_angles(torch.arange(tokens), config.head_dim, config.rope_theta)
        self.mask = torch.full((tokens, tokens), float("-inf")).triu(1)

    def __call__(self, layer, h, q, k, v):
        """q [B, G, H/G, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, H/G, T, D]."""
        q, k = rotate(q, self.angles), rotate(k, self.angles)
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self.mask
        return logits.softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, config, layer):
        super().__init__()
        c, d = config.hidden_size, config.head_dim
        self.config, self.layer = config, layer
        self.q_proj = nn.Linear(c, config.num_attention_heads * d, bias=False)
        self.k_proj = nn.Linear(c, config.num_key_value_heads * d, bias=False)
        self.v_proj = nn.Linear(c, config.num_key_value_heads * d, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * d, c, bias=False)

    def forward(self, h, attend):
        """h [B, T, C], the normalised layer input. Query head h reads KV head h // (H/G)."""
        batch, tokens, _ = h.shape
        groups, d = self.config.num_key_value_heads, self.config.head_dim
        split = lambda x: x.view(batch, tokens, groups, -1, d).permute(0, 2, 3, 1, 4)
        out = attend(self.layer, h, split(self.q_proj(h)), split(self.k_proj(h)), split(self.v_proj(h)))
        return self.o_proj(out.permute(0, 3, 1, 2, 4).reshape(batch, tokens, -1))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

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
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """Logits [B, T, V] of token ids [B, T]; the output matrix is the embedding."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        deep = 0.1 * (2 * config.num_hidden_layers) ** -0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 0.05 if "embed" in name else p.shape[1] ** -0.5
                nn.init.normal_(p, std=scale * (deep if "o_proj" in name or "down_proj" in name else 1.0))

    @torch.no_grad()
    def start_local(self, sharpness=0.56, frequencies=8):
        """Starts the heads of the first two layers as looking 1, 2, 3, ... tokens back.

        Finding a note by a key of several tokens needs the key's tokens carried to the value; started like this, that
        half of the induction circuit is there from the first step. The embeddings get a common component m, and
        W_q m, W_k m point along the highest RoPE frequencies, the query turned back by the head's offset.
        """
        config, d = self.config, self.config.head_dim
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        mean = functional.normalize(torch.randn(config.hidden_size), dim=0)
        embedding = self.model.embed_tokens.weight
        embedding += mean * embedding.norm(dim=1).mean()
        along = torch.zeros(d)
        along[:frequencies] = sharpness
        for i, layer in enumerate(self.model.layers[:2]):
            q, k = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            q *= 0.3
            k *= 0.3
            k += torch.outer(along.repeat(groups), mean)
            for head in range(heads):
                back = torch.tensor([-(1 + heads * i + head)])
                turned = rotate(along[None], rope_angles(back, d, config.rope_theta))[0]
                q[head * d : (head + 1) * d] += torch.outer(turned, mean)

    def forward(self, ids, attend=None):
        attend = attend or ExactAttention(self.config, ids.shape[1])
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, attend)
        return self.model.norm(x) @ self.model.embed_tokens.weight.t()

    def tensors(self):
        """{name: float32 array} as stored in model.safetensors."""
        return {name: p.detach().numpy() for name, p in self.named_parameters()}

    def save(self, path):
        safetensors_io.save(path, self.tensors(), {"format": "pt"})

    @classmethod
    def load(cls, folder):
        """Reads config.json and model.safetensors of `folder`."""
        model = cls(Config.load(f"{folder}/config.json"))
        tensors = safetensors_io.load(f"{folder}/model.safetensors")
        model.load_state_dict({name: torch.from_numpy(data) for name, data in tensors.items()})
        return model.eval()
