"""What a memory is trained towards: the same model's full attention, and the tokens that came next.

The teacher is the frozen model with full attention over the whole sequence. A token is beyond the window if something
was folded before it was predicted; only there can the gated path differ. Of those, far tokens are the ones that only
the far context explains: full attention gives them a log-probability higher, by more than some nats, than sinks and
window alone do. In gateway logs they are the digits of the answers.

Shapes: B batch, T tokens, C model dim, V vocabulary.
"""

from dataclasses import dataclass, field
from typing import Optional

import torch

from training.data import ANSWER
from training.gated import ParallelGatedAttention, StreamingAttention


@dataclass(frozen=True)
class Objective:
    """Weights of the parts of the loss."""

    distillation: float = 1.0  # KL(teacher || gated) per token
    next_token: float = 0.2    # cross-entropy per token
    far_weight: float = 10.0   # of a far token, where another one beyond the window has 1
    far_nats: float = 1.0      # how much full attention must gain at a far token
    rest: float = 0.0          # cross-entropy per token beside the answers of a gateway log, where an answer's has 1


@dataclass
class Targets:
    """What the loss of one batch compares with."""

    labels: torch.Tensor             # [B, T]
    distilled: torch.Tensor          # [B, T], weights of the KL; 0 where it does not count
    predicted: torch.Tensor          # [B, T], weights of the cross-entropy
    counted: torch.Tensor            # [B, T], far tokens that the teacher predicts: those of which recall is a share
    teacher: Optional[torch.Tensor]  # [B, T, C], the last layer's output


@dataclass
class Outcome:
    """Sums over the tokens of a sequence."""

    loss: float = 0.0
    right: int = 0
    counted: int = 0
    kept: float = 0.0
    gradients: list = field(default_factory=list)

    @property
    def recall(self):
        return self.right / max(1, self.counted)


class KeepAll:
    """Retention that lets every token stay."""

    def __call__(self, layer, h):
        return torch.full((h.shape[0], 1, h.shape[1]), 50.0, device=h.device)


def teacher_attention(model, tokens, shape, far_distance, device=None):
    """Full attention; for a sequence longer than the model's context, with far tokens at the far distance.

    None stands for plain causal attention.
    """
    if tokens <= model.config.max_position_embeddings:
        return None
    return ParallelGatedAttention(model.config, shape, tokens, KeepAll(), far_distance=far_distance, device=device)


@torch.no_grad()
def next_token_scores(model, hidden, labels, block=256):
    """(log-probability of the labels [B, T], is it the likeliest token [B, T]) without keeping logits [B, T, V]."""
    scores, right = [], []
    for part, wanted in zip(hidden.split(block, dim=1), labels.split(block, dim=1)):
        logits = model.logits(part)
        scores.append(logits.log_softmax(-1).gather(-1, wanted[..., None])[..., 0])
        right.append(logits.argmax(-1) == wanted)
    return torch.cat(scores, dim=1), torch.cat(right, dim=1)


@torch.no_grad()
def text_targets(model, shape, far_distance, ids, objective):
    """Targets of text: distillation and next token beyond the window, with emphasis on far tokens."""
    inputs, labels = ids[:, :-1], ids[:, 1:]
    tokens = inputs.shape[1]
    teacher = model.hidden(inputs, teacher_attention(model, tokens, shape, far_distance, ids.device))
    window = StreamingAttention(model, shape, None, len(ids), far_distance).hidden(inputs)
    full, teacher_right = next_token_scores(model, teacher, labels)
    beyond = (torch.arange(tokens, device=ids.device) >= shape.first_folding).expand_as(labels)
    far = beyond & (full - next_token_scores(model, window, labels)[0] > objective.far_nats)
    weights = beyond.float() + (objective.far_weight - 1) * far.float()
    return Targets(labels, weights, weights, far & teacher_right, teacher)


@torch.no_grad()
def answer_targets(model, shape, far_distance, ids, classes, objective):
    """Targets of gateway logs: next token at the digits of answers, distillation at the rest beyond the window."""
    labels, answers = ids[:, 1:], classes[:, 1:] == ANSWER
    tokens = labels.shape[1]
    beyond = (torch.arange(tokens, device=ids.device) >= shape.first_folding).expand_as(labels)
    teacher = None
    if objective.distillation:
        teacher = model.hidden(ids[:, :-1], teacher_attention(model, tokens, shape, far_distance, ids.device))
    rest = (beyond & ~answers).float()
    return Targets(labels, rest, answers + objective.rest * rest, answers, teacher)


