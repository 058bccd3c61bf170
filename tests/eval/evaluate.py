"""Measures what sessions remember, through a served engine and the C++ client library (docs/memory.md).

    ./dev eval --quick                    # some minutes, a part of CI: exit code 1 if a floor is missed
    ./dev eval                            # everything; hours, and may be interrupted at any time
    ./dev eval --suites facts --kinds memgate window --seeds 9001
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time

from client.demo.server_process import BUILD, DEMO_MODEL, ServerFailed, ServerProcess
from tests.eval import kinds, report, results, tasks
from tests.eval.work import EvaluationFailed, Progress, WorkFile, clock, finish, run_tasks

# Seeds that neither training nor the choice of a recipe has seen.
SEEDS = (9001, 9002, 9003, 9004, 9005)
# Tasks at a time: their tokens share the server's steps, each step up to that many tokens.
PARALLEL, SERVER_FLAGS = 6, ("--max-batch-tokens", "512")
MEMORY_FILES = ("memory.json", "memory.safetensors")

QUICK = {"suites": ("passkey", "facts", "swapped", "perplexity", "short"), "seeds": SEEDS[:2],
         "questions": 16, "kinds": ("full-kv", "memgate-all-slots", "window", "memgate"),
         "passkey_tokens": (4_000, 32_000), "fact_tokens": (20_000,),
         "fact_counts": (32,), "perplexity_tokens": (4_000,), "full_kv_limit": 4_000,
         "kinds_of": {"passkey": ("memgate",), "facts": ("window", "memgate"), "swapped": ("memgate",),
                      "perplexity": ("full-kv", "memgate-all-slots", "memgate")}}


def create_sessions(server, folder, requests):
    """(model, {name: session}): what ModelService says, and what CreateSession returns for {name: request}."""
    steps = [{"do": "model"}] + [{"do": "create", "session": name, "request": requests[name]} for name in requests]
    events = [event for _, event in run_tasks(server, [tasks.Task("probe", "", 0, steps, 0)], folder, 1)]
    created = [event["session"] for event in events if event["event"] == "create"]
    return events[0]["model"], dict(zip(requests, created))


def compared_kinds(server, folder):
    """{name: Compared} of the kinds that can be compared on this server, and the fingerprint of its model."""
    model, default = create_sessions(server, folder, {"default": {}})
    served = [kind["kind"] for kind in model["memory_kinds"]]
    budget = default["default"]["session_bytes"]
    requests = {kind.name: kinds.create_request(kind, budget) for kind in kinds.KINDS
                if kind.memory_kind in served and kind.bounded}
    _, sessions = create_sessions(server, folder, requests)
    return {kind.name: kinds.Compared(kind, requests.get(kind.name), sessions.get(kind.name))
            for kind in kinds.comparable(served, sessions)}, model["fingerprint"]


def module_hashes(folder):
    """{name of the module: hash of its files} of a model folder; published AHN modules come without memory.json."""
    places = {folder: MEMORY_FILES}
    if os.path.isdir(os.path.join(folder, "memory")):
        places.update((entry.path, sorted(os.listdir(entry.path)))
                      for entry in os.scandir(os.path.join(folder, "memory")) if entry.is_dir())
    hashes = {}
    for place, names in places.items():
        digest, kind = hashlib.sha256(), "ahn"
        paths = [path for path in (os.path.join(place, name) for name in names) if os.path.isfile(path)]
        for path in paths:
            with open(path, "rb") as f:
                content = f.read()
            digest.update(content)
            if os.path.basename(path) == "memory.json":
                config = json.loads(content)
                kind = config.get("name", config["kind"])
        if paths:
            hashes[kind] = digest.hexdigest()
    return hashes


class Evaluation:
    """The state of a run: what is compared, and what is finished."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        name = "finished-quick.jsonl" if arguments.quick else "finished.jsonl"
        self.work = WorkFile(os.path.join(folder, name), fresh=arguments.fresh or arguments.quick)
        self.modules = module_hashes(arguments.model)
        self.fingerprint = ""
        self.planned = []

    def identity(self, task):
        kind = self.plan.compared[task.kind].kind.memory_kind.removesuffix("-slots") if task.kind else ""
        modules = sorted(self.modules.items()) if task.suite.startswith("short") else self.modules.get(kind, "")
        return task.identity([self.fingerprint, modules])

    def prepare(self, server):
        compared, self.fingerprint = compared_kinds(server, self.folder)
        wanted = self.arguments.kinds or list(compared)
        for name in wanted:
            if name not in compared:
                print(f"eval: {name} is left out: this server cannot make such a session, or it equals another row")
        chosen = {name: compared[name] for name in wanted if name in compared}
        self.plan = make_plan(self.arguments, chosen)
        self.planned = tasks.make_tasks(self.plan, tasks.Texts(self.folder))
        for task in self.planned:
            task.weight = self.weight(task)

    def weight(self, task):
        """Attention costs what the window holds."""
        session = self.plan.compared[task.kind].session if task.kind else None
        shape = session["shape"] if session else {"window_tokens": task.tokens / 2, "salient_tokens": 0}
        return 1 + (shape["window_tokens"] + shape.get("salient_tokens", 0)) / 2000

    def left(self, *suites):
        """Tasks of `suites` (all others if none is named) that are not finished, the longest first."""
        alone = ("short", "stream")
        chosen = [task for task in self.planned if self.identity(task) not in self.work.finished
                  and (task.suite in suites if suites else task.suite not in alone)]
        return sorted(chosen, key=lambda task: -task.tokens * task.weight)

    def run(self, server, some, parallel=PARALLEL):
        if not some:
            return
        progress = Progress(sum(task.tokens * task.weight for task in some))
        try:
            finish(server, some, self.folder, parallel, progress, self.keep)
        finally:
            progress.end()

    def keep(self, task, seconds, events):
        self.work.add({"id": self.identity(task), "suite": task.suite, "kind": task.kind, "seed": task.seed,
                       "params": task.params, "seconds": seconds, "events": events})

    def entries(self):
        finished = self.work.finished
        return [finished[id] for id in map(self.identity, self.planned) if id in finished]


