"""Measures how fast a served model is, alone or beside llama.cpp on the same weights (docs/benchmarks.md).

    ./dev bench --quick                                    # minutes
    ./dev bench --llama-cpp DIR                            # everything, in alternation with llama.cpp built in DIR
    ./dev bench --llama-cpp DIR --runs-long 2 --document   # fewer runs of the peer where each takes minutes
    ./dev bench --parts stream --document                  # a part; other metrics of docs/benchmarks.md stay
    ./dev bench --shape llama-3.2-1b --points 512 4096 --parts points --json llama.json
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import sys
import time

from client.demo.server_process import BUILD, SERVER, ServerFailed
from tests.bench import make_model, report
from tests.bench.conditions import commit, engine_name, file_hash
from tests.bench.llama_cpp import SETTINGS, LlamaCpp
from tests.bench.metrics import Results, collect
from tests.bench.plan import FORMATS, KV_FORMATS, PARTS, POINTS, Plan, make_measurements
from tests.bench.served import MeasurementFailed, Memgate, supported_formats
from tests.bench.shapes import GEOMETRY, SHAPES, TINY_GEOMETRY
from tests.eval.report import write_json
from tests.eval.work import Progress, WorkFile, clock

FOLDER = os.path.join(BUILD, "bench")
DEFAULT_SHAPE = "qwen2.5-0.5b"
QUICK = {"runs": 3, "parts": ("points", "batch"), "points": (0, 512, 4096), "formats": ("int8", "int4")}


class Benchmark:
    """A plan on both sides: runs what is not finished and keeps it."""

    def __init__(self, arguments, plan, memgate, peer, folder=FOLDER):
        self.arguments, self.plan = arguments, plan
        self.sides = {"memgate": memgate, "llama_cpp": peer} if peer else {"memgate": memgate}
        self.work = WorkFile(os.path.join(folder, "finished.jsonl"), fresh=arguments.fresh)
        self.server_hash = file_hash(SERVER)
        self.results = Results(SHAPES[arguments.shape], arguments.kind)
        self.dates, self.engines = set(), set()  # of the results

    def identity(self, measurement, side, setting, round):
        """Of everything that a result depends on, the files of the programs that run included."""
        chosen = self.sides[side]
        programs = [file_hash(program) for program in chosen.programs(measurement)]
        fields = [self.arguments.shape, self.arguments.threads, chosen.flags, programs,
                  dataclasses.astuple(measurement), setting, round]
        if side == "llama_cpp" and measurement.is_long:
            fields.append(self.fills(measurement, side, setting, round))
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()

    def finished(self, id, side):
        """What the work file has of an earlier call. The peer's counts beside the server that it was measured with."""
        entry = self.work.finished.get(id)
        fits = entry and (side == "memgate" or self.arguments.reuse_peer or entry["server"] == self.server_hash)
        return entry if fits else None

    def steps(self):
        """(measurement, side, setting, round) in alternation; what the first round finds out decides on the others."""
        for round in range(self.plan.runs):
            for measurement in self.plan.measurements:
                for side in ("memgate", "llama_cpp") if round % 2 == 0 else ("llama_cpp", "memgate"):
                    if side not in self.sides or round >= self.plan.runs_of(measurement, side):
                        continue
                    settings = self.results.settings_to_run(measurement, round) if side == "llama_cpp" else ("",)
                    for setting in settings:
                        yield measurement, side, setting, round

    def fills(self, measurement, side, setting, round):
        """Whether the whole prompt is taken in; the peer restores long ones when they were timed often enough."""
        return side == "memgate" or (self.plan.fills(measurement, round)
                                     and self.results.fills(measurement, setting, round))

    def seconds_planned(self):
        """A guess; half of the settings of the peer come through the first round."""
        total = 0
        for measurement in self.plan.measurements:
            for side in self.sides:
                seconds = [measurement.seconds(side, side == "memgate" or self.plan.fills(measurement, round))
                           for round in range(self.plan.runs_of(measurement, side))]
                total += sum(seconds) if side == "memgate" else 1.5 * sum(seconds) + 1.5 * sum(seconds[:1])
        return total

    def run(self):
        progress, ran = Progress(self.seconds_planned()), False
        try:
            for measurement, side, setting, round in self.steps():
                id = self.identity(measurement, side, setting, round)
                entry = self.finished(id, side)
                if entry is None and self.arguments.report:
                    continue
                progress.advance(0, f"run {round + 1}: {side}, {measurement.name}{', ' + setting if setting else ''}")
                if entry is None:
                    entry, ran = self.new_entry(id, measurement, side, setting, round), True
                    self.work.add(entry)
                self.count(entry, measurement, side, setting, round)
                progress.advance(measurement.seconds(side, self.fills(measurement, side, setting, round)))
        finally:
            progress.end()
        if not ran:
            print("bench: nothing was measured now")

    def new_entry(self, id, measurement, side, setting, round):
        """What the work file keeps of a measurement that is made now."""
        result = self.measure(measurement, side, setting, round)
        return {"id": id, "server": self.server_hash, "commit": commit(), "date": datetime.date.today().isoformat(),
                "shape": self.arguments.shape, "side": side, "measurement": dataclasses.asdict(measurement),
                "setting": setting, "round": round, "result": result}

    def count(self, entry, measurement, side, setting, round):
        self.results.add(measurement, side, setting, round, entry["result"])
        self.dates.add(entry["date"])
        if side == "memgate":
            self.engines.add(engine_name(entry["commit"], entry["server"]))

    def measure(self, measurement, side, setting, round):
        seed = 1 + round
        if side == "memgate":
            return self.sides[side].measure(measurement, seed)
        return self.sides[side].measure(measurement, SETTINGS[setting], seed,
                                        self.fills(measurement, side, setting, round))


