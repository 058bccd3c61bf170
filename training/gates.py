"""Trains a memory module for a frozen base.

    python3 -m training.gates --kind memgate --model models/gateway-demo

Only the retention scores are trained: one vector and one bias per layer and KV head. Two stages:
- soft: every folded key gets log sigmoid(s) on its logit; loss = cross-entropy of the answers + lambda * mean
  sigmoid(s), with lambda ramped up, so that the scores learn which tokens the answers need and let go of all others;
- ranked: the penalty of a folded key depends on its distance from the score of the E-th best one, with E drawn anew, so
  that the tokens the answers need rank above all others, by a margin.
Window, segment and E are drawn anew for each sequence, the distance of far tokens is the one used in serving.
"""

import argparse
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional

from training import safetensors_io
from training.data import ANSWER, Batches, sparse_sequence
from training.gated import MemoryShape, ParallelGatedAttention, Retention
from training.model import Llama
from training.tokenizer import write_json


def load_retention(folder, config):
    """The trained scores of `folder`/memory.safetensors."""
    retention = Retention(config)
    tensors = safetensors_io.load(f"{folder}/memory.safetensors")
    with torch.no_grad():
        for i in range(config.num_hidden_layers):
            retention.weight[i] = torch.from_numpy(tensors[f"layers.{i}.retention.weight"])
            retention.bias[i] = torch.from_numpy(tensors[f"layers.{i}.retention.bias"])
    return retention.requires_grad_(False)


def save_memory(folder, model, retention, shape):
    """Writes memory.safetensors ([G, C] and [G] per layer) and memory.json."""
    config, tensors = model.config, {}
    for i in range(config.num_hidden_layers):
        tensors[f"layers.{i}.retention.weight"] = retention.weight[i].detach().numpy()
        tensors[f"layers.{i}.retention.bias"] = retention.bias[i].detach().numpy()
    safetensors_io.save(f"{folder}/memory.safetensors", tensors)
    write_json(f"{folder}/memory.json", {
        "format": "memgate-memory", "version": 1, "kind": "memgate",
        "base_fingerprint": safetensors_io.fingerprint(model.tensors()),
        "num_layers": config.num_hidden_layers, "hidden_size": config.hidden_size,
        "num_kv_heads": config.num_key_value_heads, "head_dim": config.head_dim,
        "sink_tokens": shape.sinks, "window_tokens": shape.window, "segment_tokens": shape.segment,
        "salient_tokens": shape.salient})


def load_shape(folder):
    """The sizes in `folder`/memory.json."""
    with open(f"{folder}/memory.json", encoding="utf-8") as f:
        data = json.load(f)
    return MemoryShape(*(data[f"{name}_tokens"] for name in ("sink", "window", "segment", "salient")))


def gated_loss(model, attend, ids, classes, penalty):
    """(loss, share of right answer digits, mean retention)."""
    logits = model(ids[:, :-1], attend)
    answer = classes[:, 1:] == ANSWER
    logits, targets = logits[answer], ids[:, 1:][answer]
    retained = torch.stack([scores.sigmoid().mean() for scores in attend.scores]).mean()
    right = (logits.argmax(-1) == targets).float().mean().item()
    return functional.cross_entropy(logits, targets) + penalty * retained, right, retained.item()


def draw_attention(rng, tokens, config, retention, shape, ranked):
    """Attention with a random window, segment and, in the ranked stage, a random number of slots."""
    drawn = MemoryShape(shape.sinks, rng.randrange(48, 160), rng.choice((16, 32, 64)))
    slots = rng.choice((16, 24, 32, 48)) if ranked else None
    return ParallelGatedAttention(config, drawn, tokens, retention, slots, sharpness=2.0,
                                  far_distance=shape.far_distance)


