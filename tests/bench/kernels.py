"""Measures each kernel against what the machine reaches (docs/benchmarks.md, "Kernels").

    ./dev bench-kernels                                       # all, minutes
    ./dev bench-kernels --benchmark_filter=Linear/int8        # other arguments go to Google Benchmark
    ./dev bench-kernels --document --benchmark_repetitions=5  # medians as table and plot of docs/benchmarks.md
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile

from client.demo.server_process import environment
from tests.bench.conditions import documented_command, processor
from tests.bench.report import DOCUMENT, FIGURES, MEMGATE_COLOUR, PEER_COLOUR, number
from tests.bench.served import KERNELS_BENCH
from tests.eval.report import markdown, replace_between
from tests.support.figures import save, styled_pyplot

PLOT = "benchmarks_kernels.svg"
MICROSECONDS = {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6}
PEER = "oneDNN"  # what the names of its kernels begin with


def measurements(results):
    """[(name, us, GB/s, GOP/s, share of the roof)] of what Google Benchmark wrote: medians where it repeated."""
    runs = [run for run in results["benchmarks"] if "roofline" in run]
    medians = [run for run in runs if run.get("aggregate_name") == "median"]
    return [(run["run_name"].removesuffix("/real_time"), run["real_time"] * MICROSECONDS[run["time_unit"]],
             run["bytes/s"] / 1e9, run["op/s"] / 1e9, run["roofline"]) for run in medians or runs]


def table(measured):
    """One row per kernel."""
    return markdown(["kernel", "µs", "GB/s", "GOP/s", "share of the roof"],
                    [[f"`{name}`", number(us), number(bytes_rate), number(operations_rate), f"{100 * share:.0f} %"]
                     for name, us, bytes_rate, operations_rate, share in measured])


def draw(measured, path):
    """Shares as bars, in the order of the table."""
    pyplot = styled_pyplot(font_size=8)
    figure, plot = pyplot.subplots(figsize=(8, 0.6 + 0.17 * len(measured)))
    names = [name for name, *_ in measured]
    plot.barh(names, [100 * share for *_, share in measured],
              color=[PEER_COLOUR if name.startswith(PEER) else MEMGATE_COLOUR for name in names])
    plot.axvline(100, color="#777777", linewidth=0.8)
    plot.invert_yaxis()
    plot.margins(y=0.005)
    plot.set_xlabel("share of what the machine reaches, %")
    plot.tick_params(axis="y", labelsize=6.5)
    save(figure, path)


def write_documents(results, arguments):
    """The part of docs/benchmarks.md about kernels, and its plot."""
    measured, peaks = measurements(results), results["context"]
    conditions = (f"`{documented_command('./dev bench-kernels', arguments)}` on {datetime.date.today().isoformat()}; "
                  f"{processor()}. Reached with all threads: streaming read {float(peaks['read_gb_per_s']):.1f} GB/s, "
                  f"second-level cache {float(peaks['cache_gb_per_s']):.0f} GB/s, products of f32 "
                  f"{float(peaks['f32_gflop_per_s']):.0f} GFLOP/s, of bytes {float(peaks['int8_gop_per_s']):.0f} GOP/s.")
    draw(measured, os.path.join(FIGURES, PLOT))
    picture = f"![Each kernel's share of what the machine reaches](figures/{PLOT})"
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    document = replace_between(document, "kernels", "\n\n".join([picture, conditions, table(measured)]), "bench",
                               DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)


def main():
    parser = argparse.ArgumentParser(
        prog="./dev bench-kernels", allow_abbrev=False, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Of the program itself: --threads N (default: one per core), --peaks (prints them alone, as JSON),\n"
               "--tokenizer FOLDER (whose vocabulary the masks of structured output are timed on).")
    parser.add_argument("--document", action="store_true", help="write table and plot of docs/benchmarks.md")
    own, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        results = os.path.join(folder, "results.json")
        kept = [f"--benchmark_out={results}", "--benchmark_out_format=json"] if own.document else []
        code = subprocess.run([KERNELS_BENCH, *others, *kept], env=environment()).returncode
        if code == 0 and own.document:
            with open(results, encoding="utf-8") as f:
                write_documents(json.load(f), sys.argv[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
