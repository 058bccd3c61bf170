"""Runs tasks through memgate-eval, keeps what is finished in a file, and shows how far it is."""

import collections
import json
import os
import subprocess
import sys
import tempfile
import time

from client.demo.server_process import BUILD, environment

MEMGATE_EVAL = os.path.join(BUILD, "tests", "eval", "memgate-eval")


class EvaluationFailed(Exception):
    """A task or memgate-eval itself failed."""


class WorkFile:
    """Finished tasks as JSON lines {"id", "suite", "kind", "seed", "params", "seconds", "events"}.

    A line is written once its task is finished, so whatever interrupts a run, the next one continues behind it.
    """

    def __init__(self, path, fresh):
        self.path = path
        if fresh and os.path.exists(path):
            os.remove(path)
        self.finished = dict(self._read())

    def _read(self):
        if not os.path.exists(self.path):
            return
        with open(self.path, encoding="utf-8") as f:
            for line in f:
                if line.endswith("\n"):  # the last line may have been cut short
                    entry = json.loads(line)
                    yield entry["id"], entry

    def add(self, entry):
        self.finished[entry["id"]] = entry
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(entry) + "\n")


class Progress:
    """A bar on a terminal, a line now and then elsewhere. `total` and `advance` are in units of work."""

    LINE_SECONDS = 20

    def __init__(self, total, stream=sys.stderr):
        self.total, self.done = max(1, total), 0
        self.stream, self.terminal = stream, stream.isatty()
        self.start, self.shown = time.monotonic(), -self.LINE_SECONDS
        self.what = ""

    def advance(self, work, what=None):
        self.done += work
        self.what = what or self.what
        now = time.monotonic()
        if now - self.shown >= (0.2 if self.terminal else self.LINE_SECONDS):
            self.shown = now
            self.show()

    def show(self):
        share, passed = min(1.0, self.done / self.total), time.monotonic() - self.start
        left = passed / share - passed if share > 0.002 else None
        text = (f"{share:6.1%}  {clock(passed)} passed, "
                f"{clock(left) if left is not None else '?'} left  {self.what}")
        if not self.terminal:
            print(text.strip(), file=self.stream, flush=True)
            return
        filled = round(share * 24)
        line = f"[{'#' * filled}{'.' * (24 - filled)}] {text}"
        print(f"\r{line[:self._columns() - 1]}\x1b[K", end="", file=self.stream, flush=True)

    def _columns(self):
        try:
            return os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            return 100

    def end(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=self.stream, flush=True)


def clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def name_of(task):
    params = " ".join(str(task.params[name]) for name in ("part", "tokens", "facts") if name in task.params)
    return " ".join(filter(None, (task.suite, task.kind, params, f"seed {task.seed}")))


def run_tasks(server, tasks, folder, parallel):
    """Yields (task index, event) for everything that memgate-eval says about `tasks`.

    `folder` is where the files lie that the steps name. EvaluationFailed if a task failed, after all others ended.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", dir=folder, encoding="utf-8") as f:
        for index, task in enumerate(tasks):
            f.write(json.dumps({"id": str(index), "steps": task.steps}) + "\n")
        f.flush()
        command = [MEMGATE_EVAL, "--address", server.address, "--tasks", f.name, "--parallel", str(parallel),
                   "--server-pid", str(server.process.pid)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment())
        failures = []
        try:
            for line in process.stdout:
                event = json.loads(line)
                index = int(event.pop("task"))
                if event["event"] == "failed":
                    failures.append(f"{name_of(tasks[index])}: {event['error']}")
                yield index, event
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.terminate()
            code = process.wait()
        if failures or code:
            raise EvaluationFailed("\n".join(failures) or f"memgate-eval ended with {code}")


def finish(server, tasks, folder, parallel, progress, done):
    """Runs tasks and calls done(task, seconds, events) for each that ended well."""
    events, reported = collections.defaultdict(list), collections.Counter()
    for index, event in run_tasks(server, tasks, folder, parallel):
        task = tasks[index]
        if event["event"] == "progress":
            reported[index] += event["tokens"]
            progress.advance(event["tokens"] * task.weight, name_of(task))
        elif event["event"] == "done":
            progress.advance((task.tokens - reported[index]) * task.weight, name_of(task))
            done(task, event["seconds"], events.pop(index))
        elif event["event"] != "failed":
            events[index].append(event)
