"""Writes the golden models and logits beside this file. Needs PyTorch, nothing of memgate.

    python3 tests/golden/make_goldens.py

Each folder holds a Hugging Face model of random weights (config.json, model.safetensors), or a memory module for
one of these models (memory.json, memory.safetensors), or an AHN module in its published layout (config.json,
model.safetensors), and what must come out: golden.json and golden.safetensors.

golden.json: "ids", the tokens [T]; "positions", which of them the rows of "logits" [N, V] belong to (absent: all); of a
module also "base", the model's folder, and "shape", the session's; "kind" of a memory that needs no module.

All arithmetic is in double precision over the whole sequence at once; nothing here streams. check_goldens.py computes
the same by streaming.
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
    prefix, config = text_part(config)
    c, d, f = config["hidden_size"], config["head_dim"], config["intermediate_size"]
    h, g, v = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    kind = config["model_type"]
    gemma = kind.startswith("gemma")
    tensors = {}

    def add(name, *shape, mean=0.0, std=None):
        std = std if std is not None else shape[-1] ** -0.5
        tensors[prefix + name] = (mean + std * torch.randn(*shape, generator=generator)).to(dtype)

    def add_norm(name, size, std=0.2):
        add(name + ".weight", size, mean=0.0 if gemma else 1.0, std=std)

    add("model.embed_tokens.weight", v, c, std=0.7)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        add_norm(layer + "input_layernorm", c)
        fused = (("qkv", (h + 2 * g) * d),)
        for name, size in fused if kind == "phi3" else (("q", h * d), ("k", g * d), ("v", g * d)):
            add(f"{layer}self_attn.{name}_proj.weight", size, c, std=1.5 * c ** -0.5)
            if kind == "qwen2":
                add(f"{layer}self_attn.{name}_proj.bias", size, std=0.5)
        if kind in ("qwen3", "gemma3_text"):
            add_norm(layer + "self_attn.q_norm", d, std=0.3)
            add_norm(layer + "self_attn.k_norm", d, std=0.3)
        add(layer + "self_attn.o_proj.weight", c, h * d)
        add_norm(layer + "post_attention_layernorm", c)
        if gemma:
            add_norm(layer + "pre_feedforward_layernorm", c)
            add_norm(layer + "post_feedforward_layernorm", c)
        for name, size in (("gate_up", 2 * f),) if kind == "phi3" else (("gate", f), ("up", f)):
            add(f"{layer}mlp.{name}_proj.weight", size, c)
        add(layer + "mlp.down_proj.weight", c, f)
    add_norm("model.norm", c)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", v, c)
    return tensors


def text_part(config):
    """Prefix of the tensors' names and config of the language model."""
    return ("language_model.", config["text_config"]) if "text_config" in config else ("", config)


def window_of(config, layer):
    """How many tokens a query of the layer sees, its own included; None: all."""
    kind, window = config["model_type"], config.get("sliding_window")
    if kind == "gemma2":
        return window if layer % 2 == 0 else None
    if kind == "gemma3_text":
        return window if (layer + 1) % config["sliding_window_pattern"] else None
    return window if kind in ("phi3", "mistral") else None


