"""Trains the base on gateway logs with ordinary causal attention.

    python3 -m training.base --out models/gateway-demo --checkpoint /tmp/train/base.pt

The curriculum lengthens the context when the answers at the present length are right. Loss: cross-entropy, weight 1 on
the digits of answers and a small weight on everything else.
"""

import argparse
import math
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.nn import functional

from training.data import ANSWER, KEY, Batches, dense_sequence
from training.distillation import KeepAll
from training.gated import MemoryShape, ParallelGatedAttention
from training.model import CausalModel, Config, rope_angles, rotate
from training.optimisation import ScheduledOptimizers, add_arguments, make_optimizers, start
from training.tokenizer import END_OF_TEXT, Tokenizer, write_json

LENGTHS = (128, 192, 256, 384, 512)
LONGEST = 640  # only with the clamped distances of the gated path
CONFIG_KEYS = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
               "num_key_value_heads", "head_dim", "max_position_embeddings", "rope_theta", "rms_norm_eps",
               "rope_scaling", "tie_word_embeddings")
CLASS_WEIGHT = torch.tensor([0.05, 0.3, 1.0, 1.0])  # by class of the target, see data.py


class DemoBase(CausalModel):
    """A model to be trained from nothing, with start values that let attention by key form early."""

    def __init__(self, config):
        super().__init__(config)
        deep = 0.1 * (2 * config.num_hidden_layers) ** -0.5
        for name, p in self.named_parameters():
            if p.dim() == 2:
                scale = 0.05 if "embed" in name else p.shape[1] ** -0.5
                nn.init.normal_(p, std=scale * (deep if "o_proj" in name or "down_proj" in name else 1.0))

    @torch.no_grad()
    def start_local(self, sharpness=0.56, frequencies=8):
        """Starts the heads of the first two layers as looking 1, 2, 3, ... tokens back.

        Finding a note by a key of several tokens needs the key's tokens carried to the value; started like this, that
        half of the induction circuit is there from the first step. The embeddings get a common component m, and
        W_q m, W_k m point along the highest RoPE frequencies, the query turned back by the head's offset.
        """
        config, d = self.config, self.config.head_dim
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        mean = functional.normalize(torch.randn(config.hidden_size), dim=0)
        embedding = self.model.embed_tokens.weight
        embedding += mean * embedding.norm(dim=1).mean()
        along = torch.zeros(d)
        along[:frequencies] = sharpness
        for i, layer in enumerate(self.model.layers[:2]):
            q, k = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            q *= 0.3
            k *= 0.3
            k += torch.outer(along.repeat(groups), mean)
            for head in range(heads):
                back = torch.tensor([-(1 + heads * i + head)])
                turned = rotate(along[None], rope_angles(back, config))[0]
                q[head * d : (head + 1) * d] += torch.outer(turned, mean)


def save_config(path, config, end_of_text_id, eos_ids):
    """Writes the config.json of a tied Llama."""
    fields = {name: getattr(config, name) for name in CONFIG_KEYS}
    write_json(path, {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", **fields, "hidden_act": "silu",
        "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "initializer_range": 0.02,
        "pretraining_tp": 1, "use_cache": True, "torch_dtype": "float32", "bos_token_id": None,
        "eos_token_id": eos_ids, "pad_token_id": end_of_text_id})


def learning_rate(step, steps, warmup=50):
    """Factor on the peak rate: linear warm-up, flat, then cosine to 2 % over the second half."""
    if step < warmup:
        return (step + 1) / warmup
    x = max(0.0, (step / steps - 0.5) / 0.5)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, x)))


def loss_and_accuracy(model, ids, classes, attend=None):
    """Weighted cross-entropy, share of right answer digits, loss on the keys of questions."""
    logits = model(ids[:, :-1], attend)
    targets, kinds = ids[:, 1:], classes[:, 1:].long()
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    weights = CLASS_WEIGHT[kinds]
    answer = kinds == ANSWER
    right = (logits.argmax(-1) == targets)[answer].float().mean()
    return (losses * weights).sum() / weights.sum(), right.item(), losses[kinds == KEY].mean().item()


def gradients(model, params, ids, classes, pool, workers, attend=None):
    """Sets p.grad from a batch split over `workers` Python threads; returns what loss_and_accuracy does, averaged.

    Each worker runs single-threaded kernels: at this model size that is faster than kernels on several threads.
    """
    def part(ids, classes):
        loss, right, key_loss = loss_and_accuracy(model, ids, classes, attend)
        return torch.autograd.grad(loss, params), (loss.item(), right, key_loss)

    parts = list(pool.map(part, ids.chunk(workers), classes.chunk(workers)))
    for grads in zip(params, *(grads for grads, _ in parts)):
        grads[0].grad = sum(grads[1:]) / len(parts)
    return [sum(values) / len(parts) for values in zip(*(values for _, values in parts))]


