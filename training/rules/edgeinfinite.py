"""`edgeinfinite`: linear memory on rotated keys behind a small gated map (EdgeInfinite, arXiv 2503.22196).

    write    M += phi(K)^T V, z += sum over K of phi(k), phi = ELU + 1 on keys rotated by their true positions
    read     A_mem = phi(q) M / (phi(q) z + eps)
    combine  A_local + sigmoid(b) W2 relu(W1 A_mem), per query head; W2 starts at zero

The paper names a gating module of about 0.15 % of the parameters without stating its equations; this is our reading of
it. The inner width I is chosen so that the share comes out.
"""

import torch

from training.model import rope_angles, rotate
from training.rules.infini import elu_map, recall, write_sum
from training.rules.rule import MemoryRule, parameter

SHARE = 0.0015


def inner_width(config, base_parameters, share=SHARE):
    """The width I >= 1 with which the module comes closest to `share` of the base's parameters."""
    heads = config.num_hidden_layers * config.num_attention_heads
    return max(1, round((share * base_parameters / heads - 1) / (2 * config.head_dim)))


class EdgeInfinite(MemoryRule):
    kind = "edgeinfinite"
    GATES = frozenset(("gate",))
    NAMES = {"edgeinfinite.w1": "w1", "edgeinfinite.w2": "w2", "edgeinfinite.gate": "gate"}

    def __init__(self, config, width=1, gate=0.0):
        super().__init__(config)
        layers, heads, d = config.num_hidden_layers, config.num_attention_heads, config.head_dim
        self.w1 = torch.nn.Parameter(torch.randn(layers, heads, width, d) * d ** -0.5)
        self.w2 = parameter(layers, heads, d, width)
        self.gate = parameter(layers, heads, value=gate)

    def empty(self, batch, device=None):
        groups, d = self.config.num_key_value_heads, self.config.head_dim
        return torch.zeros(batch, groups, d, d, device=device), torch.zeros(batch, groups, d, device=device)

    def write(self, layer, state, evicted):
        phi = elu_map(rotate(evicted.k, rope_angles(evicted.positions, self.config, layer)))
        return write_sum(phi, evicted.v, *state)

    def combine(self, layer, local, state, q, positions):
        matrix, normaliser = (x[:, :, None] for x in state)
        recalled = recall(elu_map(rotate(q, rope_angles(positions, self.config, layer))), matrix, normaliser)
        groups = self.config.num_key_value_heads
        w1, w2 = (w[layer].view(groups, -1, *w.shape[2:]).transpose(-1, -2) for w in (self.w1, self.w2))
        gate = self.per_query_head(self.gate, layer)[..., None].sigmoid()
        return local + gate * ((recalled @ w1).relu() @ w2)

    def summary(self):
        return "gate", self.gate.sigmoid().mean().item()
