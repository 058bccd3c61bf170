"""Attention of the gated path: sinks, salient slots and a window share one softmax.

Shapes: B batch, T tokens, G KV heads, R query heads per KV head, D head dim, C model dim, L layers.
Two implementations of the same rule:
- `ParallelGatedAttention` sees a whole sequence at once; for training.
- `StreamingAttention` keeps a session of constant size and folds segment by segment; for evaluation.

The query at position t has folded n_f(t) tokens, positions S .. S + n_f - 1 (see `folded_tokens`). Its window is the
positions S + n_f .. t with ordinary RoPE. Once n_f > 0, sinks (positions 0 .. S - 1) and salient tokens are far: their
keys stay unrotated and the query is rotated by the constant distance W + P, so none of them ever drifts out of the
trained range. The retention score of a token for a KV head is s = u . h + b with h the layer's normalised input; of all
folded tokens the E highest are kept, and of equal ones the older.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from training.model import rope_angles, rotate


@dataclass(frozen=True)
class MemoryShape:
    """Sizes of a session, in tokens."""

    sinks: int = 4
    window: int = 192
    segment: int = 64
    salient: int = 256

    @property
    def far_distance(self):
        return self.window + self.segment

    @property
    def total(self):
        """Tokens whose keys and values a session holds per layer."""
        return self.sinks + self.window + self.segment + self.salient

    def without_salient(self):
        """Sinks and window alone, in the same bytes."""
        return MemoryShape(self.sinks, self.window + self.salient, self.segment, 0)


def folded_tokens(shape, t):
    """n_f(t): how many tokens after the sinks are folded when the token at position t is the query."""
    return shape.segment * max(0, (t - shape.sinks - shape.window) // shape.segment)


class Retention(nn.Module):
    """Scores s = u_g . h + b_g per layer and KV head; starts by keeping everything alike."""

    def __init__(self, config, bias=4.0):
        super().__init__()
        shape = (config.num_hidden_layers, config.num_key_value_heads)
        self.weight = nn.Parameter(torch.zeros(*shape, config.hidden_size))
        self.bias = nn.Parameter(torch.full(shape, bias))

    def forward(self, layer, h):
        """h [B, T, C] -> scores [B, G, T]."""
        return functional.linear(h, self.weight[layer], self.bias[layer]).transpose(1, 2)


class ParallelGatedAttention:
    """Attention over a whole sequence that starts at position 0.

    Folded keys get a penalty on their logit. Without `slots` it is log sigmoid(s). With `slots` = E it depends on the
    rank: let r be the score of the E-th best folded key of the query. With a `sharpness` a the penalty is
    log sigmoid(a (s - r)), which gives a gradient to keys on both sides of the choice; without, exactly E keys stay.
    """

    def __init__(self, config, shape, tokens, retention, slots=None, sharpness=None, far_distance=None):
        self.retention, self.slots, self.sharpness = retention, slots, sharpness
        self.angles = rope_angles(torch.arange(tokens), config.head_dim, config.rope_theta)
        far_distance = torch.tensor([far_distance or shape.far_distance])
        self.far_angles = rope_angles(far_distance, config.head_dim, config.rope_theta)
        t = torch.arange(tokens)
        self.n_folded = torch.tensor([folded_tokens(shape, i) for i in range(tokens)])
        self.is_sink = t < shape.sinks
        has_folded = (self.n_folded > 0)[:, None]
        self.is_folded = ~self.is_sink[None] & (t[None] < shape.sinks + self.n_folded[:, None])  # [T query, T key]
        self.is_far = self.is_folded | (self.is_sink[None] & has_folded)
        self.hidden = torch.full((tokens, tokens), float("-inf")).triu(1)
        self.scores = []

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]."""
        scores = self.retention(layer, h)
        self.scores.append(scores)
        scale = q.shape[-1] ** -0.5
        near = rotate(q, self.angles) @ rotate(k, self.angles).transpose(-1, -2)
        far = rotate(q, self.far_angles) @ k.transpose(-1, -2)
        logits = torch.where(self.is_far, far, near) * scale + self.hidden
        return (logits + self.penalty(scores)[:, :, None]).softmax(-1) @ v

    def penalty(self, scores):
        """[B, G, T, T], added to the logits; zero where a key has not been folded."""
        if self.slots is None:
            return functional.logsigmoid(scores)[:, :, None] * self.is_folded
        if self.sharpness is None:
            dropped = self.is_folded & ~self.kept(scores)
            return torch.zeros(dropped.shape).masked_fill(dropped, float("-inf"))
        above = (scores[:, :, None] - self.thresholds(scores.detach())[..., None]).clamp(max=50.0)
        return functional.logsigmoid(self.sharpness * above) * self.is_folded

    def kept(self, scores):
        """Which keys [B, G, T query, T key] are among the `slots` best of those folded; of equal ones the older."""
        kept = torch.zeros(*scores.shape[:2], *self.is_folded.shape, dtype=torch.bool)
        first = int(self.is_sink.sum())
        for n in self.n_folded.unique().tolist():
            order = scores[..., first : first + n].sort(dim=-1, descending=True, stable=True).indices
            best = torch.zeros(scores.shape, dtype=torch.bool)
            best.scatter_(-1, order[..., : self.slots] + first, True)
            kept[:, :, self.n_folded == n] = best[:, :, None]
        return kept

    def thresholds(self, scores):
        """Per query [B, G, T], the score of the worst of the `slots` best folded keys; -inf while all of them fit."""
        worst = torch.full(scores.shape, float("-inf"))
        first = int(self.is_sink.sum())
        for n in self.n_folded.unique().tolist():
            if n > self.slots:
                best = scores[..., first : first + n].topk(self.slots, dim=-1).values
                worst[..., self.n_folded == n] = best[..., -1:]
        return worst


