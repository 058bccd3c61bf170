"""Trains a memory module for a frozen base.

    python3 -m training.gates --model FOLDER --kind memgate --text FILE... --out FOLDER/memory
    python3 -m training.gates --model models/gateway-demo --kind memgate --gateway-log --out models/gateway-demo

Only the module's parameters are trained. Kinds without retention scores have one stage, `memory`: gradients flow
through the writes of a session. `memgate` has up to three:
- soft: every folded key gets log sigmoid(s) on its logit; the loss gets lambda * mean sigmoid(s), with lambda ramped
  up, so that the scores learn which tokens are needed and let go of all others;
- ranked: the penalty of a folded key depends on its distance from the score of the E-th best one, with E drawn anew, so
  that the needed tokens rank above all others, by a margin;
- matrix: the scores are fixed, exactly E tokens keep slots as in serving, with E drawn anew, and the matrix learns what
  to make of the others. With --joint the scores go on learning as in the ranked stage.
Window, segment, sinks and E are drawn anew for each sequence, the distance of far tokens is the one used in serving.
"""

import argparse
import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from training.distillation import (LayerwiseDistillation, Objective, answer_targets, learn, teacher_attention,
                                   text_targets)
from training.gated import MemoryShape, ParallelGatedAttention, StreamingAttention
from training.memory_module import KINDS, load_module, make_rule, save_module
from training.model import CausalModel, ExactAttention
from training.report import Progress, plot
from training.sources import GatewayLogs, TokenStream
from training.start import take_maps, write_by_score

LARGEST_SHARE = 0.005
WRITES = 16       # least number of segments that a training sequence folds, where its length allows
MATRIX_SLOTS = 64  # most slots of a sequence that the matrix learns from
SMALL_MODEL = 2e7  # parameters below which kernels on one thread and several sequences at once are faster


@dataclass(frozen=True)
class Stage:
    """A part of the training; `first` and `span` place it on the learning rate's schedule."""

    name: str
    steps: int
    first: int
    span: int
    scale: float = 1.0  # of the learning rate

    def rate(self, step):
        """Factor on the learning rates at `step` of the stage: flat, then linear to a tenth over the second half."""
        warm = min(1.0, (step + 1) / 10) if self.name in ("memory", "matrix") else 1.0
        return warm * self.scale * (1 - 0.9 * max(0, (self.first + step) / self.span - 0.5) / 0.5)


def make_stages(rule, args):
    if not rule.has_retention:
        return [Stage("memory", args.steps, 0, args.steps)]
    both = args.soft_steps + args.ranked_steps
    stages = [Stage("soft", args.soft_steps, 0, both), Stage("ranked", args.ranked_steps, args.soft_steps, both, 0.75)]
    if rule.compresses:
        stages.append(Stage("matrix", args.steps, 0, args.steps))
    return [stage for stage in stages if stage.steps]


def locate(stages, step):
    """(stage, step of the stage) of a step of the whole training."""
    for stage in stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    return stages[-1], stages[-1].steps


class Lengths:
    """Curriculum over sequence lengths: on to the next once recall passes `target` or its share of steps is over."""

    def __init__(self, lengths, target=0.8):
        self.lengths, self.target, self.index, self.recall = sorted(lengths), target, 0, 0.0

    def draw(self, rng, done):
        """A length, in half of the draws the present longest; `done` is the share of all steps."""
        self.index = max(self.index, min(len(self.lengths) - 1, int(done * 1.5 * len(self.lengths))))
        return self.lengths[self.index if rng.random() < 0.5 else rng.randrange(self.index + 1)]

    def update(self, recall):
        self.recall += 0.1 * (recall - self.recall)
        if self.recall > self.target and self.index + 1 < len(self.lengths):
            self.index, self.recall = self.index + 1, 0.0


