"""`memgate`: salient slots by a learned score, and a gated-delta matrix for what finds no slot.

    score     s = w . h + b per KV head, h the layer's normalised input; the E best of all folded tokens keep a slot
    strength  beta = sigmoid(w . h + b) per KV head
    write     M <- alpha M, then M <- M + phi(k) (beta (v - phi(k)^T M))^T, alpha = exp(-exp(decay) beta)
    read      A = A_local + gain phi(q)^T M, gain per query head, zero at start

phi(x) = c / max(|c|, 1e-6), c = [relu(u); relu(-u)], u = scale * x + shift, on un-rotated queries and keys; K = 2 D.
The delta rule with decay is that of Gated DeltaNet (arXiv 2412.06464); decay is tied to the write strength, so that
tokens that are not written leave the memory as it is.
"""

import torch
from torch import nn
from torch.nn import functional

from training.rules.rule import MemoryRule, parameter


class Retention(nn.Module):
    """Scores s = w_g . h + b_g per layer and KV head; starts by keeping everything alike."""

    def __init__(self, config, bias=4.0):
        super().__init__()
        shape = (config.num_hidden_layers, config.num_key_value_heads)
        self.weight = parameter(*shape, config.hidden_size)
        self.bias = parameter(*shape, value=bias)

    def forward(self, layer, h):
        """h [B, T, C] -> scores [B, G, T]."""
        return functional.linear(h, self.weight[layer], self.bias[layer]).transpose(1, 2)


class Matrix(nn.Module):
    """Parameters of the gated-delta matrix. Starts with alpha = 0.997 for a token written at half strength."""

    def __init__(self, config, decay=-5.0, write_bias=0.0):
        super().__init__()
        layers, d = config.num_hidden_layers, config.head_dim
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.write_weight = parameter(layers, groups, config.hidden_size)
        self.write_bias = parameter(layers, groups, value=write_bias)
        self.decay = parameter(layers, groups, value=decay)
        self.key_scale = parameter(layers, groups, d, value=1)
        self.key_shift = parameter(layers, groups, d)
        self.query_scale = parameter(layers, heads, d, value=1)
        self.query_shift = parameter(layers, heads, d)
        self.gain = parameter(layers, heads)


def signed_map(x, scale, shift):
    """phi(x): [..., D] -> [..., 2 D] of length 1; scale and shift broadcast to x."""
    u = scale * x + shift
    return functional.normalize(torch.cat((u.relu(), (-u).relu()), dim=-1), dim=-1, eps=1e-6)


def write_gated_delta(phi, v, strength, log_decay, matrix):
    """The matrix after N tokens in order, all at once (the chunkwise form of arXiv 2412.06464).

    With a_t the product of the decays up to t and u_t = v_t - phi_t^T (alpha_t M_{t-1}):
        M_t = a_t M + sum_{i<=t} (a_t / a_i) beta_i phi_i u_i^T,
    so the u_t solve a unit lower triangular system, and M_N follows.
    phi [B, G, N, K], v [B, G, N, D], strength and log_decay (log alpha) [B, G, N], matrix [B, G, K, D].
    """
    total = log_decay.cumsum(-1)
    ratio = (total[..., :, None] - total[..., None, :]).clamp(max=0).exp()
    system = (phi @ phi.transpose(-1, -2) * ratio * strength[..., None, :]).tril(-1)
    system = system + torch.eye(phi.shape[-2], device=phi.device)
    wanted = v - total.exp()[..., None] * (phi @ matrix)
    errors = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    weights = ratio[..., -1, :] * strength
    decayed = total[..., -1:, None].exp() * matrix
    return decayed + (phi * weights[..., None]).transpose(-1, -2) @ errors


class Memgate(MemoryRule):
    kind = "memgate"
    has_retention = True
    GATES = frozenset(("matrix.gain", "matrix.decay", "matrix.write_bias"))
    NAMES = {"retention.weight": "retention.weight", "retention.bias": "retention.bias",
             **{f"matrix.{name}": f"matrix.{name}" for name in (
                 "write_weight", "write_bias", "decay", "key_scale", "key_shift", "query_scale", "query_shift",
                 "gain")}}

    def __init__(self, config, matrix=True):
        super().__init__(config)
        self.retention = Retention(config)
        self.matrix = Matrix(config) if matrix else None

    @property
    def compresses(self):
        return self.matrix is not None

    def features(self, layer, h):
        """Score and, with a matrix, the logit of the write strength."""
        score = self.retention(layer, h)
        if self.matrix is None:
            return score[..., None]
        strength = functional.linear(h, self.matrix.write_weight[layer], self.matrix.write_bias[layer])
        return torch.stack((score, strength.transpose(1, 2)), dim=-1)

    def empty(self, batch, device=None):
        if self.matrix is None:
            return ()
        d = self.config.head_dim
        return (torch.zeros(batch, self.config.num_key_value_heads, 2 * d, d, device=device),)

    def write(self, layer, state, evicted):
        m = self.matrix
        phi = signed_map(evicted.k, m.key_scale[layer][:, None], m.key_shift[layer][:, None])
        strength = evicted.features[..., 1].sigmoid()
        log_decay = -m.decay[layer].exp()[:, None] * strength
        return (write_gated_delta(phi, evicted.v, strength, log_decay, state[0]),)

    def combine(self, layer, local, state, q, positions):
        m = self.matrix
        phi = signed_map(q, self.per_query_head(m.query_scale, layer), self.per_query_head(m.query_shift, layer))
        return local + self.per_query_head(m.gain, layer)[..., None] * (phi @ state[0][:, :, None])

    def summary(self):
        if self.matrix is None:
            return "bias", self.retention.bias.mean().item()
        return "gain", self.matrix.gain.abs().mean().item()

    def find(self, attribute):
        if self.matrix is None and attribute.startswith("matrix."):
            return None
        return super().find(attribute)
