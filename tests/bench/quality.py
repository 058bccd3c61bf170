"""What rounding weights, keys and values costs the demo model: perplexity, recall and divergence of each format.

    python3 -m tests.bench.quality --quick               # after ./dev test; seconds: the perplexities that have a bar
    python3 -m tests.bench.quality                       # minutes
    python3 -m tests.bench.quality --random-model build/bench/models/qwen2.5-0.5b --document
    python3 -m tests.bench.quality --seeds 1 2 3 --weights int4 --kv f32 bf16

Every format takes in the same never-repeating logs (training/gateway_log.py); each question about a note in them is
asked in a copy of the session. Perplexity is that of all tokens of all logs, its change is against f32 weights with f32
keys and values. Divergence is that of next-token distributions, KL(f32 || format) in nats, over the first tokens of the
first log; of a model with random weights over random tokens. Exit code 1 if a perplexity misses its bar.
"""

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from client.demo.demo import CommandFailed, ask, run_json
from client.demo.server_process import BUILD, DEMO_MODEL, ServerFailed, ServerProcess
from tests.bench.conditions import documented_command, engine, processor
from tests.bench.report import DOCUMENT
from tests.eval.report import aligned, markdown, replace_between

BARS = {"int8": 0.005, "int4": 0.03}  # by how much weights in a format may change the perplexity of f32
EXACT = ("f32", "f32")
DIVERGENCE = os.path.join(BUILD, "tests", "bench", "memgate-bench-divergence")
DIVERGENCE_TOKENS, RANDOM_TOKENS = 4000, 256
DEFAULTS = {"weights": ("f32", "bf16", "int8", "int4"), "kv": ("f32", "bf16", "int8"), "seeds": (71, 72),
            "tokens": 20_000}
QUICK = {"weights": ("f32", *BARS), "kv": ("f32",), "seeds": (71,), "tokens": 20_000}


@dataclass(frozen=True)
class Quality:
    """What was measured of a format, over all logs; no questions are asked in a quick run."""

    weights: str
    kv: str
    perplexity: float
    right: int
    asked: int

    def change(self, exact):
        return self.perplexity / exact.perplexity - 1

    def is_met(self, exact):
        """Whether the perplexity lies within the bar of its format; None without a bar."""
        bar = BARS.get(self.weights)
        return None if bar is None else abs(self.change(exact)) <= bar


def write_logs(folder, seeds, tokens):
    """Folders with log.txt and questions.json, one per seed."""
    for seed in seeds:
        path = os.path.join(folder, str(seed))
        subprocess.run([sys.executable, "-m", "training.gateway_log", "--tokens", str(tokens), "--facts", "32",
                        "--questions", "32", "--seed", str(seed), "--out", path], check=True, stdout=subprocess.DEVNULL)
        yield path


def questions_of(log):
    with open(os.path.join(log, "questions.json"), encoding="utf-8") as f:
        return json.load(f)


def measure(model, weights, kv, logs, with_questions):
    """The Quality of a format."""
    logprob = tokens = right = asked = 0
    with ServerProcess("--weights", weights, "--kv", kv, model=model) as server:
        for number, log in enumerate(logs):
            session = f"log-{number}"
            run_json(server.address, "sessions", "create", "--id", session)
            scored = run_json(server.address, "ingest", "--score", session, os.path.join(log, "log.txt"))[-1]
            logprob += scored["logprob_sum"]
            tokens += scored["scored_tokens"]
            for question in questions_of(log) if with_questions else ():
                run_json(server.address, "sessions", "fork", session, "--id", "question")
                right += ask(server.address, "question", question)["right"]
                run_json(server.address, "sessions", "rm", "question")
                asked += 1
    return Quality(weights, kv, math.exp(-logprob / tokens), right, asked)


