"""What rounding weights, keys and values costs the demo model: perplexity and recall of each format.

    python3 -m tests.bench.quality                       # after ./dev build; minutes
    python3 -m tests.bench.quality --seeds 1 2 3 --weights int4 --kv f32 bf16

Every format takes in the same never-repeating logs (training/gateway_log.py); each question about a note in them is
asked in a copy of the session. Perplexity is that of all tokens of all logs, its change is against f32 weights with f32
keys and values.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

from client.demo.demo import CommandFailed, ask, run_json
from client.demo.server_process import DEMO_MODEL, ServerFailed, ServerProcess

EXACT = ("f32", "f32")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEMO_MODEL, metavar="DIR")
    parser.add_argument("--weights", nargs="+", default=["f32", "bf16", "int8", "int4"], metavar="FORMAT")
    parser.add_argument("--kv", nargs="+", default=["f32", "bf16", "int8"], metavar="FORMAT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[71, 72], metavar="SEED")
    parser.add_argument("--tokens", type=int, default=20_000, metavar="N", help="of each log")
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


if __name__ == "__main__":
    try:
        main()
    except (ServerFailed, CommandFailed) as error:
        sys.exit(f"quality: {error}")
