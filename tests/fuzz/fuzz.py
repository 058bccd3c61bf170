"""Runs the fuzz targets under libFuzzer (CONTRIBUTING.md).

    ./dev fuzz                               # every target for a minute, two at a time
    ./dev fuzz --seconds 600                 # ten minutes each
    ./dev fuzz --seconds 600 gguf gbnf       # of these targets only

What a run finds out is kept in build/fuzz/corpus/TARGET, where the next run goes on, so that short runs add up to a
long one. Inputs that crash a reader, or cost it more time or memory than they should, lie in build/fuzz/findings; the
program with one as its argument shows what is wrong:

    build/fuzz/tests/fuzz/TARGET_fuzz build/fuzz/findings/TARGET-crash-...

A finding ends the run of its target. Exit code 1 if there is one.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "fuzz"
PROGRAMS, FINDINGS, LOGS = BUILD / "tests" / "fuzz", BUILD / "findings", BUILD / "logs"
SUFFIX = "_fuzz"

# Longest inputs, in bytes: what a whole small file of the format takes.
MAX_BYTES = {"gguf": 16_384, "model_files": 32_768, "sentencepiece_model": 8_192, "snapshot": 8_192,
             "text_stream": 2_048}
DEFAULT_MAX_BYTES = 4_096
# Sanitizers make a program several times slower and larger, and two programs share a machine with others.
LIMITS = ("-timeout=30", "-report_slow_units=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256")
ENVIRONMENT = {"ASAN_OPTIONS": "quarantine_size_mb=32", "UBSAN_OPTIONS": "print_stacktrace=1"}


def targets():
    return sorted(p.name.removesuffix(SUFFIX) for p in PROGRAMS.glob("*" + SUFFIX) if os.access(p, os.X_OK))


def findings_of(target):
    return {p.name for p in FINDINGS.glob(target + "-*")}


def command(target, seconds):
    """libFuzzer's command line. New inputs go into the first folder; the committed corpus stays as it is."""
    corpus, dictionary = BUILD / "corpus" / target, HERE / "dictionaries" / (target + ".dict")
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES.get(target, DEFAULT_MAX_BYTES)}", *LIMITS,
               "-print_final_stats=1", f"-artifact_prefix={FINDINGS / target}-"]
    if dictionary.exists():
        options.append(f"-dict={dictionary}")
    return [str(PROGRAMS / (target + SUFFIX)), *options, str(corpus), str(HERE / "corpus" / target)]


def statistics(log):
    """What libFuzzer said at the end: {"number_of_executed_units": 1234, ..., "edges": 5678}."""
    found = {name: int(value) for name, value in re.findall(r"^stat::(\w+): +(\d+)$", log, re.MULTILINE)}
    coverage = re.findall(r" cov: (\d+) ", log)
    return found | {"edges": int(coverage[-1]) if coverage else 0}


def run(target, seconds):
    """(target, wall seconds, statistics, names of new findings, exit code)."""
    before, begin, log = findings_of(target), time.monotonic(), LOGS / (target + ".log")
    with log.open("w") as out:
        code = subprocess.run(command(target, seconds), stdout=out, stderr=subprocess.STDOUT,
                              env=os.environ | ENVIRONMENT, check=False).returncode
    text = log.read_text(errors="replace")
    new = sorted(findings_of(target) - before)
    print(f"{target}: {'ok' if code == 0 and not new else 'see ' + str(log)}", flush=True)
    return target, time.monotonic() - begin, statistics(text), new, code


def table(results):
    head = ("target", "minutes", "executions", "per s", "edges", "new inputs", "slowest s", "peak MB", "findings")
    rows = [head]
    for target, wall, found, new, code in results:
        values = [found.get(key, 0) for key in ("number_of_executed_units", "average_exec_per_sec", "edges",
                                                "new_units_added", "slowest_unit_time_sec", "peak_rss_mb")]
        failed = len(new) or ("failed" if code else 0)
        rows.append((target, f"{wall / 60:.1f}", *(f"{value:,}" for value in values), str(failed)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))) for row in rows)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    options = parser.parse_args(arguments)
    if options.seconds < 1 or options.jobs < 1:
        parser.error("--seconds and --jobs must be at least 1")
    return options, parser


def main():
    options, parser = parse(sys.argv[1:])
    known = targets()
    unknown = sorted(set(options.targets) - set(known))
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(known)}")
    for folder in (FINDINGS, LOGS):
        folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda target: run(target, options.seconds), options.targets or known))
    print("\n" + table(results))
    for target, _, _, new, _ in results:
        for name in new:
            print(f"{PROGRAMS / (target + SUFFIX)} {FINDINGS / name}")
    sys.exit(any(new or code for _, _, _, new, code in results))


if __name__ == "__main__":
    main()