@dataclass
class LayerState:
    """What a session keeps of one layer: keys are unrotated, [B, G, tokens, D]; scores [B, G, tokens]."""

    sink_k: torch.Tensor
    sink_v: torch.Tensor
    slot_k: torch.Tensor
    slot_v: torch.Tensor
    slot_score: torch.Tensor
    window_k: torch.Tensor
    window_v: torch.Tensor
    window_score: torch.Tensor
    folded: int = 0

    @classmethod
    def empty(cls, batch, groups, d):
        kv = lambda: torch.zeros(batch, groups, 0, d)
        score = lambda: torch.zeros(batch, groups, 0)
        return cls(kv(), kv(), kv(), kv(), score(), kv(), kv(), score())


class StreamingAttention:
    """A session: `feed` takes any number of tokens and returns their logits; memory stays constant."""

    def __init__(self, model, shape, retention=None, batch=1):
        self.model, self.shape, self.retention = model, shape, retention
        config = model.config
        self.position = 0
        self.layers = [LayerState.empty(batch, config.num_key_value_heads, config.head_dim)
                       for _ in range(config.num_hidden_layers)]
        self.far_angles = rope_angles(torch.tensor([shape.far_distance]), config.head_dim, config.rope_theta)

    @torch.no_grad()
    def feed(self, ids):
        """ids [B, T] -> logits [B, T, V]; splits where a segment folds."""
        logits = []
        while ids.shape[1]:
            block = min(ids.shape[1], self.tokens_until_fold())
            logits.append(self.model(ids[:, :block], self))
            self.position += block
            ids = ids[:, block:]
        return torch.cat(logits, dim=1)

    def fork(self):
        """A second session in the same state."""
        twin = StreamingAttention(self.model, self.shape, self.retention)
        twin.position = self.position
        twin.layers = [LayerState(**vars(state)) for state in self.layers]
        return twin

    def tokens_until_fold(self):
        """Tokens that can be fed before n_f changes."""
        s = self.shape
        next_change = s.sinks + s.window + folded_tokens(s, self.position) + s.segment
        return next_change - self.position

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]; T tokens with one n_f."""
        state = self.layers[layer]
        tokens, n_folded = q.shape[-2], folded_tokens(self.shape, self.position)
        self.append(layer, state, h, k[:, :, 0], v[:, :, 0])
        self.fold_until(state, n_folded)
        first = self.position + tokens - state.window_k.shape[-2]
        config = self.model.config
        angles = lambda begin: rope_angles(torch.arange(begin, self.position + tokens), config.head_dim,
                                           config.rope_theta)
        scale = q.shape[-1] ** -0.5
        near_q = rotate(q, angles(self.position))
        near = near_q @ rotate(state.window_k, angles(first))[:, :, None].transpose(-1, -2)
        mask = torch.full((tokens, near.shape[-1]), float("-inf")).triu(near.shape[-1] - tokens + 1)
        near = near * scale + mask
        if n_folded == 0:
            return near.softmax(-1) @ state.window_v[:, :, None]
        far_k = torch.cat((state.sink_k, state.slot_k), dim=-2)[:, :, None]
        far = rotate(q, self.far_angles) @ far_k.transpose(-1, -2) * scale
        values = torch.cat((state.sink_v, state.slot_v, state.window_v), dim=-2)[:, :, None]
        return torch.cat((far, near), dim=-1).softmax(-1) @ values

    def append(self, layer, state, h, k, v):
        """Adds tokens to the window. Until the first fold the sinks are the first tokens of the window."""
        score = self.retention(layer, h) if self.retention else torch.zeros(k.shape[:-1])
        state.window_k = torch.cat((state.window_k, k), dim=-2)
        state.window_v = torch.cat((state.window_v, v), dim=-2)
        state.window_score = torch.cat((state.window_score, score), dim=-1)

    def fold_until(self, state, n_folded):
        """Moves window tokens before position S + n_folded to the sinks and slots, segment by segment."""
        if n_folded and not state.sink_k.shape[-2]:
            self.take_sinks(state)
        while n_folded > state.folded:
            self.fold_segment(state)
            state.folded += self.shape.segment

    def take_sinks(self, state):
        s = self.shape.sinks
        state.sink_k, state.window_k = state.window_k[:, :, :s], state.window_k[:, :, s:]
        state.sink_v, state.window_v = state.window_v[:, :, :s], state.window_v[:, :, s:]
        state.window_score = state.window_score[:, :, s:]

    def fold_segment(self, state):
        """The oldest segment of the window competes for the slots."""
        p = self.shape.segment
        score = torch.cat((state.slot_score, state.window_score[:, :, :p]), dim=-1)
        k = torch.cat((state.slot_k, state.window_k[:, :, :p]), dim=-2)
        v = torch.cat((state.slot_v, state.window_v[:, :, :p]), dim=-2)
        best = score.sort(dim=-1, descending=True, stable=True).indices[..., : self.shape.salient]
        best = best.sort(dim=-1).values  # keep the order of age, on which ties depend
        rows = best[..., None].expand(-1, -1, -1, k.shape[-1])
        state.slot_score, state.slot_k, state.slot_v = score.gather(-1, best), k.gather(-2, rows), v.gather(-2, rows)
        state.window_k, state.window_v = state.window_k[:, :, p:], state.window_v[:, :, p:]
        state.window_score = state.window_score[:, :, p:]
