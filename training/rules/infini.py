"""`infini` and `infini-delta`: linear memory with a gate per query head (Infini-attention, arXiv 2404.07143).

    read     A_mem = phi(q) M / (phi(q) z + eps)                           (equation 3)
    sum      M += phi(K)^T V                                               (equation 4)
    delta    M += phi(K)^T (V - phi(K) M / (phi(K) z + eps))               (equation 5), a segment at once
    both     z += sum over K of phi(k)
    combine  g A_mem + (1 - g) A_local, g = sigmoid(beta)                  (equation 6)

phi_j(x) = ELU(scale_j x_{j mod D} + shift_j) + 1 on un-rotated queries and keys, with K a multiple of D features;
without trained maps K = D, scale 1 and shift 0. K = 2 D with scales of opposite signs sees both signs of x.

With the normaliser "length" (infini-delta only) there is no z: phi has length 1, A_mem = phi(q) M, and tokens are
written one after another, M += phi^T (v - phi M), as in DeltaNet (arXiv 2406.06484). With z, the share of a token in
what is read falls as 1/N in a stream of N tokens.
"""

import torch
from torch import nn
from torch.nn import functional

from training.rules.rule import EPSILON, MemoryRule, parameter


def elu_map(x, scale=None, shift=None):
    """phi(x), elementwise; scale and shift broadcast to x."""
    return functional.elu(x if scale is None else scale * x + shift) + 1


def recall(phi, matrix, normaliser):
    """phi [..., T, K], matrix [..., K, D], normaliser [..., K] -> [..., T, D]."""
    return (phi @ matrix) / (phi @ normaliser[..., None] + EPSILON)


def write_sum(phi, v, matrix, normaliser):
    return matrix + phi.transpose(-1, -2) @ v, normaliser + phi.sum(-2)


def write_delta(phi, v, matrix, normaliser):
    return write_sum(phi, v - recall(phi, matrix, normaliser), matrix, normaliser)


def write_unit_delta(phi, v, matrix):
    """M += phi^T (v - phi M), token after token, for all tokens at once; phi has length 1.

    Token t sees M + sum_{i<t} phi_i u_i^T, so the u_t solve a unit lower triangular system.
    phi [B, G, N, K], v [B, G, N, D], matrix [B, G, K, D].
    """
    system = torch.eye(phi.shape[-2], device=phi.device) + (phi @ phi.transpose(-1, -2)).tril(-1)
    updates = torch.linalg.solve_triangular(system, v - phi @ matrix, upper=False, unitriangular=True)
    return matrix + phi.transpose(-1, -2) @ updates


class Infini(MemoryRule):
    """State: M [B, G, K, D] and, with the normaliser "sum", z [B, G, K]. K = expansion * D; 0 is phi without maps."""

    GATES = frozenset(("beta",))
    NAMES = {"infini.beta": "beta", "infini.key_scale": "key_scale", "infini.key_shift": "key_shift",
             "infini.query_scale": "query_scale", "infini.query_shift": "query_shift"}

    def __init__(self, config, delta=False, normaliser="sum", expansion=1, gate=-4.0):
        super().__init__(config)
        if normaliser not in ("sum", "length") or (normaliser == "length" and not delta):
            raise ValueError(f"normaliser {normaliser} does not exist for this kind")
        layers, heads, groups = config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads
        self.kind = "infini-delta" if delta else "infini"
        self.normaliser, self.expansion = normaliser, expansion
        self.beta = parameter(layers, heads, value=gate)
        self.key_scale, self.key_shift = self.start_map(layers, groups)
        self.query_scale, self.query_shift = self.start_map(layers, heads)

    def start_map(self, layers, heads):
        """(scale, shift), each [L, heads, K]: every second block of D features looks at -x."""
        if not self.expansion:
            return None, None
        d = self.config.head_dim
        signs = torch.tensor([1.0, -1.0]).repeat(self.expansion)[: self.expansion].repeat_interleave(d)
        return nn.Parameter(signs.repeat(layers, heads, 1)), parameter(layers, heads, self.expansion * d)

    def settings(self):
        return {"normaliser": self.normaliser} if self.kind == "infini-delta" else {}

    def map(self, x, scale=None, shift=None):
        """phi(x): [..., D] -> [..., K]; scale and shift broadcast to [..., K]."""
        phi = elu_map(x) if scale is None else elu_map(torch.cat([x] * self.expansion, dim=-1), scale, shift)
        return functional.normalize(phi, dim=-1, eps=EPSILON) if self.normaliser == "length" else phi

    def key_features(self, layer, k):
        """[B, G, N, D] -> [B, G, N, K]."""
        if not self.expansion:
            return self.map(k)
        return self.map(k, self.key_scale[layer][:, None], self.key_shift[layer][:, None])

    def query_features(self, layer, q):
        """[B, G, R, T, D] -> [B, G, R, T, K]."""
        if not self.expansion:
            return self.map(q)
        return self.map(q, self.per_query_head(self.query_scale, layer), self.per_query_head(self.query_shift, layer))

    def empty(self, batch, device=None):
        groups, d = self.config.num_key_value_heads, self.config.head_dim
        k = max(1, self.expansion) * d
        state = torch.zeros(batch, groups, k, d, device=device), torch.zeros(batch, groups, k, device=device)
        return state[:1] if self.normaliser == "length" else state

    def write(self, layer, state, evicted):
        phi = self.key_features(layer, evicted.k)
        if self.normaliser == "length":
            return (write_unit_delta(phi, evicted.v, *state),)
        return (write_delta if self.kind == "infini-delta" else write_sum)(phi, evicted.v, *state)

    def combine(self, layer, local, state, q, positions):
        phi, state = self.query_features(layer, q), [x[:, :, None] for x in state]
        recalled = phi @ state[0] if self.normaliser == "length" else recall(phi, *state)
        gate = self.per_query_head(self.beta, layer)[..., None].sigmoid()
        return gate * recalled + (1 - gate) * local

    def summary(self):
        return "gate", self.beta.sigmoid().mean().item()
