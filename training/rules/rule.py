"""What every memory rule has in common.

A rule says which features a token gets when it enters a session, what happens to tokens that leave it, and what a query
reads. It holds the trained parameters of all layers; the state of a session is passed in and out, so that gradients can
flow through any number of writes.

Shapes: L layers, B batch, N tokens written at once, T queries, G KV heads, R query heads per KV head, D head dim,
K feature dim of a memory map, f features per token and KV head.
"""

from dataclasses import dataclass

import torch
from torch import nn

EPSILON = 1e-6  # keeps denominators away from zero


@dataclass
class Tokens:
    """Tokens of one layer that a session holds or that leave it, oldest first; keys are not rotated."""

    k: torch.Tensor          # [B, G, N, D]
    v: torch.Tensor          # [B, G, N, D]
    features: torch.Tensor   # [B, G, N, f]
    positions: torch.Tensor  # [B, G, N]

    def __len__(self):
        return self.k.shape[-2]

    def parts(self):
        return self.k, self.v, self.features, self.positions

    def __getitem__(self, rows):
        return Tokens(self.k[:, :, rows], self.v[:, :, rows], self.features[:, :, rows], self.positions[:, :, rows])

    def __add__(self, other):
        """Both, one after the other."""
        return Tokens(*(torch.cat(pair, dim=2) for pair in zip(self.parts(), other.parts())))

    def take(self, rows):
        """The tokens at indices `rows` [B, G, n]."""
        wide = lambda x: x.gather(2, rows[..., None].expand(-1, -1, -1, x.shape[-1]))
        return Tokens(wide(self.k), wide(self.v), wide(self.features), self.positions.gather(2, rows))

    def detach(self):
        return Tokens(*(part.detach() for part in self.parts()))


class MemoryRule(nn.Module):
    """Base of all rules. Parameters are stacked over layers: [L, ...].

    NAMES maps the names of a layer's tensors in memory.safetensors to attributes; a rule without some of its optional
    parts holds None there.
    """

    kind = ""
    NAMES = {}
    GATES = frozenset()  # parameters with the learning rate of gates
    has_retention = False  # is feature 0 a score that decides who gets a slot?

    def __init__(self, config):
        super().__init__()
        self.config = config

    @property
    def compresses(self):
        """Is there a state that takes in tokens, or are they forgotten?"""
        return True

    def features(self, layer, h):
        """h [B, T, C], the layer input -> [B, G, T, f]."""
        return h.new_zeros(h.shape[0], self.config.num_key_value_heads, h.shape[1], 0)

    def empty(self, batch, device=None):
        """State of one layer before anything was written: a tuple of tensors [B, G, ...]."""
        raise NotImplementedError

    def write(self, layer, state, evicted):
        """The state after `evicted` (Tokens) was taken in."""
        raise NotImplementedError

    def combine(self, layer, local, state, q, positions):
        """Attention [B, G, R, T, D] out of that of the exact part and the memory.

        local [B, G, R, T, D]; q [B, G, R, T, D] not rotated, at `positions` [T]. Called once something was written.
        """
        raise NotImplementedError

    def summary(self):
        """One number about the gates for the progress line: (name, value)."""
        raise NotImplementedError

    def settings(self):
        """Further keys for memory.json."""
        return {}

    def per_query_head(self, parameter, layer):
        """parameter [L, H, ...] -> [G, R, 1, ...] of a layer, to act on [B, G, R, T, ...]."""
        mine = parameter[layer]
        groups = self.config.num_key_value_heads
        return mine.view(groups, -1, 1, *mine.shape[1:])

    def tensors(self):
        """{name: float32 array} as stored in memory.safetensors."""
        found = {name: self.find(attribute) for name, attribute in self.NAMES.items()}
        return {f"layers.{i}.{name}": p[i].detach().cpu().numpy()
                for name, p in found.items() if p is not None for i in range(self.config.num_hidden_layers)}

    @torch.no_grad()
    def read_tensors(self, tensors):
        """Takes the values of `tensors` ({name: array}); ValueError names what is missing, misshapen or too much."""
        expected = self.tensors()
        for name in sorted(set(expected) ^ set(tensors)):
            raise ValueError(f"memory.safetensors: tensor {name} is {'missing' if name in expected else 'unknown'}")
        for name, attribute in self.NAMES.items():
            for i in range(self.config.num_hidden_layers if self.find(attribute) is not None else 0):
                data = tensors[f"layers.{i}.{name}"]
                if data.shape != tuple(self.find(attribute)[i].shape):
                    raise ValueError(f"memory.safetensors: layers.{i}.{name} has shape {list(data.shape)}")
                self.find(attribute)[i] = torch.from_numpy(data)

    def find(self, attribute):
        """The parameter behind a dotted attribute name, or None."""
        value = self
        for part in attribute.split("."):
            value = getattr(value, part)
        return value


def parameter(*shape, value=0.0):
    return nn.Parameter(torch.full(shape, float(value)))