def gradients(model, retention, attends, ids, classes, penalty, pool):
    """Sets p.grad from a batch of which each sequence has its own attention.

    Returns mean loss, share of right digits and mean retention. Sequences run on Python threads with single-threaded
    kernels.
    """
    params = list(retention.parameters())

    def part(attend, ids, classes):
        loss, right, retained = gated_loss(model, attend, ids[None], classes[None], penalty)
        return torch.autograd.grad(loss, params), (loss.item(), right, retained)

    parts = list(pool.map(part, attends, ids, classes))
    for grads in zip(params, *(grads for grads, _ in parts)):
        grads[0].grad = sum(grads[1:]) / len(parts)
    return [sum(values) / len(parts) for values in zip(*(values for _, values in parts))]


def train(args):
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    model = Llama.load(args.model).requires_grad_(False)
    before = safetensors_io.fingerprint(model.tensors())
    shape = MemoryShape(args.sinks, args.window, args.segment, args.salient)
    retention = load_retention(args.model, model.config) if args.resume else Retention(model.config)
    retention.requires_grad_(True)
    trained = sum(p.numel() for p in retention.parameters())
    total = sum(p.numel() for p in model.parameters())
    share = 100 * trained / (total + trained)
    print(f"base {before}\nparameters trained: {trained} of {total + trained} ({share:.2f} %)", flush=True)
    optimizer = torch.optim.Adam(retention.parameters(), lr=args.lr)
    steps = args.soft_steps + args.ranked_steps
    batches = Batches(f"{args.model}/tokenizer.json", sparse_sequence, f"gates-{args.seed}")
    began, shown, pool = time.time(), [0.0, 0.0, 0.0], ThreadPoolExecutor(args.threads)
    for step in range(steps):
        ranked = step >= args.soft_steps
        ramp = 1.0 if args.resume else min(1.0, step / (0.5 * args.soft_steps))
        penalty = args.penalty * (0.5 if ranked else ramp)
        ids, classes = map(torch.from_numpy, batches.next(args.batch, args.tokens))
        attends = [draw_attention(rng, args.tokens, model.config, retention, shape, ranked) for _ in ids]
        for group in optimizer.param_groups:
            group["lr"] = args.lr * (0.75 if ranked else 1.0) * (1 - 0.9 * max(0, step / steps - 0.5) / 0.5)
        values = gradients(model, retention, attends, ids, classes, penalty, pool)
        optimizer.step()
        shown = [total + value for total, value in zip(shown, values)]
        if (step + 1) % args.show == 0:
            rate = (time.time() - began) / (step + 1)
            print(f"step {step + 1}/{steps} {'ranked' if ranked else 'soft'} loss {shown[0] / args.show:.3f} "
                  f"digits right {100 * shown[1] / args.show:.1f} % retained {100 * shown[2] / args.show:.2f} % "
                  f"{rate:.2f} s/step ETA {(steps - step - 1) * rate / 60:.1f} min", flush=True)
            shown = [0.0, 0.0, 0.0]
        if (step + 1) % args.save_every == 0 or step + 1 == steps:
            save_memory(args.model, model, retention, shape)
    batches.close()
    after = safetensors_io.fingerprint(model.tensors())
    print(f"base {after} {'unchanged' if after == before else 'CHANGED'}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=("memgate",), default="memgate")
    parser.add_argument("--model", required=True, help="folder of the base; gets memory.safetensors and memory.json")
    parser.add_argument("--sinks", type=int, default=4)
    parser.add_argument("--window", type=int, default=192)
    parser.add_argument("--segment", type=int, default=64)
    parser.add_argument("--salient", type=int, default=256)
    parser.add_argument("--soft-steps", type=int, default=70)
    parser.add_argument("--ranked-steps", type=int, default=70)
    parser.add_argument("--tokens", type=int, default=576, help="length of a training sequence")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--penalty", type=float, default=1.0, help="lambda, the weight of the mean retention")
    parser.add_argument("--lr", type=float, default=4e-2)
    parser.add_argument("--resume", action="store_true", help="start from the scores in memory.safetensors")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--save-every", type=int, default=50)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train(args)


if __name__ == "__main__":
    main()