def make_plan(arguments, compared):
    options = {name: QUICK[name] for name in ("fact_counts", "perplexity_tokens", "kinds_of") if arguments.quick}
    for name in ("passkey_tokens", "fact_tokens"):
        lengths = QUICK[name] if arguments.quick else getattr(tasks, name.upper())
        options[name] = tuple(n for n in lengths if not arguments.lengths or n in arguments.lengths)
    return tasks.Plan(compared=compared, seeds=tuple(arguments.seeds), suites=tuple(arguments.suites),
                      questions=arguments.questions, full_kv_limit=arguments.full_kv_limit, **options)


def short_without_memory(evaluation, folder):
    """The prompts of the suite `short` for a server that has the base alone."""
    planned = [task for task in evaluation.planned if task.suite == "short"]
    for task in planned:
        task.suite = "short without memory"
    if planned and evaluation.left("short without memory"):
        base = os.path.join(folder, "base")
        shutil.copytree(evaluation.arguments.model, base, ignore=shutil.ignore_patterns(*MEMORY_FILES, "memory"))
        with ServerProcess(model=base) as server:
            evaluation.run(server, evaluation.left("short without memory"))
    entries = evaluation.entries()
    for task in planned:
        task.suite = "short"
    return [entry for entry in entries if entry["suite"] == "short without memory"]