def draw_shape(rng, tokens, served, gateway_log, stage):
    """A random geometry for a training sequence of `tokens` tokens."""
    if stage in ("soft", "ranked") and gateway_log:
        window, segment, slots = rng.randrange(48, 160), rng.choice((16, 32, 64)), rng.choice((16, 24, 32, 48))
        return MemoryShape(served.sinks, window, segment, slots)
    sinks = rng.randrange(2 * served.sinks + 1)
    shortest = max(4, min(tokens // 12, served.window // 3))
    window = rng.randrange(shortest, max(shortest + 1, min(tokens // 3, served.window + 1)))
    largest = max(1, (tokens - sinks - window) // WRITES)
    segment = max(1, rng.choice((largest // 2, largest)))
    slots = rng.choice((tokens // 32, tokens // 24, tokens // 16, tokens // 12))
    if stage == "matrix":  # few, so that what matters overflows
        slots = min(slots, MATRIX_SLOTS)
        slots = rng.choice((0, 0, slots // 2, slots)) if served.salient else 0
    return MemoryShape(sinks, window, min(segment, served.segment), slots)


def make_attention(model, rule, shape, tokens, far_distance, stage, joint, batch, device):
    """The gated path of a training sequence."""
    if stage in ("soft", "ranked"):
        slots, sharpness = (None, None) if stage == "soft" else (shape.salient, 2.0)
        return ParallelGatedAttention(model.config, shape, tokens, rule.retention, slots, sharpness, far_distance,
                                      device)
    sharpness = 2.0 if joint and stage == "matrix" and shape.salient else None
    return StreamingAttention(model, shape, rule, batch, far_distance, sharpness)


def trained_parameters(rule, stage, joint):
    """{name: parameter} that `stage` changes."""
    parameters = {name: p for name, p in rule.named_parameters() if p.requires_grad}
    if stage in ("soft", "ranked"):
        return {name: p for name, p in parameters.items() if name.startswith("retention.")}
    if stage == "matrix" and not joint:
        return {name: p for name, p in parameters.items() if not name.startswith("retention.")}
    return parameters


def make_optimizer(rule, args):
    """Adam with own rates for retention scores and gates; decay on neither."""
    groups = {"retention": [], "gates": [], "maps": []}
    for name, p in rule.named_parameters():
        gate = name in rule.GATES
        groups["retention" if name.startswith("retention.") else "gates" if gate else "maps"].append(p)
    rates = {"retention": args.retention_lr, "gates": args.gate_lr, "maps": args.lr}
    decay = {"maps": args.weight_decay}
    return torch.optim.AdamW([{"params": params, "lr": rates[name], "peak": rates[name],
                               "weight_decay": decay.get(name, 0.0)} for name, params in groups.items() if params])


class Trainer:
    """State of a training: everything that a checkpoint holds, and one `step`."""

    def __init__(self, args, model, rule, shape, source):
        self.args, self.model, self.rule, self.shape, self.source = args, model, rule, shape, source
        self.stages = make_stages(rule, args)
        self.steps = sum(stage.steps for stage in self.stages)
        self.optimizer = make_optimizer(rule, args)
        self.rng = random.Random(args.seed)
        self.lengths = Lengths(args.lengths)
        self.done, self.history = 0, []
        self.pool = ThreadPoolExecutor(args.threads)

    def objective(self, stage):
        """Gateway logs train retention by the answers alone."""
        if not self.args.gateway_log:
            return Objective(self.args.distillation, self.args.next_token, self.args.far_weight, self.args.far_nats)
        if stage in ("soft", "ranked"):
            return Objective(0.0, 1.0)
        return Objective(self.args.distillation, 1.0, rest=self.args.rest_weight)

    def penalty(self, stage, step):
        """lambda, the weight of the mean retention."""
        if stage.name == "ranked":
            return 0.5 * self.args.penalty
        return self.args.penalty * (1.0 if self.args.resume_module else min(1.0, step / (0.5 * stage.steps)))

    def targets(self, shape, ids, classes, objective):
        if classes is None:
            return text_targets(self.model, shape, self.shape.far_distance, ids, objective)
        return answer_targets(self.model, shape, self.shape.far_distance, ids, classes, objective)

    def part(self, stage, penalty, shape, ids, classes, params):
        """Outcome of some sequences [B, T + 1] of one geometry."""
        args, far, tokens = self.args, self.shape.far_distance, ids.shape[1] - 1
        objective = self.objective(stage.name)
        targets = self.targets(shape, ids, classes, objective)
        attend = lambda: make_attention(self.model, self.rule, shape, tokens, far, stage.name, args.joint, len(ids),
                                        ids.device)
        if not args.local:
            return learn(self.model, attend(), ids, targets, objective, params, penalty, args.truncation)
        outcome = learn(self.model, attend(), ids, targets, objective, [], penalty) if self.shows_recall else None
        full = teacher_attention(self.model, tokens, shape, far, ids.device)
        full = full or ExactAttention(self.model.config, tokens, ids.device)
        weights = targets.distilled + args.far_weight * targets.counted.float()
        local = LayerwiseDistillation(self.model, full, attend(), weights, params, penalty)
        with torch.no_grad():
            self.model.hidden(ids[:, :-1], local)
        if outcome:
            local.outcome.right, local.outcome.counted = outcome.right, outcome.counted
        return local.outcome

    @property
    def shows_recall(self):
        """With --local, recall costs a forward pass of its own, so not every step measures it."""
        return not self.args.local or self.done % 10 == 0

    def step(self):
        """One optimiser step; returns the stage's name and {value shown: (number, format)}."""
        stage, step = locate(self.stages, self.done)
        device = self.model.head().device
        tokens = self.lengths.draw(self.rng, self.done / self.steps)
        ids, classes = self.source.next(self.rng, self.args.batch, tokens)
        ids = torch.from_numpy(ids).to(device)
        classes = None if classes is None else torch.from_numpy(classes).to(device)
        params = list(trained_parameters(self.rule, stage.name, self.args.joint).values())
        penalty = self.penalty(stage, step) if stage.name in ("soft", "ranked") else 0.0
        size = self.args.batch if device.type == "cuda" else 1
        shapes = [draw_shape(self.rng, ids.shape[1] - 1, self.shape, self.args.gateway_log, stage.name)
                  for _ in ids.split(size)]
        outcomes = list(self.pool.map(
            lambda part: self.part(stage, penalty, *part, params),
            zip(shapes, ids.split(size), [None] * len(shapes) if classes is None else classes.split(size))))
        self.apply(stage, step, params, outcomes)
        return self.record(stage, outcomes)

    def apply(self, stage, step, params, outcomes):
        for p in self.rule.parameters():
            p.grad = None
        for p, *gradients in zip(params, *(outcome.gradients for outcome in outcomes)):
            p.grad = sum(gradients) / len(outcomes)
        if stage.name in ("memory", "matrix"):
            torch.nn.utils.clip_grad_norm_(params, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * stage.rate(step)
        self.optimizer.step()

    def record(self, stage, outcomes):
        self.done += 1
        loss = sum(outcome.loss for outcome in outcomes) / len(outcomes)
        counted = sum(outcome.counted for outcome in outcomes)
        recall = sum(outcome.right for outcome in outcomes) / counted if counted else self.last_recall()
        if counted:
            self.lengths.update(recall)
        self.history.append((self.done, stage.name, loss, recall))
        kept = sum(outcome.kept for outcome in outcomes) / len(outcomes)
        name, value = ("kept", kept) if stage.name in ("soft", "ranked") else self.rule.summary()
        return stage.name, {"loss": (loss, "{:.3f}"), "recall": (100 * recall, "{:.1f} %"),
                            name: (100 * value, "{:.2f} %")}

    def last_recall(self):
        return self.history[-1][3] if self.history else 0.0

    def save(self, path):
        data = {"rule": self.rule.state_dict(), "optimizer": self.optimizer.state_dict(), "rng": self.rng.getstate(),
                "lengths": (self.lengths.index, self.lengths.recall), "done": self.done, "history": self.history,
                "identity": self.identity()}
        torch.save(data, path + ".tmp")
        os.replace(path + ".tmp", path)

    def load(self, path):
        """Goes on where `path` was saved; ValueError if that was another training."""
        data = torch.load(path, map_location=self.model.head().device)
        if data["identity"] != self.identity():
            raise ValueError(f"{path} belongs to another training (model, kind or settings differ)")
        self.rule.load_state_dict(data["rule"])
        self.optimizer.load_state_dict(data["optimizer"])
        self.rng.setstate(data["rng"])
        self.lengths.index, self.lengths.recall = data["lengths"]
        self.done, self.history = data["done"], data["history"]

    def identity(self):
        """Hash of what must be the same when a training goes on."""
        told = [self.model.fingerprint(), self.rule.kind, self.shape]
        told += [sorted((name, tuple(p.shape), p.requires_grad) for name, p in self.rule.named_parameters())]
        told += [(stage.name, stage.steps) for stage in self.stages]
        return hashlib.sha256(repr(told).encode("utf-8")).hexdigest()


def trained_share(model, rule):
    """(parameters trained, their share of all)."""
    trained = sum(p.numel() for p in rule.parameters() if p.requires_grad)
    return trained, trained / sum(p.numel() for p in (*rule.parameters(), *model.parameters()))


def make_source(args, model, first):
    if args.gateway_log:
        seed = f"gates-{args.seed}" + (f"-{first}" if first else "")
        return GatewayLogs(args.tokenizer or f"{args.model}/tokenizer.json", seed, passkey_share=args.passkey_share,
                           most_facts=args.most_facts, asked=args.asked)
    if args.token_ids:
        source = TokenStream.of_ids(args.token_ids)
    else:
        source = TokenStream.of_text(args.text, args.tokenizer or f"{args.model}/tokenizer.json")
    source.check(model.config.vocab_size, max(args.lengths))
    print(f"{len(source.ids)} tokens of text", flush=True)
    return source


def train(args):
    """Trains and writes the module; returns the trained rule."""
    torch.manual_seed(args.seed)
    model = CausalModel.load(args.model, args.device).requires_grad_(False)
    fill_defaults(args, model)
    before = model.base_keys()
    shape = MemoryShape(args.sinks, args.window, args.segment, args.salient)
    if shape.far_distance > model.config.max_position_embeddings:
        raise SystemExit(f"--window and --segment put far tokens {shape.far_distance} tokens away; the model, or the "
                         f"window that its layers have, knows {model.config.max_position_embeddings}")
    rule = start_rule(args, model)
    trained, share = trained_share(model, rule)
    print(f"base {before['base_fingerprint']}\nparameters trained: {trained} ({100 * share:.2f} % of all)", flush=True)
    if share > LARGEST_SHARE and not args.allow_share:
        raise SystemExit(f"that is more than {100 * LARGEST_SHARE} %; --allow-share trains it all the same")
    trainer = Trainer(args, model, rule, shape, None)
    if args.checkpoint and os.path.exists(args.checkpoint):
        trainer.load(args.checkpoint)
        print(f"goes on after step {trainer.done}", flush=True)
    trainer.source = make_source(args, model, trainer.done)
    start_writes(args, model, trainer)
    progress = Progress(trainer.done, trainer.steps, args.show)
    while trainer.done < trainer.steps:
        stage, values = trainer.step()
        progress.update(trainer.done, stage, values)
        if trainer.done % args.save_every == 0 or trainer.done == trainer.steps:
            save_module(args.out, rule, before, shape, args.name)
            if args.checkpoint:
                trainer.save(args.checkpoint)
    trainer.source.close()
    finish(args, model, trainer, before)
    return rule


def finish(args, model, trainer, before):
    """Proves that the base is as it was, and draws the plot."""
    after = model.base_keys()
    state = "unchanged" if after == before else "CHANGED"
    print(f"base {after['base_fingerprint']} {state}\nmodule in {args.out}", flush=True)
    torch.set_flush_denormal(False)  # NumPy looks at denormals when matplotlib loads
    if trainer.history:
        plot(args.plot, trainer.history, f"{trainer.rule.kind}, {trainer.steps} steps")
        print(f"plot in {args.plot}", flush=True)
    if after != before:
        raise SystemExit("the base changed while it was frozen")


def start_rule(args, model):
    """A new rule, or the one of --resume-module; slots of a module can be given a new matrix."""
    resumed = load_module(args.resume_module, model)[0] if args.resume_module else None
    if resumed is not None and resumed.kind != args.kind:
        raise SystemExit(f"{args.resume_module} holds the kind {resumed.kind}")
    rule = resumed
    if resumed is None or resumed.compresses < (not args.slots_only):
        parameters = sum(p.numel() for p in model.parameters())
        rule = make_rule(args.kind, model.config, parameters, args.normaliser, args.expansion, not args.slots_only,
                         args.gate)
        if resumed is not None:
            rule.retention = resumed.retention
        if args.maps_from:
            take_maps(rule, load_module(args.maps_from, model)[0])
    for name, p in rule.to(args.device).named_parameters():
        is_map = name.split(".")[-1] in ("key_scale", "key_shift", "query_scale", "query_shift")
        p.requires_grad_(not (is_map and (args.fixed_maps or (args.fixed_scale and name.endswith("_scale")))))
    return rule


def start_writes(args, model, trainer):
    """A new matrix beside trained slots begins with the write strengths of write_by_score."""
    new = args.resume_module and trainer.rule.kind == "memgate" and trainer.rule.compresses and not trainer.done
    if not new or trainer.rule.matrix.write_weight.any():
        return
    ids, _ = trainer.source.next(trainer.rng, args.batch, max(args.lengths))
    shape = MemoryShape(args.sinks, args.window, args.segment, args.salient)
    write_by_score(model, trainer.rule, shape, torch.from_numpy(ids[:, :-1]).to(args.device))


def fill_defaults(args, model):
    """Defaults that depend on the model."""
    small = sum(p.numel() for p in model.parameters()) < SMALL_MODEL
    if small:
        torch.set_num_threads(1)
    args.threads = args.threads or (min(os.cpu_count() or 1, args.batch) if small and args.device == "cpu" else 1)
    if not args.lengths:
        longest = args.tokens or (576 if args.gateway_log else min(2048, model.config.max_position_embeddings))
        args.lengths = [longest] if args.gateway_log else [longest // 4, longest // 2, longest]
    if args.salient is None:
        args.salient = 256 if args.kind == "memgate" else 0
    args.plot = args.plot or f"{args.out}/training.png"
    if args.distillation is None:
        args.distillation = 0.1 if args.gateway_log else 1.0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--kind", choices=KINDS, default="memgate")
    add("--model", required=True, help="Hugging Face folder of the base")
    add("--out", required=True, help="folder that gets memory.safetensors and memory.json")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--text", nargs="+", help="UTF-8 files to train on")
    data.add_argument("--token-ids", nargs="+", help="files of token ids: .npy, or raw little-endian u32")
    data.add_argument("--gateway-log", action="store_true", help="generated logs with questions (the demo model)")
    add("--tokenizer", help="tokenizer.json (default: the model's)")
    add("--passkey-share", type=float, default=0.0, help="share of gateway logs whose noise repeats")
    add("--most-facts", type=int, default=8, help="notes in a gateway log, at most")
    add("--asked", type=int, default=5, help="questions at the end of a gateway log, and at most as many before")
    add("--name", help="of the module where a server lists it (default: the kind's)")
    add("--sinks", type=int, default=4, help="of a served session, as the next three")
    add("--window", type=int, default=192)
    add("--segment", type=int, default=64)
    add("--salient", type=int, help="slots (default: 256 for memgate, else 0)")
    add("--steps", type=int, default=300, help="of the memory or matrix stage")
    add("--soft-steps", type=int, default=70)
    add("--ranked-steps", type=int, default=70)
    add("--tokens", type=int, help="longest training sequence (default: the model's context, at most 2048)")
    add("--lengths", type=int, nargs="+", help="curriculum of lengths (default: a quarter, half, all of --tokens)")
    add("--batch", type=int, default=4)
    add("--truncation", type=int, default=32, help="segments after which back-propagation through the memory ends")
    add("--lr", type=float, default=1e-2, help="rate of maps")
    add("--gate-lr", type=float, default=1e-2, help="rate of gates")
    add("--retention-lr", type=float, default=4e-2, help="rate of retention scores")
    add("--weight-decay", type=float, default=0.0, help="on maps; gates and scores have none")
    add("--penalty", type=float, default=1.0, help="lambda, the weight of the mean retention")
    add("--distillation", type=float, help="weight of the KL to full attention (default: 1, with --gateway-log 0.1)")
    add("--rest-weight", type=float, default=0.0, help="of the next-token loss beside the answers of gateway logs")
    add("--next-token", type=float, default=0.2, help="weight of the next-token loss on text")
    add("--far-weight", type=float, default=10.0, help="weight of a far token, others beyond the window have 1")
    add("--far-nats", type=float, default=1.0, help="a far token is one that full attention explains better by this")
    add("--normaliser", choices=("sum", "length"), help="of the infini kinds (default: length for infini-delta)")
    add("--expansion", type=int, help="infini kinds: features per head dimension, 0 for none of their own "
                                      "(default: 1, for infini-delta 2)")
    add("--fixed-scale", action="store_true", help="feature maps: train the shifts alone")
    add("--fixed-maps", action="store_true", help="feature maps: train neither scales nor shifts")
    add("--maps-from", help="folder of an infini module on the same base whose feature maps and gates a new one takes")
    add("--slots-only", action="store_true", help="memgate without a matrix")
    add("--joint", action="store_true", help="memgate: train the scores in the matrix stage as well")
    add("--gate", type=float, help="start of the gates before the sigmoid")
    add("--local", action="store_true", help="train each layer against its own full attention, forward passes only")
    add("--resume-module", help="folder of a trained module to start from; a matrix that it lacks is new")
    add("--allow-share", action="store_true", help=f"train more than {100 * LARGEST_SHARE} %% of the parameters")
    add("--checkpoint", help="file to resume from and save to")
    add("--plot", help="file of the plot, .png or .svg (default: training.png in --out)")
    add("--device", default="cpu", help="cpu or cuda")
    add("--seed", type=int, default=1)
    add("--threads", type=int, help="sequences at a time on the CPU")
    add("--show", type=int, default=10, help="steps per line where the output is no terminal")
    add("--save-every", type=int, default=50)
    return parser.parse_args(argv)


def main(argv=None):
    torch.set_flush_denormal(True)
    return train(parse(argv))


if __name__ == "__main__":
    main()
