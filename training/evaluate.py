"""Recall over long logs, streamed through a session of constant size.

    python3 -m training.evaluate --model models/gateway-demo --tokens 20000 --seeds 11 12 13 14 15

For each seed a log with facts is streamed, then facts that left the window long ago are asked one after another in the
same session; the answers stay in it. An answer counts when all its digits are right under greedy decoding.
"""

import argparse
import time

import torch

from training.gated import StreamingAttention
from training.gateway_log import choose_questions, make_log
from training.memory_module import load_module
from training.model import CausalModel
from training.tokenizer import Tokenizer


def generate_line(session, ids, newline, most=8):
    """Greedy tokens after `ids` up to a newline, which is fed as well; the session moves on by all of them."""
    produced = []
    for _ in range(most):
        token = int(session.feed(torch.tensor([ids]))[0, -1].argmax())
        ids = [token]
        if token == newline:
            break
        produced.append(token)
    session.feed(torch.tensor([[newline]]))
    return produced


def ask_all(session, tokenizer, facts):
    """Answers as text, one per fact."""
    newline = tokenizer.encode("\n")[0]
    return [tokenizer.decode(generate_line(session, tokenizer.encode(fact.question()), newline)).strip()
            for fact in facts]


def log_with_questions(tokenizer, args, seed):
    """Token ids of a log, and the facts to ask."""
    count = lambda line: len(tokenizer.encode(line))
    lines, placed = make_log(args.tokens, args.facts, seed, count, tail=args.min_distance)
    total = sum(map(count, lines))
    chosen = choose_questions(placed, total, args.questions, seed, args.min_distance)
    return tokenizer.encode("".join(lines)), [item[0] for item in chosen]


def recall(model, rule, shape, tokenizer, args, seed):
    """(answers right, log tokens, seconds) for one seed."""
    ids, facts = log_with_questions(tokenizer, args, seed)
    began = time.time()
    session = StreamingAttention(model, shape, rule)
    for begin in range(0, len(ids), 4096):
        session.feed(torch.tensor([ids[begin : begin + 4096]]))
    answers = ask_all(session, tokenizer, facts)
    if args.verbose:
        for fact, answer in zip(facts, answers):
            print(f"    {fact.question()} {answer}{'' if answer == fact.value else f'  (is {fact.value})'}")
    return sum(a == f.value for a, f in zip(answers, facts)), len(ids), time.time() - began


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--memory", help="folder of the memory module (default: the model's)")
    parser.add_argument("--window-only", action="store_true", help="also sinks and window alone, in the same bytes")
    parser.add_argument("--tokens", type=int, default=20000)
    parser.add_argument("--facts", type=int, default=32)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--min-distance", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    return evaluate(args)


def evaluate(args):
    """Prints recall per kind and seed; returns {kind: [answers right per seed]}."""
    model = CausalModel.load(args.model).requires_grad_(False)
    tokenizer = Tokenizer.load(f"{args.model}/tokenizer.json")
    rule, shape = load_module(args.memory or args.model, model)
    sessions, results = {rule.kind: (rule, shape)}, {}
    if args.window_only:
        sessions["window"] = (None, shape.without_salient())
    for kind, (rule, used) in sessions.items():
        print(f"{kind}: sinks {used.sinks} window {used.window} segment {used.segment} salient {used.salient}")
        results[kind] = []
        for seed in args.seeds:
            right, tokens, seconds = recall(model, rule, used, tokenizer, args, seed)
            results[kind].append(right)
            print(f"  seed {seed}: {right} of {args.questions} right, {tokens} tokens, {args.facts} facts, "
                  f"{seconds:.1f} s", flush=True)
        print(f"  all seeds: {sum(results[kind])} of {args.questions * len(args.seeds)}", flush=True)
    return results


if __name__ == "__main__":
    main()
