"""What rounding weights, keys and values costs the demo model: perplexity, recall and divergence of each format.

    python3 -m tests.bench.quality                       # after ./dev test; minutes
    python3 -m tests.bench.quality --seeds 1 2 3 --weights int4 --kv f32 bf16
    python3 -m tests.bench.quality --random-model build/bench/models/qwen2.5-0.5b

Every format takes in the same never-repeating logs (training/gateway_log.py); each question about a note in them is
asked in a copy of the session. Perplexity is that of all tokens of all logs, its change is against f32 weights with f32
keys and values. Divergence is that of next-token distributions, KL(f32 || format) in nats, over the first tokens of the
first log; of a model with random weights over random tokens.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

from client.demo.demo import CommandFailed, ask, run_json
from client.demo.server_process import BUILD, DEMO_MODEL, ServerFailed, ServerProcess

EXACT = ("f32", "f32")
DIVERGENCE = os.path.join(BUILD, "tests", "bench", "memgate-bench-divergence")
DIVERGENCE_TOKENS, RANDOM_TOKENS = 4000, 256


def write_logs(folder, seeds, tokens):
    """Folders with log.txt and questions.json, one per seed."""
    for seed in seeds:
        path = os.path.join(folder, str(seed))
        subprocess.run([sys.executable, "-m", "training.gateway_log", "--tokens", str(tokens), "--facts", "32",
                        "--questions", "32", "--seed", str(seed), "--out", path], check=True, stdout=subprocess.DEVNULL)
        yield path


def measure(model, weights, kv, logs):
    """(perplexity, right answers, questions) of all logs together."""
    logprob = tokens = right = asked = 0
    with ServerProcess("--weights", weights, "--kv", kv, model=model) as server:
        for number, log in enumerate(logs):
            session = f"log-{number}"
            run_json(server.address, "sessions", "create", "--id", session)
            scored = run_json(server.address, "ingest", "--score", session, os.path.join(log, "log.txt"))[-1]
            logprob += scored["logprob_sum"]
            tokens += scored["scored_tokens"]
            with open(os.path.join(log, "questions.json"), encoding="utf-8") as f:
                questions = json.load(f)
            for question in questions:
                run_json(server.address, "sessions", "fork", session, "--id", "question")
                right += ask(server.address, "question", question)["right"]
                run_json(server.address, "sessions", "rm", "question")
                asked += 1
    return math.exp(-logprob / tokens), right, asked


def print_divergence(title, model, formats, tokens, *text):
    print(f"\n| weights | mean KL, {title} | largest | same best token |\n| --- | --- | --- | --- |")
    for format in formats:
        done = subprocess.run([DIVERGENCE, model, format, str(tokens), *text], stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        print(f"| `{format}` | {found['mean_kl']:.2g} | {found['largest_kl']:.2g} | {100 * found['same_best']:.1f} % |",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEMO_MODEL, metavar="DIR")
    parser.add_argument("--weights", nargs="+", default=["f32", "bf16", "int8", "int4"], metavar="FORMAT")
    parser.add_argument("--kv", nargs="+", default=["f32", "bf16", "int8"], metavar="FORMAT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[71, 72], metavar="SEED")
    parser.add_argument("--tokens", type=int, default=20_000, metavar="N", help="of each log")
    parser.add_argument("--random-model", metavar="DIR", help="a folder of tests/bench/make_model.py, to compare, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memgate-quality-") as folder:
        logs = list(write_logs(folder, args.seeds, args.tokens))
        exact, *counts = measure(args.model, *EXACT, logs)
        print("| weights | keys and values | perplexity | change | answers right |\n| --- | --- | --- | --- | --- |")
        for weights in args.weights:
            for kv in args.kv:
                perplexity, right, asked = ((exact, *counts) if (weights, kv) == EXACT
                                            else measure(args.model, weights, kv, logs))
                print(f"| `{weights}` | `{kv}` | {perplexity:.4f} | {100 * (perplexity / exact - 1):+.2f} % "
                      f"| {right} of {asked} |", flush=True)
        rounded = [weights for weights in args.weights if weights != "f32"]
        print_divergence("demo model", args.model, rounded, DIVERGENCE_TOKENS, os.path.join(logs[0], "log.txt"))
    if args.random_model:
        print_divergence("random weights", args.random_model, rounded, RANDOM_TOKENS)


if __name__ == "__main__":
    try:
        main()
    except (ServerFailed, CommandFailed, subprocess.CalledProcessError) as error:
        sys.exit(f"quality: {error}")
