"""Attention of the gated path: sinks, salient slots and a window share one softmax; a memory rule adds the rest.

Shapes: B batch, T tokens, G KV heads, R query heads per KV head, D head dim, C model dim, L layers, f features.
Two implementations of the same rule, both differentiable:
- `ParallelGatedAttention` sees a whole sequence at once; for training retention scores.
- `StreamingAttention` keeps a session of constant size and folds segment by segment; for evaluation, and for training
  through the writes of a memory.

The query at position t has folded n_f(t) tokens, positions S .. S + n_f - 1 (see `folded_tokens`). Its window is the
positions S + n_f .. t with ordinary RoPE. Once n_f > 0, sinks (positions 0 .. S - 1) and salient tokens are far: their
keys stay unrotated and the query is rotated by the constant distance W + P, so none of them ever drifts out of the
trained range. With a retention score, the E highest of all folded tokens are kept, and of equal ones the older;
whatever is folded and not kept is written to the memory, in order of position.
"""

from dataclasses import dataclass, replace
from typing import Optional

import torch
from torch.nn import functional

from training.model import LayerAngles, rope_angles, rotate
from training.rules.rule import Tokens


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

    @property
    def first_folding(self):
        """Position of the first query that has folded tokens."""
        return self.sinks + self.window + self.segment

    def without_salient(self):
        """Sinks and window alone, in the same bytes."""
        return MemoryShape(self.sinks, self.window + self.salient, self.segment, 0)