def named_metrics(shape, metrics):
    """Those of other shapes than the default one bear its name."""
    prefix = "" if shape == DEFAULT_SHAPE else shape + "_"
    return {prefix + metric: value for metric, value in metrics.items()}


def make_plan(arguments, formats):
    measurements = make_measurements(formats, arguments.parts, arguments.kind, tuple(arguments.points))
    return Plan(measurements, arguments.runs, arguments.runs_long or arguments.runs, arguments.peer_longest)


def prepare_model(arguments):
    """The folder of the shape, written when first needed."""
    folder = os.path.join(arguments.models, arguments.shape)
    if not arguments.report and not os.path.exists(os.path.join(folder, "config.json")):
        print(f"bench: writing {folder}", flush=True)
        geometry = TINY_GEOMETRY if arguments.shape.startswith("tiny") else GEOMETRY
        make_model.write_model(folder, SHAPES[arguments.shape], geometry, progress=make_model.ProgressBar())
    return folder


def benchmark(arguments):
    """The finished Benchmark of everything that the arguments ask for."""
    os.makedirs(FOLDER, exist_ok=True)
    model = prepare_model(arguments)
    formats = arguments.formats if arguments.report else supported_formats(model, arguments.formats)
    for format in sorted(set(arguments.formats) - set(formats)):
        print(f"bench: {format} is left out: this server does not have it")
    if not formats:
        raise MeasurementFailed("this server has none of the weight formats")
    peer = LlamaCpp(arguments.llama_cpp, model, arguments.threads) if arguments.llama_cpp else None
    with Memgate(model, arguments.threads, ("--kv", arguments.kv)) as memgate:
        run = Benchmark(arguments, make_plan(arguments, formats), memgate, peer)
        if peer and not arguments.report:
            for format in formats:
                peer.file(format)
        run.run()
    return run


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./dev bench", allow_abbrev=False, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Finished measurements are kept in build/bench and used again while the programs that ran and the\n"
               "options stay the same, so a run may be stopped at any time and goes on where it was.")
    parser.add_argument("--quick", action="store_true",
                        help="three runs of a part: both quantised formats, depths up to 4k, 16 sessions")
    parser.add_argument("--llama-cpp", metavar="DIR", help="build folder of llama.cpp, to be measured in alternation")
    parser.add_argument("--json", metavar="FILE", help='write {metric: {"memgate", "llama_cpp", "ratio", "runs"}}')
    parser.add_argument("--document", action="store_true",
                        help="write what was measured into docs/benchmarks.md; other metrics there stay, without\n"
                             "--llama-cpp also those that stand beside llama.cpp")
    parser.add_argument("--shape", choices=SHAPES, default=DEFAULT_SHAPE,
                        help=f"{', '.join(SHAPES)} (default %(default)s)", metavar="NAME")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, metavar="FORMAT",
                        help=f"of {', '.join(FORMATS)} (default: int8 int4); int8, or else the first, at all depths")
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART",
                        help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--points", nargs="+", type=int, choices=POINTS, metavar="TOKENS",
                        help=f"of {', '.join(map(str, POINTS))} (default: all)")
    parser.add_argument("--kind", default="memgate-slots", help="memory kind of sessions (default %(default)s)")
    parser.add_argument("--kv", choices=KV_FORMATS, default="bf16", metavar="FORMAT",
                        help=f"how sessions hold keys and values, of {', '.join(KV_FORMATS)} (default %(default)s,\n"
                             "as many bits as the peer's f16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N",
                        help="of both sides (default: one per core)")
    parser.add_argument("--runs", type=int, metavar="N", help="of each measurement and side (default 5)")
    parser.add_argument("--runs-long", type=int, metavar="N",
                        help="in which the peer takes in its longest prompt, if that takes minutes; in the others it\n"
                             "restores it (default: --runs)")
    parser.add_argument("--peer-longest", type=int, default=32_768, metavar="TOKENS",
                        help="longest prompt of the peer (default %(default)s)")
    parser.add_argument("--reuse-peer", action="store_true",
                        help="use the peer's finished runs although the server has changed since")
    parser.add_argument("--models", default=os.path.join(FOLDER, "models"), metavar="DIR",
                        help="where model folders are or will be (default build/bench/models)")
    parser.add_argument("--report", action="store_true", help="measure nothing, show what earlier runs finished")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs finished")
    arguments = parser.parse_args()
    defaults = {"runs": 5, "parts": PARTS, "points": POINTS, "formats": ("int8", "int4")}
    for name, value in ({**defaults, **QUICK} if arguments.quick else defaults).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


def main():
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True, encoding="utf-8")
    start = time.monotonic()
    try:
        run = benchmark(arguments)
    except (MeasurementFailed, ServerFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: stopped; what is finished is kept for the next run", file=sys.stderr)
        return 130
    metrics, settings = collect(run.results)
    if arguments.json:
        write_json(arguments.json, named_metrics(arguments.shape, metrics))
    conditions = report.conditions(run, arguments) if metrics else {}
    figures = report.figures(run.results, metrics, settings, conditions)
    print(report.text(figures, arguments.shape))
    if arguments.document:
        report.write_documents(arguments.shape, figures)
    print(f"bench: done after {clock(time.monotonic() - start)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
