"""Follows docs/models.md line by line: looks at the models, serves them, asks them, and tells what they cost.

    ./dev models                                   # every model of the page
    ./dev models --only Llama --json models.json   # those whose heading has this in it

A line that downloads a model makes a folder of the same layout and the published shape with random weights instead, in
build/models/home, where it stays for the next run. The other lines are run as they stand there. Then what `inspect`
foretold is compared with what the server says of itself and what the process takes. Everything together needs 16 GB of
disk and 8 GB of memory; `--tiny` runs the same lines with models of a few hundred kB.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys

from client.demo.server_process import BUILD, MEMGATE, REPOSITORY, ServerFailed, ServerProcess, environment
from tests.bench import gguf_writer, make_model
from tests.bench.shapes import SHAPES

PAGE = os.path.join(REPOSITORY, "docs", "models.md")
WORK = os.path.join(BUILD, "models")
# What the page downloads: a folder of this shape; the module for it; or the GGUF file of a folder.
SHAPE_OF = {"Qwen/Qwen2.5-0.5B-Instruct": "qwen2.5-0.5b", "Qwen/Qwen2.5-3B-Instruct": "qwen2.5-3b",
            "meta-llama/Llama-3.2-1B-Instruct": "llama-3.2-1b"}
MODULE_FOR = {"ByteDance-Seed/AHN-GDN-for-Qwen-2.5-Instruct-3B": "qwen2.5-3b"}
FILE_OF = {"Qwen/Qwen2.5-0.5B-Instruct-GGUF": "Qwen2.5-0.5B-Instruct"}
TINY = {"qwen2.5-0.5b": "tiny-qwen2", "qwen2.5-3b": "tiny-qwen2", "llama-3.2-1b": "tiny-llama"}
TINY_SHARD_BYTES = 100_000  # so that the tiny models, too, are read from several files
CHAT = "My name is Ada.\nWhat is my name?\n/show\n/quit\n"
COMMAND_SECONDS = 1800
TIMINGS = re.compile(r"first token ([\d.,]+) ms, ([\d.,]+) tokens/s")


class Failed(Exception):
    """The page and the programs do not agree; the message says where."""


def commands_of(page):
    """{heading: its lines that download or run something} of a Markdown page."""
    sections, heading = {}, None
    for line in page.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith(("    hf download ", "    build/")):
            sections.setdefault(heading, []).append(line.strip())
    return sections


def expect(condition, what):
    if not condition:
        raise Failed(what)


class DocumentedServer(ServerProcess):
    """The server that a line of the page starts, on a free port."""

    def __init__(self, line, home):
        super().__init__()
        settings = {"HOME": home, "MEMGATE_LISTEN": "127.0.0.1:0", "MEMGATE_METRICS_LISTEN": "off",
                    "MEMGATE_PORT_FILE": self.port_file}
        self.command = ["env", "-u", "XDG_CACHE_HOME", *(f"{name}={value}" for name, value in settings.items()),
                        "bash", "-c", f"exec {line}"]

    def memory(self):
        """{"RssAnon": bytes, ...}: what is resident now, of the process's own and of mapped files."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"(\w+):\s+(\d+) kB", f.read())}

    def load_seconds(self):
        """What it took from `loading` to `loaded`."""
        return float(re.search(r"loaded .*\bseconds=([\d.e-]+)", self.log()).group(1))