def evaluate(arguments):
    """Runs what is not finished and returns the figures."""
    folder = os.path.join(BUILD, "eval")
    os.makedirs(folder, exist_ok=True)
    evaluation = Evaluation(arguments, folder)
    with ServerProcess(*SERVER_FLAGS, model=arguments.model) as server:
        print("eval: drawing the texts", flush=True)
        evaluation.prepare(server)
        left = evaluation.left() + evaluation.left("short") + evaluation.left("stream")
        print(f"eval: {len(evaluation.planned)} tasks, {len(evaluation.planned) - len(left)} of them finished before; "
              f"{sum(task.tokens for task in left):,} tokens to go", flush=True)
        evaluation.run(server, evaluation.left())
        evaluation.run(server, evaluation.left("short"))
    # On its own: nothing else may cost time or bytes.
    if evaluation.left("stream"):
        with ServerProcess(model=arguments.model) as server:
            evaluation.run(server, evaluation.left("stream"), parallel=1)
    with tempfile.TemporaryDirectory(prefix="memgate-eval-") as temporary:
        bare = short_without_memory(evaluation, temporary)
    result = results.collect(evaluation.entries() + bare)
    result["model"] = {"name": os.path.basename(os.path.abspath(arguments.model)),
                       "fingerprint": evaluation.fingerprint}
    return result


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev eval", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
        epilog="Finished tasks are kept in build/eval and used again while model, module and task stay the same,\n"
               "except by --quick; after a change of the engine use --fresh. Tables and plots of docs/memory.md are\n"
               "written by runs without --quick, --kinds, --lengths, --seeds, --questions and --model.")
    parser.add_argument("--quick", action="store_true", help="a small part of it, compared with the floors of CI")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE, too")
    parser.add_argument("--suites", nargs="+", choices=tasks.SUITES, metavar="SUITE",
                        help=f"of {', '.join(tasks.SUITES)} (default: all)")
    parser.add_argument("--kinds", nargs="+", choices=[kind.name for kind in kinds.KINDS], metavar="KIND",
                        help=f"of {', '.join(kind.name for kind in kinds.KINDS)} (default: all that the model has)")
    parser.add_argument("--lengths", nargs="+", type=int, metavar="TOKENS",
                        help="only these lengths of passkey "
                             f"({', '.join(map(str, tasks.PASSKEY_TOKENS))}) and facts "
                             f"({', '.join(map(str, tasks.FACT_TOKENS))})")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED",
                        help=f"of texts and questions (default: {' '.join(map(str, SEEDS))})")
    parser.add_argument("--questions", type=int, metavar="N", help="asked per log of the suite facts (default 32)")
    parser.add_argument("--full-kv-limit", type=int, metavar="TOKENS",
                        help="longest text for full-kv and memgate-all-slots, whose time grows with its square "
                             "(default 20000)")
    parser.add_argument("--model", default=DEMO_MODEL, metavar="DIR", help="model folder (default: the demo model)")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs finished")
    arguments = parser.parse_args()
    arguments.filtered = bool(arguments.quick or arguments.kinds or arguments.lengths or arguments.seeds
                              or arguments.questions or arguments.model != DEMO_MODEL)
    defaults = QUICK if arguments.quick else {"suites": tasks.SUITES, "seeds": SEEDS, "questions": 32, "kinds": None,
                                              "full_kv_limit": 20_000}
    for name in ("suites", "seeds", "questions", "kinds", "full_kv_limit"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, defaults[name])
    return arguments


def main():
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True, encoding="utf-8")
    start = time.monotonic()
    try:
        result = evaluate(arguments)
    except (EvaluationFailed, ServerFailed) as error:
        print(f"eval: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\neval: stopped; what is finished is kept for the next run", file=sys.stderr)
        return 130
    if arguments.json:
        report.write_json(arguments.json, result)
    print(report.text(result))
    if not arguments.filtered:
        report.write_documents(result)
    missed = list(results.missed_floors(result, arguments.suites)) if arguments.quick else []
    for line in missed:
        print(f"eval: {line}", file=sys.stderr)
    print(f"eval: {'FAILED' if missed else 'done'} after {clock(time.monotonic() - start)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
