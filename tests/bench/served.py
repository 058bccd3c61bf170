"""The side of memgate: a server and the program that times it."""

import contextlib
import json
import os
import subprocess

from client.demo.server_process import BUILD, SERVER, ServerProcess, environment
from tests.bench.plan import BATCH_DEPTH, GENERATED, STREAM_PAIRS, STREAM_TURN, STREAM_TURNS

MEMGATE_BENCH = os.path.join(BUILD, "tests", "bench", "memgate-bench")
KERNELS_BENCH = os.path.join(BUILD, "tests", "bench", "memgate-bench-kernels")
WEIGHT_CACHE = os.path.join(BUILD, "bench", "weights")
LONGEST_EXACT = 40_000  # tokens, for --exact-limit


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


class Memgate:
    """Servers of one model, one per weight format, started when first needed. Idle ones use no CPU."""

    name = "memgate"

    def __init__(self, model, threads, flags=()):
        self.model, self.threads, self.flags = model, threads, tuple(flags)
        self.servers, self.stack = {}, contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def server(self, format):
        if format not in self.servers:
            flags = ("--weights", format, "--threads", str(self.threads), "--exact-limit", str(LONGEST_EXACT),
                     "--weight-cache", WEIGHT_CACHE, "--log-level", "warning", *self.flags)
            self.servers[format] = self.stack.enter_context(ServerProcess(*flags, model=self.model))
        return self.servers[format]

    def measure(self, measurement, seed):
        """What was measured, as numbers by name."""
        if measurement.what == "read":
            return json.loads(run_program([KERNELS_BENCH, "--peaks", "--threads", str(self.threads)]))
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
