"""Writes golden.json: logits that another implementation of the model must reproduce.

    python3 -m training.golden --model models/gateway-demo

The exact case is a prompt of about 300 tokens that ends in a question and its answer; the gated case is a log of about
1,500 tokens, streamed with a small window so that it folds many times.
"""

import argparse

import torch

from training.gated import MemoryShape, StreamingAttention
from training.gateway_log import make_log
from training.memory_module import load_module
from training.model import CausalModel
from training.tokenizer import Tokenizer, write_json

GATED_SHAPE = MemoryShape(sinks=4, window=64, segment=32, salient=48)


def log_ids(tokenizer, tokens, facts, seed):
    """A log that ends in a question about its first fact, with the answer."""
    lines, placed = make_log(tokens, facts, seed, lambda line: len(tokenizer.encode(line)))
    return tokenizer.encode("".join(lines) + placed[0][0].asked())


def top_logits(logits, positions):
    """logits [T, V] -> the five highest ids and values at each position, highest first."""
    best = logits[positions].topk(5)
    return {"positions": positions, "top_ids": best.indices.tolist(),
            "top_logits": [[round(x, 6) for x in row] for row in best.values.tolist()]}


@torch.no_grad()
def make_golden(folder):
    model = CausalModel.load(folder).requires_grad_(False)
    tokenizer = Tokenizer.load(f"{folder}/tokenizer.json")
    rule, _ = load_module(folder, model)
    exact = log_ids(tokenizer, 280, 6, "golden-exact")
    last = len(exact) - 1
    positions = [0, 1, 50, 150, last - 6, last - 5, last - 4, last - 3, last - 2, last - 1]
    gated = log_ids(tokenizer, 1500, 6, "golden-gated")
    streamed = StreamingAttention(model, GATED_SHAPE, rule).feed(torch.tensor([gated]))[0]
    write_json(f"{folder}/golden.json", {
        "exact": {"ids": exact, **top_logits(model(torch.tensor([exact]))[0], positions)},
        "gated": {"sink_tokens": GATED_SHAPE.sinks, "window_tokens": GATED_SHAPE.window,
                  "segment_tokens": GATED_SHAPE.segment, "salient_tokens": GATED_SHAPE.salient, "ids": gated,
                  **top_logits(streamed, list(range(len(gated) - 10, len(gated))))}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    make_golden(parser.parse_args().model)


if __name__ == "__main__":
    main()
