"""Second part of the demo base's training: with bounded memories in the loop.

    python3 -m training.cotrain --model models/gateway-demo --checkpoint build/training/cotrain.pt

Infini-attention (arXiv 2404.07143) continues the training of the whole model with its memory; a gate alone cannot teach
a frozen base to find a note through a matrix. So here base and an `infini-delta` memory are trained together, on
- passkeys: one note in noise that repeats. Before the question the last block of noise is written up to 2^15 times
  more, which is a power of an affine map and costs 15 squarings; that is how a note learns to survive a million tokens;
- logs with few notes, through the same memory;
- logs crowded with notes, far tokens at the far distance and all of them kept, as in `base.py`, and ordinary attention,
  so that slots and the exact path work as before.
Writes model.safetensors and memory/infini-delta of the model's folder. Modules of other kinds are trained afterwards,
on the frozen base.
"""

import argparse
import math
import os
import random
from concurrent.futures import ThreadPoolExecutor

import torch

from training.base import loss_and_accuracy
from training.data import OTHER, dense_sequence, encode_asked, sparse_sequence
from training.distillation import KeepAll
from training.gated import MemoryShape, ParallelGatedAttention, StreamingAttention, folded_tokens
from training.gateway_log import passkey_parts
from training.memory_module import make_rule, save_module
from training.model import CausalModel
from training.optimisation import ScheduledOptimizers, add_arguments, make_optimizers, start
from training.report import Progress
from training.tokenizer import Tokenizer

SERVED = MemoryShape(salient=0)
OPEN, CLOSED = -1.0, -16.0  # start of the gates before the sigmoid, in the upper half of the layers and in the lower


class EndlessFiller(StreamingAttention):
    """A session in which the last `period` tokens before `question` were written 2^doublings times more."""

    def __init__(self, model, shape, rule, far_distance, period, question, doublings):
        super().__init__(model, shape, rule, far_distance=far_distance)
        self.period, self.question, self.doublings = period, question, doublings

    def fold_segment(self, layer, state):
        super().fold_segment(layer, state)
        if state.folded + self.shape.segment == folded_tokens(self.shape, self.question):
            first = self.question - self.period - int(state.window.positions[0, 0, 0])
            noise = state.window[first : first + self.period]
            phi = self.rule.key_features(layer, noise.k)
            state.memory = (write_repeatedly(phi, noise.v, state.memory[0], self.doublings),)


def write_repeatedly(phi, v, matrix, doublings):
    """The unit-length delta rule over the same N tokens, 2^doublings times.

    One pass is affine, M -> A M + B with A = I - phi^T T phi, B = phi^T T v and T the inverse of the unit lower
    triangular I + tril(phi phi^T, -1); passing twice is A^2, A B + B.
    phi [B, G, N, K], v [B, G, N, D], matrix [B, G, K, D].
    """
    system = torch.eye(phi.shape[-2]) + (phi @ phi.transpose(-1, -2)).tril(-1)
    solved = torch.linalg.solve_triangular(system, torch.cat((phi, v), dim=-1), upper=False, unitriangular=True)
    size = phi.shape[-1]
    a = torch.eye(size) - phi.transpose(-1, -2) @ solved[..., :size]
    b = phi.transpose(-1, -2) @ solved[..., size:]
    for _ in range(doublings):
        a, b = a @ a, a @ b + b
    return a @ matrix + b


def passkey_example(rng, tokenizer, model, rule):
    """(ids, classes, attention): blocks of noise, a note between two of them, more noise, the question."""
    filler, fact = passkey_parts(rng.random())
    block, note = tokenizer.encode(filler), tokenizer.encode(fact.note())
    asked, classes = encode_asked(tokenizer, fact)
    count = (rng.choice((256, 320, 400)) - len(note) - len(asked)) // len(block)
    before = count if rng.random() < 0.12 else rng.randrange(count + 1)
    ids = block * before + note + block * (count - before)
    shape = MemoryShape(SERVED.sinks, rng.randrange(48, 129), rng.choice((16, 32)), 0)
    doublings = rng.choice((0, 0, 3, 7, 11, 15)) if count - before >= 2 else 0
    attend = StreamingAttention(model, shape, rule, far_distance=SERVED.far_distance)
    if doublings:
        attend = EndlessFiller(model, shape, rule, SERVED.far_distance, len(block), len(ids), doublings)
    return ids + asked, [OTHER] * len(ids) + classes, attend


def sparse_example(rng, tokenizer, model, rule):
    shape = MemoryShape(SERVED.sinks, rng.randrange(64, 129), rng.choice((32, 64)), 0)
    attend = StreamingAttention(model, shape, rule, far_distance=SERVED.far_distance)
    return *sparse_sequence(rng, tokenizer, 384, asked=3, most_facts=3), attend


def crowded_example(rng, tokenizer, model, tokens):
    """Every token kept; beyond the trained context only so."""
    shape = MemoryShape(SERVED.sinks, rng.randrange(48, 193), rng.choice((16, 32, 64)))
    attend = ParallelGatedAttention(model.config, shape, tokens, KeepAll(), far_distance=SERVED.far_distance)
    return *dense_sequence(rng, tokenizer, tokens, contrast=0.25, crowded=True), attend