def loss_of_block(model, hidden, targets, begin, objective):
    """(loss, right) of the tokens from `begin` on, of which `hidden` [B, n, C] is the gated path's output.

    Losses of all blocks of a sequence add up to weighted means over the sequence.
    """
    block = slice(begin, begin + hidden.shape[1])
    distilled, predicted = targets.distilled[:, block], targets.predicted[:, block]
    used = (predicted > 0) | ((distilled > 0) if targets.teacher is not None and objective.distillation else False)
    if not used.any():
        return None, 0
    logits = model.logits(hidden[used])
    scores, labels = logits.log_softmax(-1), targets.labels[:, block][used]
    cross_entropy = -scores.gather(-1, labels[:, None])[:, 0]
    loss = objective.next_token * (cross_entropy * predicted[used]).sum() / targets.predicted.sum().clamp(min=1e-9)
    if targets.teacher is not None and objective.distillation:
        with torch.no_grad():
            wanted = model.logits(targets.teacher[:, block][used]).log_softmax(-1)
        divergence = (wanted.exp() * (wanted - scores)).sum(-1)
        share = (divergence * distilled[used]).sum() / targets.distilled.sum().clamp(min=1e-9)
        loss = loss + objective.distillation * share
    right = (logits.argmax(-1) == labels) & targets.counted[:, block][used]
    return loss, int(right.sum())


def blocks(model, attend, inputs, truncation):
    """(begin, output [B, n, C]) of the gated path, block by block.

    A session goes on from block to block without a gradient across: back-propagation is truncated to `truncation`
    segments. Attention over the whole sequence makes one block.
    """
    if not isinstance(attend, StreamingAttention):
        yield 0, model.hidden(inputs, attend)
        return
    begin = 0
    for part in inputs.split(truncation * attend.shape.segment, dim=1):
        yield begin, attend.hidden(part)
        attend.detach()
        begin += part.shape[1]


def learn(model, attend, ids, targets, objective, params, penalty=0.0, truncation=32):
    """One sequence (or a few): an Outcome with gradients for `params`; without params only recall and loss.

    `penalty` weighs the mean retention of a ParallelGatedAttention.
    """
    outcome = Outcome(counted=int(targets.counted.sum()), gradients=[torch.zeros_like(p) for p in params])
    with torch.set_grad_enabled(bool(params)):
        for begin, hidden in blocks(model, attend, ids[:, :-1], truncation):
            loss, right = loss_of_block(model, hidden, targets, begin, objective)
            outcome.right += right
            if isinstance(attend, ParallelGatedAttention):
                retained = torch.stack([scores.sigmoid().mean() for scores in attend.scores]).mean()
                outcome.kept = retained.item()
                loss = penalty * retained if loss is None else loss + penalty * retained
            if loss is None:
                continue
            outcome.loss += loss.item()
            if params and loss.requires_grad:
                add_gradients(outcome.gradients, loss, params)
    return outcome


def add_gradients(sums, loss, params):
    for total, gradient in zip(sums, torch.autograd.grad(loss, params, allow_unused=True)):
        if gradient is not None:
            total += gradient


class LayerwiseDistillation:
    """Attention that trains each layer's memory against that layer's own full attention, during a forward pass.

    What goes on to the next layer is the teacher's attention, so every layer learns from inputs as the frozen model
    has them, and no gradient leaves a layer: at any time the graph of one layer's attention is alive. The loss of a
    layer is the squared error of the attention's output after o_proj, weighted per token, as a share of its square.
    """

    def __init__(self, model, teacher, student, weights, params, penalty=0.0):
        """teacher, student: attention strategies over the same sequence; weights [B, T]."""
        self.model, self.teacher, self.student = model, teacher, student
        self.weights, self.params, self.penalty = weights, params, penalty
        self.outcome = Outcome(gradients=[torch.zeros_like(p) for p in params])

    def __call__(self, layer, h, q, k, v):
        wanted = self.teacher(layer, h, q, k, v)
        with torch.enable_grad():
            output = self.model.model.layers[layer].self_attn.output
            target = output(wanted)
            error = (output(self.student(layer, h, q, k, v)) - target).pow(2).mean(-1)
            loss = (self.weights * error).sum() / (self.weights * target.pow(2).mean(-1)).sum().clamp(min=1e-9)
            if isinstance(self.student, ParallelGatedAttention):
                retained = self.student.scores[-1].sigmoid().mean()
                self.outcome.kept += retained.item() / len(self.model.model.layers)
                loss = loss + self.penalty * retained
            if loss.requires_grad:
                add_gradients(self.outcome.gradients, loss, self.params)
        self.outcome.loss += loss.item() / len(self.model.model.layers)
        return wanted