def folded_tokens(shape, t):
    """n_f(t): how many tokens after the sinks are folded when the token at position t is the query."""
    return shape.segment * max(0, (t - shape.sinks - shape.window) // shape.segment)


class ParallelGatedAttention:
    """Attention over a whole sequence that starts at position 0.

    Folded keys get a penalty on their logit. Without `slots` it is log sigmoid(s). With `slots` = E it depends on the
    rank: let r be the score of the E-th best folded key of the query. With a `sharpness` a the penalty is
    log sigmoid(a (s - r)), which gives a gradient to keys on both sides of the choice; without, exactly E keys stay.
    """

    def __init__(self, config, shape, tokens, retention, slots=None, sharpness=None, far_distance=None, device=None):
        self.retention, self.slots, self.sharpness = retention, slots, sharpness
        t = torch.arange(tokens, device=device)
        self.config, self.angles = config, LayerAngles(t, config)
        self.far_angles = LayerAngles(torch.tensor([far_distance or shape.far_distance], device=device), config)
        self.n_folded = torch.tensor([folded_tokens(shape, i) for i in range(tokens)], device=device)
        self.is_sink = t < shape.sinks
        has_folded = (self.n_folded > 0)[:, None]
        self.is_folded = ~self.is_sink[None] & (t[None] < shape.sinks + self.n_folded[:, None])  # [T query, T key]
        self.is_far = self.is_folded | (self.is_sink[None] & has_folded)
        self.hidden = torch.full((tokens, tokens), float("-inf"), device=device).triu(1)
        self.scores = []

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]."""
        scores = self.retention(layer, h)
        self.scores.append(scores)
        near = rotate(q, self.angles[layer]) @ rotate(k, self.angles[layer]).transpose(-1, -2)
        far = rotate(q, self.far_angles[layer]) @ k.transpose(-1, -2)
        logits = self.config.scores(torch.where(self.is_far, far, near)) + self.hidden
        return (logits + self.penalty(scores)[:, :, None]).softmax(-1) @ v

    def penalty(self, scores):
        """[B, G, T, T], added to the logits; zero where a key has not been folded."""
        if self.slots is None:
            return functional.logsigmoid(scores)[:, :, None] * self.is_folded
        if self.sharpness is None:
            dropped = self.is_folded & ~self.kept(scores)
            return torch.zeros_like(dropped, dtype=scores.dtype).masked_fill(dropped, float("-inf"))
        above = (scores[:, :, None] - self.thresholds(scores.detach())[..., None]).clamp(max=50.0)
        return functional.logsigmoid(self.sharpness * above) * self.is_folded

    def kept(self, scores):
        """Which keys [B, G, T query, T key] are among the `slots` best of those folded; of equal ones the older."""
        kept = torch.zeros(*scores.shape[:2], *self.is_folded.shape, dtype=torch.bool, device=scores.device)
        first = int(self.is_sink.sum())
        for n in self.n_folded.unique().tolist():
            order = scores[..., first : first + n].sort(dim=-1, descending=True, stable=True).indices
            best = torch.zeros_like(scores, dtype=torch.bool)
            best.scatter_(-1, order[..., : self.slots] + first, True)
            kept[:, :, self.n_folded == n] = best[:, :, None]
        return kept

    def thresholds(self, scores):
        """Per query [B, G, T], the score of the worst of the `slots` best folded keys; -inf while all of them fit."""
        worst = torch.full_like(scores, float("-inf"))
        first = int(self.is_sink.sum())
        for n in self.n_folded.unique().tolist():
            if n > self.slots:
                best = scores[..., first : first + n].topk(self.slots, dim=-1).values
                worst[..., self.n_folded == n] = best[..., -1:]
        return worst


@dataclass
class LayerState:
    """What a session keeps of one layer."""

    sinks: Tokens
    slots: Tokens
    window: Tokens
    rotated: torch.Tensor         # keys of the window, rotated by their positions
    memory: Optional[tuple]       # of the rule; None as long as nothing was written
    lost: Optional[Tokens] = None   # with a `sharpness`: what found no slot
    folded: int = 0

    def detach(self):
        memory = self.memory and tuple(part.detach() for part in self.memory)
        return LayerState(self.sinks.detach(), self.slots.detach(), self.window.detach(), self.rotated.detach(), memory,
                          self.lost and self.lost.detach(), self.folded)


class StreamingAttention:
    """A session. `feed` takes any number of tokens and returns their logits; what it holds stays constant.

    `rule` is a MemoryRule, or None for sinks and window alone. `far_distance` replaces W + P where a training sequence
    has a smaller window than the served session. With a `sharpness` a, tokens without a slot stay visible at a penalty
    of log sigmoid(a (s - r)) on their logit, r the score of the worst slot, so that the choice has a gradient (they are
    written to the memory as well, and the session grows); for training only.
    """

    BLOCK = 1024  # tokens per forward pass of `feed`

    def __init__(self, model, shape, rule=None, batch=1, far_distance=None, sharpness=None):
        self.model, self.shape, self.rule, self.sharpness = model, shape, rule, sharpness
        self.config, self.device = model.config, model.head().device
        self.position = 0
        far_distance = torch.tensor([far_distance or shape.far_distance], device=self.device)
        self.far_angles = LayerAngles(far_distance, self.config)
        self.layers = [self.empty_layer(batch) for _ in range(self.config.num_hidden_layers)]

    def empty_layer(self, batch):
        groups, d = self.config.num_key_value_heads, self.config.head_dim
        h = torch.zeros(batch, 0, self.config.hidden_size, device=self.device)
        keys = torch.zeros(batch, groups, 0, d, device=self.device)
        positions = torch.zeros(batch, groups, 0, dtype=torch.long, device=self.device)
        nothing = Tokens(keys, keys, self.features(0, h), positions)
        return LayerState(nothing, nothing, nothing, keys, None, nothing if self.sharpness else None)

    def features(self, layer, h):
        """[B, T, C] -> [B, G, T, f]."""
        if self.rule is None:
            return h.new_zeros(h.shape[0], self.config.num_key_value_heads, h.shape[1], 0)
        return self.rule.features(layer, h)

    @torch.no_grad()
    def feed(self, ids):
        """ids [B, T] -> logits [B, T, V], without gradients."""
        blocks = [self.hidden(block) for block in ids.split(self.BLOCK, dim=1)]
        return self.model.logits(torch.cat(blocks, dim=1))

    def hidden(self, ids):
        """ids [B, T] -> output of the last layer [B, T, C]; gradients reach back to the last `detach`."""
        out = self.model.hidden(ids, self)
        self.position += ids.shape[1]
        return out

    def detach(self):
        """Ends back-propagation here."""
        self.layers = [state.detach() for state in self.layers]

    def fork(self):
        """A second session in the same state."""
        twin = object.__new__(StreamingAttention)
        vars(twin).update(vars(self))
        twin.layers = [replace(state) for state in self.layers]
        return twin

    def __call__(self, layer, h, q, k, v):
        """q [B, G, R, T, D], k and v [B, G, 1, T, D] unrotated -> [B, G, R, T, D]."""
        state, begin, end = self.layers[layer], self.position, self.position + h.shape[1]
        positions = torch.arange(begin, end, device=h.device)
        angles = rope_angles(positions, self.config, layer)
        k, v = k[:, :, 0], v[:, :, 0]
        state.window += Tokens(k, v, self.features(layer, h), positions.expand(*k.shape[:2], -1))
        state.rotated = torch.cat((state.rotated, rotate(k, angles)), dim=-2)
        near_q, far_q = rotate(q, angles), rotate(q, self.far_angles[layer])
        out = []
        while begin < end:
            n_folded = folded_tokens(self.shape, begin)
            self.fold_until(layer, state, n_folded)
            last = min(end, self.shape.first_folding + n_folded)
            rows = slice(begin - self.position, last - self.position)
            seen = len(state.window) - (end - last)
            local = self.exact_part(state, near_q[..., rows, :], far_q[..., rows, :], seen)
            if state.memory is not None:
                local = self.rule.combine(layer, local, state.memory, q[..., rows, :], positions[rows])
            out.append(local)
            begin = last
        return torch.cat(out, dim=-2)

    def exact_part(self, state, near_q, far_q, seen):
        """Attention over sinks, slots and the first `seen` tokens of the window, of which the queries are the last."""
        tokens = near_q.shape[-2]
        near = self.config.scores(near_q @ state.rotated[:, :, None, :seen].transpose(-1, -2))
        near = near + torch.full((tokens, seen), float("-inf"), device=near.device).triu(seen - tokens + 1)
        values = state.window.v[:, :, None, :seen]
        if state.folded == 0:
            return near.softmax(-1) @ values
        far = state.sinks + state.slots + state.lost if self.sharpness else state.sinks + state.slots
        logits = self.config.scores(far_q @ far.k[:, :, None].transpose(-1, -2))
        if self.sharpness and len(state.lost):
            logits = logits + self.penalty(state, len(far))[:, :, None, None]
        values = torch.cat((far.v[:, :, None], values), dim=-2)
        return torch.cat((logits, near), dim=-1).softmax(-1) @ values

    def penalty(self, state, far):
        """[B, G, far], zero at the sinks."""
        scores = torch.cat((state.slots.features[..., 0], state.lost.features[..., 0]), dim=-1)
        worst = state.slots.features[..., 0].detach().amin(-1, keepdim=True)
        penalty = functional.logsigmoid(self.sharpness * (scores - worst))
        return functional.pad(penalty, (far - scores.shape[-1], 0))

    def fold_until(self, layer, state, n_folded):
        """Moves window tokens before position S + n_folded to sinks, slots and memory, segment by segment."""
        if n_folded and not state.folded:
            self.take_sinks(state)
        while n_folded > state.folded:
            self.fold_segment(layer, state)
            state.folded += self.shape.segment

    def take_sinks(self, state):
        """Until the first fold the sinks are the first tokens of the window."""
        s = self.shape.sinks
        state.sinks, state.window, state.rotated = state.window[:s], state.window[s:], state.rotated[:, :, s:]

    def fold_segment(self, layer, state):
        """The oldest segment of the window competes for the slots; what finds none goes to the memory."""
        p = self.shape.segment
        leaving, state.window, state.rotated = state.window[:p], state.window[p:], state.rotated[:, :, p:]
        if self.rule is not None and self.rule.has_retention:
            # Slots lie in order of age, on which ties depend; so do the losers, for the memory.
            leaving = state.slots + leaving
            order = leaving.features[..., 0].sort(dim=-1, descending=True, stable=True).indices
            kept, lost = (rows.sort(dim=-1).values for rows in order.tensor_split((self.shape.salient,), dim=-1))
            state.slots, leaving = leaving.take(kept), leaving.take(lost)
        if self.sharpness:
            state.lost += leaving
        if self.rule is not None and self.rule.compresses and len(leaving):
            memory = state.memory or self.rule.empty(len(leaving.k), self.device)
            state.memory = self.rule.write(layer, memory, leaving)