def rotation_of(config, layer, tokens):
    """Frequencies of the layer, and what rotated queries and keys are multiplied by."""
    if "no_rope_layers" in config and not config["no_rope_layers"][layer]:
        return torch.zeros(config["head_dim"] // 2, dtype=torch.float64), 1.0
    if config["model_type"] == "gemma3_text" and window_of(config, layer):
        return frequencies({**config, "rope_theta": config["rope_local_base_freq"], "rope_scaling": None}), 1.0
    scaling = config["rope_scaling"]
    if scaling is None or "long_factor" not in scaling:
        return frequencies(config), 1.0
    original = config["original_max_position_embeddings"]
    factors = torch.tensor(scaling["long_factor" if tokens > original else "short_factor"], dtype=torch.float64)
    stretch = math.sqrt(1 + math.log(config["max_position_embeddings"] / original, original))
    return frequencies({**config, "rope_scaling": None}) / factors, stretch


def frequencies(config):
    d = int(config["head_dim"] * config.get("partial_rotary_factor", 1.0))
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


def rotate(x, positions, freq, stretch=1.0):
    """x [..., T, D] at `positions` [T]; the two halves of a head are the real and imaginary parts.

    With fewer than D / 2 frequencies, only so many pairs at the start of a head are turned and stretched.
    """
    half = len(freq)
    turned = torch.complex(x[..., :half], x[..., half:2 * half]) * torch.exp(1j * positions[:, None] * freq)
    return torch.cat((stretch * turned.real, stretch * turned.imag, x[..., 2 * half:]), dim=-1)


def rms_norm(x, weight, eps):
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def soft_cap(x, cap):
    return x if cap is None else cap * torch.tanh(x / cap)


def plain_attention(config, layer, q, k, v):
    """[H, T, D] of causal attention over all tokens, or over the layer's window of them."""
    tokens = q.shape[1]
    positions = torch.arange(tokens, dtype=torch.float64)
    freq, stretch = rotation_of(config, layer, tokens)
    turned = [rotate(x, positions, freq, stretch) for x in (q, k)]
    scores = turned[0] @ turned[1].transpose(1, 2) / math.sqrt(config.get("query_pre_attn_scalar", q.shape[-1]))
    scores = soft_cap(scores, config.get("attn_logit_softcapping"))
    distance = positions[:, None] - positions
    unseen = (distance < 0) | (distance >= (window_of(config, layer) or tokens))
    return scores.masked_fill(unseen, -math.inf).softmax(-1) @ v


def logits_of(config, tensors, ids, memory=None):
    """[T, V]; `memory(layer, h, q, k, v, freq)` replaces plain causal attention."""
    prefix, config = text_part(config)
    gemma = config["model_type"].startswith("gemma")
    w = {name.removeprefix(prefix): t.double() for name, t in tensors.items()}
    if gemma:
        w = {name: 1 + t if "norm" in name else t for name, t in w.items()}
    d, eps = config["head_dim"], config["rms_norm_eps"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    activation = (lambda x: torch.nn.functional.gelu(x, approximate="tanh")) if gemma else torch.nn.functional.silu
    x = w["model.embed_tokens.weight"][ids]
    x = x * math.sqrt(config["hidden_size"]) if gemma else x
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        norm = lambda x, name: rms_norm(x, w[f"{layer}{name}.weight"], eps)
        project = lambda x, name: x @ w[f"{layer}{name}_proj.weight"].T + w.get(f"{layer}{name}_proj.bias", 0.0)
        h = norm(x, "input_layernorm")
        if f"{layer}self_attn.qkv_proj.weight" in w:
            qkv = project(h, "self_attn.qkv").split((heads * d, groups * d, groups * d), dim=-1)
        else:
            qkv = [project(h, f"self_attn.{name}") for name in "qkv"]
        q, k, v = (part.view(len(ids), -1, d).transpose(0, 1) for part in qkv)  # [H or G, T, D]
        if f"{layer}self_attn.q_norm.weight" in w:
            q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
        k, v = (part.repeat_interleave(heads // groups, dim=0) for part in (k, v))
        attended = plain_attention(config, i, q, k, v) if memory is None else memory(i, h, q, k, v, frequencies(config))
        out = project(attended.transpose(0, 1).reshape(len(ids), -1), "self_attn.o")
        x = x + (norm(out, "post_attention_layernorm") if gemma else out)
        h = norm(x, "pre_feedforward_layernorm" if gemma else "post_attention_layernorm")
        if f"{layer}mlp.gate_up_proj.weight" in w:
            gate, up = project(h, "mlp.gate_up").chunk(2, dim=-1)
        else:
            gate, up = project(h, "mlp.gate"), project(h, "mlp.up")
        out = project(activation(gate) * up, "mlp.down")
        x = x + (norm(out, "post_feedforward_layernorm") if gemma else out)
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    logits = rms_norm(x, w["model.norm.weight"], eps) @ w[head].T
    return soft_cap(logits, config.get("final_logit_softcapping"))


def folded_tokens(shape, tokens):
    """[T]: how many tokens have been folded when the token at position t is processed."""
    s, w, p, _ = shape
    return (torch.arange(tokens) - s - w).clamp(min=0).div(p, rounding_mode="floor") * p


def local_attention(q, k, v, freq, shape, salient=None, clamped=True):
    """[H, T, D]: one softmax of each query over the tokens that its session holds exactly.

    q, k, v [H, T, D], not rotated. salient [H, T, T]: token j sits in a slot when query t reads. clamped: once tokens
    were folded, sinks and slots are seen at distance W + P instead of their true one.
    """
    s, w, p, _ = shape
    tokens, d = q.shape[1:]
    folded = folded_tokens(shape, tokens)[:, None]
    j, t = torch.arange(tokens), torch.arange(tokens)[:, None]
    near = (j <= t) & ((folded == 0) | (j >= s + folded) | ((j < s) & (not clamped)))
    far = (folded > 0) & (j < s) & clamped
    far = far if salient is None else far | salient
    at = t[:, 0].double()
    scores = rotate(q, at, freq) @ rotate(k, at, freq).transpose(1, 2)
    far_scores = rotate(q, torch.full_like(at, w + p), freq) @ k.transpose(1, 2)
    scores = torch.where(far, far_scores, scores.masked_fill(~near, -math.inf))
    return (scores / math.sqrt(d)).softmax(-1) @ v


def retained(scores, shape):
    """Which of the folded tokens hold a slot: the E of highest score [H, T], the older one where two are equal.

    Returns salient [H, T, T] (token j sits in a slot when query t reads) and lost [H, N], the positions of all others:
    by the fold that took them out, then by position.
    """
    s, _, p, e = shape
    heads, tokens = scores.shape
    folded = folded_tokens(shape, tokens)
    last = int(folded[-1])
    salient = torch.zeros(heads, tokens, tokens, dtype=torch.bool)
    lost_by = torch.full((heads, tokens), tokens)
    for count in range(last, 0, -p):  # backwards: the first fold that does without a token stands
        ranked = scores[:, s : s + count].sort(descending=True, stable=True).indices + s
        stay = torch.zeros(heads, tokens, dtype=torch.bool).scatter_(1, ranked[:, :e], True)
        salient[:, folded == count] = stay[:, None]
        lost_by.scatter_(1, ranked[:, e:], count)
    order = (lost_by * tokens + torch.arange(tokens)).argsort(-1)
    return salient, order[:, : max(0, last - e)]


def gated_delta(queries, keys, values, strength, log_decay, written):
    """[H, T, D]: q^T M of each query, M written by M <- exp(log_decay) M, M <- M + k (strength (v - k^T M))^T.

    Without that recurrence: what each write adds solves a triangular system, and a read is linear attention over it
    (arXiv 2412.06464, section 3). queries [H, T, K], keys [H, N, K], values [H, N, D], strength and log_decay [H, N],
    written [T]: how many of the N writes a query sees.
    """
    count = keys.shape[1]
    since = log_decay.cumsum(-1)
    earlier = torch.ones(count, count, dtype=torch.bool).tril(-1)
    decay = (since[:, :, None] - since[:, None]).masked_fill(~earlier, -math.inf).exp()
    system = torch.eye(count, dtype=torch.float64) + strength[..., None] * decay * (keys @ keys.transpose(1, 2))
    added = torch.linalg.solve_triangular(system, strength[..., None] * values, upper=False)
    seen = torch.arange(count) < written[:, None]
    now = since[:, (written - 1).clamp(min=0)]
    decay = (now[:, :, None] - since[:, None]).masked_fill(~seen, -math.inf).exp()
    return (decay * (queries @ keys.transpose(1, 2))) @ added


def self_recall_slots(phi, v, shape):
    """[T, T]: token j sits in a slot when query t reads, of one head.

    A token's score is |v - M^T phi|^2 when its segment is folded, M written at a tenth of full strength by all tokens
    that earlier folds left without a slot. phi [T, K] and v [T, D] of the keys.
    """
    s, _, p, e = shape
    folded = folded_tokens(shape, len(v))
    salient = torch.zeros(len(v), len(v), dtype=torch.bool)
    slots, lost, score = [], [], {}
    for first in range(s, s + int(folded[-1]), p):
        segment = list(range(first, first + p))
        error = v[segment]
        if lost:
            rate = torch.full((1, len(lost)), WRITE_STRENGTH, dtype=torch.float64)
            seen = torch.full((p,), len(lost))
            error = error - gated_delta(phi[None, segment], phi[None, lost], v[None, lost], rate, 0 * rate, seen)[0]
        score.update(zip(segment, error.pow(2).sum(-1).tolist()))
        ranked = sorted(slots + segment, key=lambda j: (-score[j], j))
        slots, lost = ranked[:e], lost + sorted(ranked[e:])
        salient[(folded == first - s + p).nonzero(), torch.tensor(slots)] = True
    return salient


def linear_memory(queries, keys, values, written):
    """[H, T, D]: phi(q) M / (phi(q) z + eps), M and z sums over the first `written` [T] of N keys; phi is applied."""
    weight = (queries @ keys.transpose(1, 2)) * (torch.arange(keys.shape[1]) < written[:, None])
    return weight @ values / (weight.sum(-1, keepdim=True) + EPSILON)


def delta_memory(queries, keys, values, folded, segment):
    """[H, T, D]: as `linear_memory`, M written by the delta rule, a segment at once (arXiv 2404.07143, equation 5)."""
    heads, tokens, k = queries.shape
    matrix = torch.zeros(heads, k, values.shape[-1], dtype=torch.float64)
    z = torch.zeros(heads, k, 1, dtype=torch.float64)
    read = lambda a: (a @ matrix) / (a @ z + EPSILON)
    out = torch.zeros(heads, tokens, values.shape[-1], dtype=torch.float64)
    for end in range(segment, int(folded[-1]) + 1, segment):
        a = keys[:, end - segment : end]
        matrix = matrix + a.transpose(1, 2) @ (values[:, end - segment : end] - read(a))
        z = z + a.sum(1)[..., None]
        now = folded == end
        out[:, now] = read(queries[:, now])
    return out


class BoundedAttention:
    """Attention of a session of fixed size, worked out for all queries at once from the whole history."""

    def __init__(self, kind, shape, tensors, normaliser="sum"):
        self.kind, self.shape, self.tensors, self.normaliser = kind, shape, tensors, normaliser

    def __call__(self, layer, h, q, k, v, freq):
        mark = f"layers.{layer}."
        w = {name.split(mark)[1]: t.double() for name, t in self.tensors.items() if mark in name}
        combine = {"memgate": self.memgate, "infini": self.infini, "infini-delta": self.infini,
                   "edgeinfinite": self.edgeinfinite, "GatedDeltaNet": self.ahn, "DeltaNet": self.ahn,
                   "memgate-untrained": self.self_recall}[self.kind]
        return combine(w, h, q, k, v, freq)

    def folded_part(self, x):
        """x [H, T, ...] of all tokens that are ever folded."""
        s = self.shape[0]
        return x[:, s : s + int(folded_tokens(self.shape, x.shape[1])[-1])]

    def memgate(self, w, h, q, k, v, freq):
        per_head = lambda x: x.repeat_interleave(q.shape[0] // x.shape[0], dim=0)
        scores = h @ w["retention.weight"].T + w["retention.bias"]
        salient, lost = retained(per_head(scores.T), self.shape)
        local = local_attention(q, k, v, freq, self.shape, salient)
        if "matrix.gain" not in w:
            return local

        def features(x, side):
            u = per_head(w[f"matrix.{side}_scale"])[:, None] * x + per_head(w[f"matrix.{side}_shift"])[:, None]
            c = torch.cat((u.relu(), (-u).relu()), dim=-1)
            return c / c.norm(dim=-1, keepdim=True).clamp(min=1e-6)

        taken = lambda x: x.gather(1, lost[..., None].expand(-1, -1, x.shape[-1]))
        strength = torch.sigmoid(h @ w["matrix.write_weight"].T + w["matrix.write_bias"]).T
        log_decay = -w["matrix.decay"].exp()[:, None] * strength
        written = (folded_tokens(self.shape, len(h)) - self.shape[3]).clamp(min=0)
        recalled = gated_delta(features(q, "query"), taken(features(k, "key")), taken(v),
                               per_head(strength).gather(1, lost), per_head(log_decay).gather(1, lost), written)
        return local + w["matrix.gain"][:, None, None] * recalled

    def self_recall(self, w, h, q, k, v, freq):
        """Slots for what a matrix of everything that found none predicts worst; nothing else is read."""
        both_signs = lambda x: torch.cat((x.relu(), (-x).relu()), dim=-1)
        phi = both_signs(k) / both_signs(k).norm(dim=-1, keepdim=True).clamp(min=1e-6)
        per_head = [self_recall_slots(phi[head], v[head], self.shape) for head in range(len(k))]
        return local_attention(q, k, v, freq, self.shape, torch.stack(per_head))

    def infini(self, w, h, q, k, v, freq):
        def features(x, side):
            if f"infini.{side}_scale" in w:
                scale, shift = w[f"infini.{side}_scale"], w[f"infini.{side}_shift"]
                repeat = q.shape[0] // scale.shape[0]
                x = x.repeat(1, 1, scale.shape[1] // x.shape[2])
                x = x * scale.repeat_interleave(repeat, 0)[:, None] + shift.repeat_interleave(repeat, 0)[:, None]
            phi = torch.nn.functional.elu(x) + 1
            return phi / phi.norm(dim=-1, keepdim=True).clamp(min=1e-6) if self.normaliser == "length" else phi

        folded = folded_tokens(self.shape, len(h))
        queries, keys, values = features(q, "query"), self.folded_part(features(k, "key")), self.folded_part(v)
        if self.kind == "infini":
            recalled = linear_memory(queries, keys, values, folded)
        elif self.normaliser == "length":
            steady = torch.zeros(keys.shape[:2], dtype=torch.float64)
            recalled = gated_delta(queries, keys, values, steady + 1, steady, folded)
        else:
            recalled = delta_memory(queries, keys, values, folded, self.shape[2])
        gate = torch.sigmoid(w["infini.beta"])[:, None, None] * (folded > 0)[:, None]
        return gate * recalled + (1 - gate) * local_attention(q, k, v, freq, self.shape)

    def edgeinfinite(self, w, h, q, k, v, freq):
        """arXiv 2503.22196: linear memory over rotated queries and keys, a gated MLP per head behind it."""
        phi = lambda x: torch.nn.functional.elu(rotate(x, torch.arange(len(h)).double(), freq)) + 1
        recalled = linear_memory(phi(q), self.folded_part(phi(k)), self.folded_part(v),
                                 folded_tokens(self.shape, len(h)))
        inner = (recalled @ w["edgeinfinite.w1"].transpose(1, 2)).relu()
        gate = torch.sigmoid(w["edgeinfinite.gate"])[:, None, None]
        return local_attention(q, k, v, freq, self.shape) + gate * (inner @ w["edgeinfinite.w2"].transpose(1, 2))

    def ahn(self, w, h, q, k, v, freq):
        """arXiv 2510.07318: everything at its true position; W + P is the published sliding window."""
        d = q.shape[-1]
        folded = folded_tokens(self.shape, len(h))
        turn = lambda x: rotate(x, torch.arange(len(h)).double(), freq)
        unit = lambda x: x / (x.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt()
        per_head = lambda name: (h @ w[f"ahn.fn.{name}_proj.weight"].T).T  # [H, T]
        strength = torch.sigmoid(per_head("b"))
        log_decay = torch.zeros_like(strength)
        if self.kind == "GatedDeltaNet":
            step = torch.nn.functional.softplus(per_head("a") + w["ahn.fn.dt_bias"][:, None])
            log_decay = -w["ahn.fn.A_log"].exp()[:, None] * step
        asked = q @ w["ahn.fn.q_proj.weight"] if "ahn.fn.q_proj.weight" in w else q
        read = gated_delta(unit(turn(asked)) / math.sqrt(d), self.folded_part(unit(turn(k))), self.folded_part(v),
                           self.folded_part(strength), self.folded_part(log_decay), folded)
        gate = per_head("g")[..., None]
        y = rms_norm(read, w["ahn.fn.o_norm.weight"], AHN_NORM_EPSILON) * gate * torch.sigmoid(gate)
        y = y @ w["ahn.fn.o_proj.weight"]
        if "ahn_router.alpha" in w:
            filled = (folded.clamp(min=1).double() / (self.shape[1] + self.shape[2])).log()
            y = y * torch.sigmoid(w["ahn_router.alpha"][:, None] * filled + w["ahn_router.beta"][:, None])[..., None]
        return local_attention(q, k, v, freq, self.shape, clamped=False) + y


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
    # 48 tokens, within and beyond the context that it was trained for first; the second also has a window.
    "phi3": (base_config("Phi3ForCausalLM", "phi3", num_key_value_heads=2, sliding_window=None,
                         original_max_position_embeddings=64,
                         rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.3],
                                       "long_factor": [1.5, 4.0, 9.0]}), torch.bfloat16),
    "phi3_long": (base_config("Phi3ForCausalLM", "phi3", num_key_value_heads=2, sliding_window=20,
                              original_max_position_embeddings=32,
                              rope_scaling={"type": "su", "short_factor": [1.0, 1.1, 1.3],
                                            "long_factor": [1.5, 4.0, 9.0]}), torch.bfloat16),
    "smollm3": (base_config("SmolLM3ForCausalLM", "smollm3", num_hidden_layers=3, num_key_value_heads=2,
                            no_rope_layers=[1, 0, 1], no_rope_layer_interval=2, sliding_window=None,
                            use_sliding_window=False, tie_word_embeddings=True), torch.bfloat16),
    "gemma2": (base_config("Gemma2ForCausalLM", "gemma2", num_hidden_layers=3, num_key_value_heads=2, head_dim=8,
                           sliding_window=16, query_pre_attn_scalar=10, attn_logit_softcapping=2.0,
                           final_logit_softcapping=3.0, hidden_activation="gelu_pytorch_tanh",
                           tie_word_embeddings=True), torch.bfloat16),
    "gemma3": ({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                "text_config": base_config("Gemma3TextModel", "gemma3_text", num_hidden_layers=4, num_key_value_heads=1,
                                           head_dim=8, sliding_window=12, sliding_window_pattern=3,
                                           query_pre_attn_scalar=10, rope_theta=5e4, rope_local_base_freq=100.0,
                                           rope_scaling={"rope_type": "linear", "factor": 4.0},
                                           hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True)},
               torch.bfloat16),
    # Three of five pairs of each head are rotated.
    "phi3_partial": (base_config("Phi3ForCausalLM", "phi3", num_key_value_heads=2, head_dim=10, sliding_window=None,
                                 partial_rotary_factor=0.6, original_max_position_embeddings=32,
                                 rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1, 1.3],
                                               "long_factor": [1.5, 4.0, 9.0]}), torch.bfloat16),
}
# name: kind, shape (sinks, window, segment, salient), tokens, seed, what else its tensors and memory.json have.
MODULES = {
    "memgate": ("memgate", (2, 10, 5, 4), 97, 200, {}),
    "infini": ("infini", (2, 10, 5, 0), 97, 201, {}),
    "infini_delta": ("infini-delta", (2, 10, 5, 0), 97, 202, {}),
    "memgate_matrix": ("memgate", (3, 20, 7, 9), 400, 203, {"matrix": True}),
    "memgate_no_slots": ("memgate", (2, 12, 5, 0), 400, 204, {"matrix": True}),
    "infini_scaled": ("infini-delta", (2, 16, 4, 0), 400, 205, {"scales": 1}),
    "infini_length": ("infini-delta", (2, 16, 5, 0), 400, 206, {"scales": 2, "normaliser": "length"}),
    "edgeinfinite": ("edgeinfinite", (4, 24, 8, 0), 400, 207, {"inner": 5}),
}
MODULE_BASE = "llama3"
# name: kind, shape, tokens, seed. They need no tensors.
UNTRAINED = {"self_recall": ("memgate-untrained", (3, 20, 7, 9), 400, 208)}
WRITE_STRENGTH = 0.1  # of the matrix that predicts values
# name: implementation, sinks, sliding window, segment, seed, router and q_proj.
AHN_MODULES = {
    "ahn_gdn": ("GatedDeltaNet", 3, 24, 1, 300, False),
    "ahn_deltanet": ("DeltaNet", 3, 24, 1, 301, False),
    "ahn_gdn_router": ("GatedDeltaNet", 2, 20, 1, 302, True),
    "ahn_gdn_segments": ("GatedDeltaNet", 3, 24, 5, 303, False),
}
AHN_BASE = "qwen2"
AHN_TOKENS = 400
AHN_NORM_EPSILON = 1e-5  # of the published module's own output norm, whatever the base's is
EPSILON = 1e-6           # under the linear memories' quotients


def module_tensors(kind, config, generator, matrix=False, scales=0, inner=0):
    c, d = config["hidden_size"], config["head_dim"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    tensors = {}

    def add(name, *shape, mean=0.0, std=1.0):
        tensors[name] = mean + std * torch.randn(*shape, generator=generator)

    def add_scales(prefix, expansion=1):
        signs = torch.tensor([1.0, -1.0])[:expansion].repeat_interleave(d)
        for side, count in (("key", groups), ("query", heads)):
            add(f"{prefix}.{side}_scale", count, len(signs), mean=signs, std=0.3)
            add(f"{prefix}.{side}_shift", count, len(signs), std=0.5)

    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}."
        if kind == "memgate":
            add(layer + "retention.weight", groups, c)
            add(layer + "retention.bias", groups)
        if matrix:
            add(layer + "matrix.write_weight", groups, c, std=1.5 * c ** -0.5)
            add(layer + "matrix.write_bias", groups, std=0.5)
            add(layer + "matrix.decay", groups, mean=-3.0)  # a full write keeps 0.95 of the rest, 0.87 to 0.98
            add(layer + "matrix.gain", heads)
            add_scales(layer + "matrix")
        if kind.startswith("infini"):
            add(layer + "infini.beta", heads)
        if scales:
            add_scales(layer + "infini", scales)
        if kind == "edgeinfinite":
            add(layer + "edgeinfinite.w1", heads, inner, d, std=1.5 * d ** -0.5)
            add(layer + "edgeinfinite.w2", heads, d, inner, std=1.5 * inner ** -0.5)
            add(layer + "edgeinfinite.gate", heads)
    return tensors


def ahn_tensors(kind, config, generator, router_and_q_proj):
    """In the published layout; time constants are drawn as published modules start, between 1 and some 1,000 tokens."""
    c, d, heads = config["hidden_size"], config["head_dim"], config["num_attention_heads"]
    tensors = {}

    def add(name, *shape, mean=0.0, std=1.0):
        tensors[name] = (mean + std * torch.randn(*shape, generator=generator)).bfloat16()

    for i in range(config["num_hidden_layers"]):
        fn = f"model.layers.{i}.ahn.fn."
        for name in "bg":
            add(f"{fn}{name}_proj.weight", heads, c, std=1.5 * c ** -0.5)
        add(fn + "o_norm.weight", d, mean=1.0, std=0.2)
        add(fn + "o_proj.weight", heads, d, d, std=1.5 * d ** -0.5)
        if kind == "GatedDeltaNet":
            add(fn + "a_proj.weight", heads, c, std=c ** -0.5)
            add(fn + "A_log", heads, mean=1.0)
            add(fn + "dt_bias", heads, mean=-4.0)
            add(fn + "D", heads)
        if router_and_q_proj:
            add(fn + "q_proj.weight", heads, d, d, std=d ** -0.5)
            add(f"model.layers.{i}.ahn_router.alpha", heads)
            add(f"model.layers.{i}.ahn_router.beta", heads)
    return tensors


def shape_keys(shape):
    return dict(zip(("sink_tokens", "window_tokens", "segment_tokens", "salient_tokens"), shape))


def random_ids(config, tokens, generator):
    return torch.randint(0, config["vocab_size"], (tokens,), generator=generator).tolist()


def write_golden(folder, ids, logits, **facts):
    write_json(f"{folder}/golden.json", {"ids": ids, **facts}, indent=None)
    save(f"{folder}/golden.safetensors", {"logits": logits.float()})


def write_module_golden(folder, base, shape, ids, logits, **facts):
    """Of a long run: every position up to the second fold, then every third. No segment is a multiple of three."""
    facts.update(base=base, shape=shape_keys(shape))
    if len(ids) > 100:
        dense = shape[0] + shape[1] + 2 * shape[2]
        facts["positions"] = [t for t in range(len(ids)) if t < dense or (len(ids) - 1 - t) % 3 == 0]
        logits = logits[facts["positions"]]
    write_golden(folder, ids, logits, **facts)


def make_module(name, config):
    """Tensors, tokens and attention of one of MODULES."""
    kind, shape, tokens, seed, options = MODULES[name]
    generator = torch.Generator().manual_seed(seed)
    options = dict(options)
    normaliser = options.pop("normaliser", "sum")
    tensors = module_tensors(kind, config, generator, **options)
    ids = random_ids(config, tokens, generator)
    return tensors, ids, BoundedAttention(kind, shape, tensors, normaliser)


def make_untrained(name, config):
    """The same of one of UNTRAINED."""
    kind, shape, tokens, seed = UNTRAINED[name]
    ids = random_ids(config, tokens, torch.Generator().manual_seed(seed))
    return {}, ids, BoundedAttention(kind, shape, {})


def make_ahn(name, config):
    """The same of one of AHN_MODULES."""
    kind, sinks, window, segment, seed, extras = AHN_MODULES[name]
    generator = torch.Generator().manual_seed(seed)
    tensors = ahn_tensors(kind, config, generator, extras)
    ids = random_ids(config, AHN_TOKENS, generator)
    return tensors, ids, BoundedAttention(kind, (sinks, window - segment, segment, 0), tensors)


def write_module(name, config, model):
    tensors, ids, attention = make_module(name, config)
    folder = f"{HERE}/{name}"
    os.makedirs(folder, exist_ok=True)
    extra = {} if attention.normaliser == "sum" else {"normaliser": attention.normaliser}
    write_json(f"{folder}/memory.json", {
        "format": "memgate-memory", "version": 1, "kind": attention.kind, "base_fingerprint": fingerprint(model),
        "num_layers": config["num_hidden_layers"], "hidden_size": config["hidden_size"],
        "num_kv_heads": config["num_key_value_heads"], "head_dim": config["head_dim"],
        **shape_keys(attention.shape), **extra})
    save(f"{folder}/memory.safetensors", tensors)
    write_module_golden(folder, MODULE_BASE, attention.shape, ids, logits_of(config, model, ids, attention))


def write_untrained(name, config, model):
    _, ids, attention = make_untrained(name, config)
    folder = f"{HERE}/{name}"
    os.makedirs(folder, exist_ok=True)
    write_module_golden(folder, MODULE_BASE, attention.shape, ids, logits_of(config, model, ids, attention),
                        kind=attention.kind)


def write_ahn(name, config, model):
    tensors, ids, attention = make_ahn(name, config)
    extras = AHN_MODULES[name][-1]
    folder = f"{HERE}/{name}"
    os.makedirs(folder, exist_ok=True)
    write_json(f"{folder}/config.json", {
        **config, "_layer_implementation": "Qwen2MemDecoderLayer", "_ahn_implementation": attention.kind,
        "sliding_window": AHN_MODULES[name][2], "num_attn_sinks": attention.shape[0], "sliding_window_type": "random",
        "ahn_position": "random", "fa_layer_ids": "", "use_ahn_router": extras, "use_q_proj": extras,
        "loss_type": ["kl"], "torch_dtype": "bfloat16"})
    save(f"{folder}/model.safetensors", tensors)
    write_module_golden(folder, AHN_BASE, attention.shape, ids, logits_of(config, model, ids, attention))


def make_model(name):
    config, dtype = MODELS[name]
    return config, random_weights(config, dtype, list(MODELS).index(name))


def main():
    for seed, name in enumerate(MODELS):
        config, tensors = make_model(name)
        folder = f"{HERE}/{name}"
        os.makedirs(folder, exist_ok=True)
        write_json(f"{folder}/config.json", config)
        save(f"{folder}/model.safetensors", tensors)
        ids = random_ids(text_part(config)[1], 48, torch.Generator().manual_seed(100 + seed))
        write_golden(folder, ids, logits_of(config, tensors, ids))
    for name in MODULES:
        write_module(name, *make_model(MODULE_BASE))
    for name in UNTRAINED:
        write_untrained(name, *make_model(MODULE_BASE))
    for name in AHN_MODULES:
        write_ahn(name, *make_model(AHN_BASE))


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