def quality_table(found, exact):
    rows = []
    for each in found:
        bar = f"within {100 * BARS[each.weights]:g} %" if each.weights in BARS else ""
        met = {True: "yes", False: "no", None: ""}[each.is_met(exact)]
        rows.append([f"`{each.weights}`", f"`{each.kv}`", f"{each.perplexity:.4f}",
                     f"{100 * each.change(exact):+.2f} %", bar, met,
                     f"{each.right} of {each.asked}" if each.asked else "–"])
    return markdown(["weights", "keys and values", "perplexity", "change", "bar", "met", "answers right"], rows)


def divergence_table(title, model, formats, tokens, *text):
    rows = []
    for format in formats:
        done = subprocess.run([DIVERGENCE, model, format, str(tokens), *text], stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout)
        rows.append([f"`{format}`", f"{found['mean_kl']:.2g}", f"{found['largest_kl']:.2g}",
                     f"{100 * found['same_best']:.1f} %"])
    return markdown(["weights", f"mean KL, {title}", "largest", "same best token"], rows)


def write_document(tables):
    """Tables between the markers of their names in docs/benchmarks.md, each below what was run."""
    command = documented_command("python3 -m tests.bench.quality", sys.argv[1:])
    conditions = f"`{command}` on {datetime.date.today().isoformat()}; engine {engine()}; {processor()}."
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    for name, table in tables.items():
        document = replace_between(document, name, f"{conditions}\n\n{table}", "bench", DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="one log, the formats that have a bar, no questions")
    parser.add_argument("--model", default=DEMO_MODEL, metavar="DIR")
    parser.add_argument("--weights", nargs="+", metavar="FORMAT")
    parser.add_argument("--kv", nargs="+", metavar="FORMAT")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--tokens", type=int, metavar="N", help="of each log")
    parser.add_argument("--random-model", metavar="DIR", help="a folder of tests/bench/make_model.py, to compare, too")
    parser.add_argument("--document", action="store_true",
                        help="write the tables of docs/benchmarks.md, with all formats")
    arguments = parser.parse_args()
    for name, value in (QUICK if arguments.quick else DEFAULTS).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.document and (arguments.quick or leaves_out_formats(arguments)):
        parser.error("--document writes the tables of all formats: it goes with neither --quick nor a part of them")
    return arguments


def leaves_out_formats(arguments):
    """Whether the tables would lack a row that those of a run without options have."""
    return any(set(DEFAULTS[name]) - set(getattr(arguments, name)) for name in ("weights", "kv"))


def run(arguments):
    """({name: table}, qualities that miss their bar)"""
    tables, rounded = {}, [weights for weights in arguments.weights if weights != "f32"]

    def keep(name, table):
        tables[name] = table
        print(f"{aligned(table)}\n", flush=True)

    with tempfile.TemporaryDirectory(prefix="memgate-quality-") as folder:
        logs, found = list(write_logs(folder, arguments.seeds, arguments.tokens)), []
        formats = [EXACT, *((weights, kv) for weights in arguments.weights for kv in arguments.kv)]
        for weights, kv in dict.fromkeys(formats):
            found.append(measure(arguments.model, weights, kv, logs, not arguments.quick))
            print(f"quality: {weights} weights, {kv} keys and values: {found[-1].perplexity:.4f}", flush=True)
        keep("quality", quality_table(found, found[0]))
        if not arguments.quick:
            keep("divergence", divergence_table("demo model", arguments.model, rounded, DIVERGENCE_TOKENS,
                                                os.path.join(logs[0], "log.txt")))
    if arguments.random_model:
        keep("divergence of random weights",
             divergence_table("random weights", arguments.random_model, rounded, RANDOM_TOKENS))
    return tables, [each for each in found if each.is_met(found[0]) is False]


def main():
    arguments = parse_arguments()
    try:
        tables, missed = run(arguments)
    except (ServerFailed, CommandFailed, subprocess.CalledProcessError) as error:
        print(f"quality: {error}", file=sys.stderr)
        return 1
    if arguments.document:
        write_document(tables)
    for each in missed:
        print(f"quality: weights in {each.weights}, keys and values in {each.kv} miss the bar", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