def draw_attention(rng, config, tokens):
    """None for ordinary attention; for some long sequences the gated path with all tokens kept, at a random window.

    There, tokens beyond the window sit at one constant distance, so that it also reaches past the trained positions.
    """
    if tokens < 384 or (tokens <= config.max_position_embeddings and rng.random() < 0.4):
        return None
    shape = MemoryShape(4, rng.randrange(48, 193), rng.choice((16, 32, 64)))
    return ParallelGatedAttention(config, shape, tokens, KeepAll(), far_distance=MemoryShape().far_distance)


class Curriculum:
    """Moves to the next length once the running accuracy of answer digits passes `target`; mixes lengths at the end."""

    def __init__(self, lengths, target=0.85):
        self.lengths, self.target, self.stage, self.accuracy = lengths, target, 0, 0.0

    @property
    def finished(self):
        return self.stage + 1 == len(self.lengths)

    def draw_length(self, rng):
        return rng.choice((256, 512, LONGEST)) if self.finished else self.lengths[self.stage]

    def contrast(self):
        """Share of sequences whose keys differ in one part only."""
        return 0.7 if self.stage == 0 else 0.25 if self.finished else 0.4

    def update(self, accuracy):
        self.accuracy += 0.05 * (accuracy - self.accuracy)
        if self.accuracy > self.target and self.stage + 1 < len(self.lengths):
            self.stage += 1
            self.accuracy = 0.3
            return True
        return False


def train(args):
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    tokenizer = Tokenizer.load(f"{args.out}/tokenizer.json")
    end_id = tokenizer.special[END_OF_TEXT]
    config = Config(vocab_size=tokenizer.size)
    save_config(f"{args.out}/config.json", config, end_id, [end_id, tokenizer.encode("\n")[0]])
    model = DemoBase(config)
    model.start_local()
    params, pool = list(model.parameters()), ThreadPoolExecutor(args.threads)
    optimizers = ScheduledOptimizers(make_optimizers(model, args.lr_muon, args.lr_adam, pool))
    curriculum, step = Curriculum(LENGTHS), 0
    if args.checkpoint and os.path.exists(args.checkpoint):
        saved = torch.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizers.load_state_dict(saved["optimizers"])
        step, curriculum.stage, curriculum.accuracy = saved["step"], saved["stage"], saved["accuracy"]
    batches = Batches(f"{args.out}/tokenizer.json", dense_sequence, f"base-{args.seed}-{step}")
    print(f"parameters {sum(p.numel() for p in model.parameters())} vocabulary {tokenizer.size}", flush=True)
    began, first = time.time(), step
    shown = [0.0, 0.0, 0.0, 0]
    while step < args.steps:
        tokens = curriculum.draw_length(rng)
        ids, classes = batches.next(max(1, args.batch_tokens // tokens), tokens, contrast=curriculum.contrast(),
                                    crowded=curriculum.finished)
        attend = draw_attention(rng, config, ids.shape[1] - 1) if curriculum.finished else None
        loss, right, key_loss = gradients(
            model, params, torch.from_numpy(ids), torch.from_numpy(classes), pool, args.threads, attend)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate(step, args.steps))
        step += 1
        moved = curriculum.update(right)
        shown = [shown[0] + loss, shown[1] + right, shown[2] + key_loss, shown[3] + 1]
        if step % args.show == 0 or moved:
            rate = (time.time() - began) / (step - first)
            print(f"step {step}/{args.steps} tokens {ids.shape[1] - 1} loss {shown[0] / shown[3]:.3f} "
                  f"digits right {100 * shown[1] / shown[3]:.1f} % key loss {shown[2] / shown[3]:.3f} "
                  f"{rate * 1000:.0f} ms/step ETA {(args.steps - step) * rate / 60:.1f} min", flush=True)
            shown = [0.0, 0.0, 0.0, 0]
        if step % args.save_every == 0 or step == args.steps:
            save(args, model, optimizers, curriculum, step)
    batches.close()


def save(args, model, optimizers, curriculum, step):
    model.save(f"{args.out}/model.safetensors")
    if args.checkpoint:
        torch.save({"model": model.state_dict(), "optimizers": optimizers.state_dict(), "step": step,
                    "stage": curriculum.stage, "accuracy": curriculum.accuracy}, args.checkpoint + ".tmp")
        os.replace(args.checkpoint + ".tmp", args.checkpoint)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder with tokenizer.json; gets config.json, model.safetensors")
    parser.add_argument("--batch-tokens", type=int, default=2560)
    add_arguments(parser, steps=1550, lr_muon=0.015, lr_adam=3e-3, show=20)
    start(train, parser, argv)


if __name__ == "__main__":
    main()