def draw_examples(rng, tokenizer, model, rule, step):
    """[(what it is, ids, classes, attention)] of one step."""
    examples = [("passkey", *passkey_example(rng, tokenizer, model, rule)) for _ in range(3)]
    examples.append(("sparse", *sparse_example(rng, tokenizer, model, rule)))
    examples += [("crowded", *crowded_example(rng, tokenizer, model, 640)) for _ in range(2)]
    if step % 3 == 1:
        return examples + [("exact", *dense_sequence(rng, tokenizer, 512, contrast=0.25, crowded=True), None)]
    return examples + [("crowded", *crowded_example(rng, tokenizer, model, 1024 if step % 3 == 0 else 896))]


def start_memory(model, tokenizer, rng):
    """An `infini-delta` rule whose maps start centred on the base's keys, at a scale that makes features sparse."""
    config = model.config
    rule = make_rule("infini-delta", config, 0, "length")
    seen = {}

    def record(layer, h, q, k, v):
        seen[layer] = k[0, :, 0], q[0].flatten(0, 1)
        return attend(layer, h, q, k, v)

    ids, _, attend = crowded_example(rng, tokenizer, model, 500)
    with torch.no_grad():
        model.hidden(torch.tensor([ids[:-1]]), record)
        for layer, (k, q) in seen.items():
            key_scale, query_scale = (2 / (x.std(1).mean() + 1e-2) for x in (k, q))
            centre = k.mean(1) * key_scale
            rule.key_scale[layer] *= key_scale
            rule.key_shift[layer] = torch.cat((-centre, centre), dim=-1) - 1
            rule.query_scale[layer] *= query_scale
            rule.query_shift[layer] = -1.0
            rule.beta[layer] = OPEN if 2 * layer >= config.num_hidden_layers else CLOSED
    return rule


def learning_rate(step, steps):
    """Factor on the peak rates: short warm-up, flat, then cosine to 3 %."""
    falling = max(0.0, (step / steps - 0.4) / 0.6)
    return min(1.0, (step + 1) / 15) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * falling)))


class Cotraining:
    def __init__(self, args):
        self.args = args
        self.rng = random.Random(args.seed)
        self.tokenizer = Tokenizer.load(f"{args.model}/tokenizer.json")
        self.model = CausalModel.load(args.model)
        self.rule = start_memory(self.model, self.tokenizer, self.rng)
        self.pool = ThreadPoolExecutor(args.threads)
        maps = [p for name, p in self.rule.named_parameters() if name not in self.rule.GATES]
        gates = [p for name, p in self.rule.named_parameters() if name in self.rule.GATES]
        self.optimizers = ScheduledOptimizers([
            *make_optimizers(self.model, args.lr_muon, args.lr_adam, self.pool),
            torch.optim.Adam([{"params": gates, "lr": 5e-2}, {"params": maps, "lr": 2e-2}])])
        self.params = [*self.model.parameters(), *self.rule.parameters()]
        self.done = 0

    def part(self, example):
        """(what it is, gradients, loss, share of answer digits right) of one sequence."""
        what, ids, classes, attend = example
        loss, right, _ = loss_and_accuracy(self.model, torch.tensor([ids]), torch.tensor([classes]), attend)
        return what, torch.autograd.grad(loss, self.params, allow_unused=True), loss.item(), right

    def step(self):
        """One optimiser step; returns what to show."""
        examples = draw_examples(self.rng, self.tokenizer, self.model, self.rule, self.done)
        parts = list(self.pool.map(self.part, examples))
        for p, *gradients in zip(self.params, *(part[1] for part in parts)):
            p.grad = sum(g for g in gradients if g is not None) / len(parts) + torch.zeros_like(p)
        for module in (self.model, self.rule):
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        self.optimizers.step(learning_rate(self.done, self.args.steps))
        self.done += 1
        shown = {"loss": (sum(part[2] for part in parts) / len(parts), "{:.3f}")}
        for what in ("passkey", "sparse", "crowded"):
            rights = [part[3] for part in parts if part[0] == what]
            shown[what] = (100 * sum(rights) / len(rights), "{:.1f} %")
        return shown

    def save(self):
        self.model.save(f"{self.args.model}/model.safetensors")
        save_module(f"{self.args.model}/memory/infini-delta", self.rule, self.model.base_keys(), SERVED)
        if self.args.checkpoint:
            torch.save({"model": self.model.state_dict(), "rule": self.rule.state_dict(), "done": self.done,
                        "optimizers": self.optimizers.state_dict()}, self.args.checkpoint + ".tmp")
            os.replace(self.args.checkpoint + ".tmp", self.args.checkpoint)

    def load(self):
        saved = torch.load(self.args.checkpoint)
        self.model.load_state_dict(saved["model"])
        self.rule.load_state_dict(saved["rule"])
        self.optimizers.load_state_dict(saved["optimizers"])
        self.done = saved["done"]
        self.rng.seed(f"{self.args.seed}-{self.done}")


def train(args):
    torch.manual_seed(args.seed)
    training = Cotraining(args)
    if args.checkpoint and os.path.exists(args.checkpoint):
        training.load()
    progress = Progress(training.done, args.steps, args.show)
    while training.done < args.steps:
        shown = training.step()
        progress.update(training.done, "cotrain", shown)
        if training.done % args.save_every == 0 or training.done == args.steps:
            training.save()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder of the base; model.safetensors is replaced")
    add_arguments(parser, steps=600, lr_muon=0.008, lr_adam=1e-3, show=10)
    start(train, parser, argv)


if __name__ == "__main__":
    main()