class Newcomer:
    """Runs the lines of one heading after the other. `home` is what the page's ~ stands for."""

    def __init__(self, home, tiny=False, out=sys.stdout):
        self.home, self.tiny, self.out = home, tiny, out
        self.server, self.costs = None, []
        os.makedirs(os.path.join(home, "models"), exist_ok=True)

    def say(self, text):
        print(text, file=self.out, flush=True)

    def follow(self, heading, lines):
        """Runs `lines`; what was measured goes to `costs`, an entry for every server."""
        self.say(f"\n## {heading}")
        try:
            for line in lines:
                self.say(f"\n$ {line}")
                if line.startswith("hf download "):
                    self.download(shlex.split(line)[2:])
                elif line.startswith("build/server/"):
                    self.finish()
                    self.start(heading, line)
                else:
                    self.run(line)
            self.finish()
        finally:
            if self.server is not None:
                self.server.__exit__(*sys.exc_info())

    def local(self, path):
        return path.replace("~", self.home, 1)

    def shape(self, name):
        return SHAPES[TINY[name] if self.tiny else name]

    def download(self, words):
        """REPOSITORY [FILE] --local-dir FOLDER"""
        repository, folder = words[0], self.local(words[-1])
        if repository in FILE_OF:
            target = os.path.join(folder, words[1])
        else:
            target = os.path.join(folder, "config.json")  # written last
        if os.path.exists(target):
            self.say(f"{target} is there")
        elif repository in FILE_OF:
            gguf_writer.convert(os.path.join(folder, FILE_OF[repository]), target, gguf_writer.Q8_0)
        elif repository in MODULE_FOR:
            make_model.write_ahn(folder, self.shape(MODULE_FOR[repository]))
        else:
            limit = TINY_SHARD_BYTES if self.tiny else make_model.SHARD_BYTES
            make_model.write_model(folder, self.shape(SHAPE_OF[repository]), geometry=None, shard_bytes=limit)

    def start(self, heading, line):
        server = DocumentedServer(self.built(line), self.home)
        self.server = server.__enter__()
        words = shlex.split(line)
        options = dict(zip(words[1::2], words[2::2]))
        memory = ["--memory", self.local(options["--memory"])] if "--memory" in options else []
        foretold = self.ask("inspect", self.local(options["--model"]), *memory)
        self.costs.append({"heading": heading, "line": line, "answers": [],
                           "load_seconds": server.load_seconds(), "loaded": server.memory(),
                           **self.compared(foretold, self.ask("models"))})

    def compared(self, foretold, told):
        """What inspect said, which must be what the server says."""
        weights, kv = told["weight_format"], told["kv_format"]
        kinds = {kind["kind"]: kind["default_session_bytes"] for kind in told["memory_kinds"]}
        expect(foretold["servable"], f"inspect: {foretold['obstacles']}")
        for what, before, after in (
                ("weight format", foretold["default_weights"], weights),
                ("weight bytes", foretold["weight_bytes"][weights], told["weight_bytes"]),
                ("parameters", foretold["parameters"], told["parameters"]),
                ("bytes of a full cache", foretold["full_kv_bytes_per_token"][kv], told["full_kv_bytes_per_token"]),
                ("kinds and bytes of sessions",
                 {kind["kind"]: kind["session_bytes"][kv] for kind in foretold["memory_kinds"]}, kinds)):
            expect(before == after, f"{what}: inspect said {before}, the server says {after}")
        return {"weight_format": weights, "weight_bytes": told["weight_bytes"], "parameters": told["parameters"]}

    def run(self, line):
        """A line of the client, to its end."""
        words = ["bash", "-c", f"exec {self.built(line)}"]
        done = subprocess.run(words, cwd=REPOSITORY, env=self.environment(), text=True, timeout=COMMAND_SECONDS,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=CHAT, errors="replace")
        self.say(done.stdout.rstrip())
        expect(done.returncode == 0, f"{line}: ended with {done.returncode}")
        for first_token, rate in TIMINGS.findall(done.stdout):
            numbers = [float(text.replace(",", "")) for text in (first_token, rate)]
            self.costs[-1]["answers"].append(dict(zip(("first_token_ms", "tokens_per_s"), numbers)))
        if " generate " in line or " chat " in line:
            expect(TIMINGS.search(done.stdout), f"{line}: no answer")

    def finish(self):
        """Ends the server, if there is one, once its sessions and its memory were looked at."""
        if self.server is None:
            return
        costs, kept = self.costs[-1], ("memory_kind", "session_bytes", "full_kv_bytes", "accounting")
        sessions = self.ask_all("sessions", "list")
        costs["served"] = self.server.memory()
        costs["sessions"] = [{key: session[key] for key in kept} for session in sessions]
        for session in sessions:
            held = session["accounting"]
            expect(held["exact_tokens"] < held["total_tokens"], f"nothing left the window: {held}")
            far = "compressed_tokens" if session["memory_kind"] == "ahn" else "salient_tokens"
            expect(held[far] > 0, f"{session['memory_kind']} holds no {far}: {held}")
        server, self.server = self.server, None
        server.__exit__(None, None, None)

    def ask(self, *words):
        (found,) = self.ask_all(*words)
        return found

    def ask_all(self, *words):
        """What `memgate WORDS --json` prints."""
        done = subprocess.run([MEMGATE, *words, "--json"], env=self.environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=COMMAND_SECONDS)
        expect(done.returncode == 0, f"memgate {' '.join(words)}: {done.stdout}{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def environment(self):
        address = {} if self.server is None else {"MEMGATE_ADDRESS": self.server.address}
        return environment(HOME=self.home, **address)

    @staticmethod
    def built(line):
        """The line with the programs of this build."""
        return line.replace("build/", f"{shlex.quote(BUILD)}/", 1)


def report(costs):
    """A table in Markdown: what `inspect` foretold of the weights, and what the process takes of its own."""
    rows = [("model", "weights", "in memory", "loaded in", "own memory then", "after the turns", "sessions",
             "first token", "tokens/s"), ("---",) * 9]
    for cost in costs:
        path = shlex.split(cost["line"])[2]
        own = [megabytes(cost[when]["RssAnon"]) for when in ("loaded", "served")]
        sessions = sum(session["session_bytes"] for session in cost["sessions"])
        first = cost["answers"][0]
        rows.append((os.path.basename(path), cost["weight_format"], megabytes(cost["weight_bytes"]),
                     f"{cost['load_seconds']:.1f} s", *own, megabytes(sessions), f"{first['first_token_ms']:.0f} ms",
                     f"{first['tokens_per_s']:.1f}"))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def megabytes(count):
    return f"{count / 1e6:,.0f} MB"


def main():
    parser = argparse.ArgumentParser(prog="./dev models", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="only headings that have this in them")
    parser.add_argument("--work", default=WORK, metavar="DIR", help="where the models are made (default %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="models of a few hundred kB")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    arguments = parser.parse_args()
    home = os.path.join(os.path.abspath(arguments.work), "tiny" if arguments.tiny else "home")
    newcomer = Newcomer(home, arguments.tiny)
    with open(PAGE, encoding="utf-8") as f:
        sections = commands_of(f.read())
    try:
        for heading, lines in sections.items():
            if arguments.only in heading:
                newcomer.follow(heading, lines)
    except (Failed, ServerFailed) as error:
        sys.exit(f"models: {error}")
    print(f"\n{report(newcomer.costs)}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as f:
            json.dump(newcomer.costs, f, indent=1)


if __name__ == "__main__":
    main()
