"""The side of memgate: a server and the program that times it."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time

from client.demo.server_process import BUILD, SERVER, ServerProcess, environment
from tests.bench.plan import BATCH_DEPTH, CACHED_FORMATS, GENERATED, STREAM_PAIRS, STREAM_TURN, STREAM_TURNS

MEMGATE_BENCH = os.path.join(BUILD, "tests", "bench", "memgate-bench")
KERNELS_BENCH = os.path.join(BUILD, "tests", "bench", "memgate-bench-kernels")
WEIGHT_CACHE = os.path.join(BUILD, "bench", "weights")
LONGEST_EXACT = 40_000  # tokens, for --exact-limit
CACHE_SECONDS = 120  # for the packed weights to be written
CACHE_OUTCOME = re.compile(r'weight_cache_(hit|written|already_written|not_written) what="weights"')


class MeasurementFailed(Exception):
    """A program that measures failed; the message ends with what it said."""


def run_program(command):
    """stdout of a program that must end well."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    if done.returncode != 0:
        raise MeasurementFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def supported_formats(model, formats):
    """Those of `formats` that this build of the server knows."""
    def knows(format):
        command = [SERVER, "--check-config", "--model", model, "--weights", format, "--weight-cache", "none"]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=environment()).returncode == 0
    return tuple(format for format in formats if knows(format))


@contextlib.contextmanager
def timed_start(server):
    """A ServerProcess and the seconds until it served."""
    begin = time.monotonic()
    with server:
        yield server, time.monotonic() - begin


def cache_outcome(server):
    """What became of the packed weights, once it is known: they are written while the server already serves."""
    deadline = time.monotonic() + CACHE_SECONDS
    while not (found := CACHE_OUTCOME.search(server.log())):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"the server says nothing of its packed weights:\n{server.log()[-2000:]}")
        time.sleep(0.1)
    return found[1]


def pss_bytes(server):
    """The proportional set size of a server: pages that several processes map count in equal shares."""
    with open(f"/proc/{server.process.pid}/smaps_rollup", encoding="ascii") as f:
        return next(1024 * int(line.split()[1]) for line in f if line.startswith("Pss:"))


def answered_pss_bytes(server):
    """The same behind a short answer, which reads every weight."""
    run_program([MEMGATE_BENCH, "--address", server.address, "--task", "turns", "--kind", "exact", "--generate", "4"])
    return pss_bytes(server)


class Memgate:
    """Servers of one model, one per weight format, started when first needed. Idle ones use no CPU."""

    def __init__(self, model, threads, flags=()):
        self.model, self.threads, self.flags = model, threads, tuple(flags)
        self.servers, self.stack = {}, contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def programs(self, measurement):
        """The files of those that a measurement runs."""
        return (KERNELS_BENCH,) if measurement.what == "read" else (SERVER, MEMGATE_BENCH)

    def new_server(self, format, cache):
        return ServerProcess("--weights", format, "--threads", str(self.threads), "--exact-limit", str(LONGEST_EXACT),
                             "--weight-cache", cache, *self.flags, model=self.model)

    def server(self, format):
        if format not in self.servers:
            server = self.stack.enter_context(self.new_server(format, WEIGHT_CACHE))
            if format in CACHED_FORMATS:
                cache_outcome(server)  # nothing is measured while it still writes
            self.servers[format] = server
        return self.servers[format]

    def measure_start(self, format):
        """Two starts, the second with the packed weights of the first, and a third server beside the second."""
        with tempfile.TemporaryDirectory(prefix="weights-", dir=os.path.dirname(WEIGHT_CACHE)) as cache:
            with timed_start(self.new_server(format, cache)) as (packing, cold_seconds):
                if (outcome := cache_outcome(packing)) != "written":
                    raise MeasurementFailed(f"packed weights: {outcome}\n{packing.log()[-2000:]}")
            with timed_start(self.new_server(format, cache)) as (server, cached_seconds):
                alone = answered_pss_bytes(server)
                with self.new_server(format, cache) as second:
                    both = answered_pss_bytes(second) + pss_bytes(server)
        return {"cold_s": cold_seconds, "cached_s": cached_seconds, "pss_bytes_1_server": alone,
                "pss_bytes_2_servers": both}

    def measure(self, measurement, seed):
        """What was measured, as numbers by name."""
        if measurement.what == "read":
            return json.loads(run_program([KERNELS_BENCH, "--peaks", "--threads", str(self.threads)]))
        if measurement.what == "start":
            return self.measure_start(measurement.format)
        server = self.server(measurement.format)
        command = [MEMGATE_BENCH, "--address", server.address, "--server-pid", str(server.process.pid),
                   "--kind", measurement.kind, "--seed", str(seed), "--generate", str(GENERATED)]
        if measurement.what == "together":
            command += ["--task", "together", "--sessions", str(measurement.sessions), "--prompt", str(BATCH_DEPTH)]
        elif measurement.what == "stream":
            command += ["--task", "turns", "--turns", str(STREAM_TURNS), "--pairs", str(STREAM_PAIRS),
                        "--prompt", str(STREAM_TURN - GENERATED)]
        else:
            command += ["--task", "turns", "--prompt", str(max(1, measurement.tokens))]
        lines = [json.loads(line) for line in run_program(command).splitlines()]
        if measurement.what == "together":
            return {"tokens_per_s": lines[0]["tokens"] / lines[0]["seconds"]}
        if measurement.what == "stream":
            paired = lines[STREAM_TURNS:]
            return {"turns": lines[:STREAM_TURNS], "pairs": list(zip(paired[::2], paired[1::2]))}
        return lines[0]
