"""The peer: llama.cpp, fetched and built by whoever wants the comparison (docs/benchmarks.md says how)."""

import http.client
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

from tests.bench import gguf_writer
from tests.bench.plan import BATCH_DEPTH, FORMATS, GENERATED, LONG_TOKENS
from tests.bench.served import MeasurementFailed, run_program

SHORT_PROMPT = 512  # up to here llama-bench times the prompt itself, warm; beyond, the run that fills the cache
START_SECONDS = 120


@dataclass(frozen=True)
class Setting:
    """How llama.cpp holds and reads its KV cache. Its V cache can only be quantised with flash attention."""

    flash_attention: bool
    kv_type: str

    @property
    def name(self):
        return f"{'flash attention' if self.flash_attention else 'no flash attention'}, {self.kv_type} KV"


SETTINGS = {setting.name: setting
            for setting in (Setting(False, "f16"), Setting(True, "f16"), Setting(True, "q8_0"))}


class LlamaCpp:
    """Runs llama-bench and llama-server of a build folder on GGUF files that are made when first needed."""

    flags = ()  # but the settings

    def __init__(self, folder, model, threads):
        self.folder, self.model, self.threads = folder, model, threads
        self.slots = tempfile.TemporaryDirectory(prefix="memgate-bench-slots-")
        self.kept = {}  # (format, setting) -> (seed, tokens) of the prompt whose slot was saved
        for program in ("llama-bench", "llama-server", "llama-quantize"):
            if not os.path.isfile(self.program(program)):
                raise MeasurementFailed(f"{folder} has no {program}, neither there nor in bin/")

    def program(self, name):
        inside = os.path.join(self.folder, "bin", name)
        return inside if os.path.isfile(inside) else os.path.join(self.folder, name)

    def programs(self, measurement):
        """The files of those that a measurement runs."""
        served = measurement.what == "together" or measurement.tokens >= LONG_TOKENS
        return (self.program("llama-server" if served else "llama-bench"),)

    def version(self):
        """As llama-server tells its own, with the commit. Asked last: whatever went wrong, what was measured counts."""
        try:
            done = subprocess.run([self.program("llama-server"), "--version"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, errors="replace")
        except OSError:  # gone by now, or not of this machine
            return "of unknown version"
        found = [line.removeprefix("version: ") for line in done.stdout.splitlines() if line.startswith("version: ")]
        return found[0] if found else "of unknown version"

    def architecture(self):
        """As GGUF names it, the prefix of its keys."""
        with open(os.path.join(self.model, "config.json"), encoding="utf-8") as f:
            return json.load(f)["model_type"]

    def file(self, format):
        """The GGUF file of as many bits as memgate's `format`."""
        kind = FORMATS[format]
        path, source = (os.path.join(self.model, f"{name.lower()}.gguf") for name in (kind, "bf16"))
        if not os.path.exists(path):
            print(f"bench: writing {path}", flush=True)
            if not os.path.exists(source):
                gguf_writer.convert(self.model, source)
            if path != source:
                run_program([self.program("llama-quantize"), source, path + ".tmp", kind, str(self.threads)])
                os.replace(path + ".tmp", path)
        return path

    def measure(self, measurement, setting, seed, fill=True):
        """As Memgate.measure, with one of SETTINGS. Without `fill`, a long prompt may come out of an earlier run."""
        if measurement.what == "together":
            with LlamaServer(self, self.file(measurement.format), setting, measurement.sessions,
                             2 * BATCH_DEPTH) as server:
                return {"tokens_per_s": server.tokens_per_s_together(seed)}
        if measurement.tokens >= LONG_TOKENS:
            return self.measure_long(measurement, setting, seed, fill)
        prompt, depth, generated = measurement.tokens, 0, 0
        if measurement.tokens > SHORT_PROMPT or measurement.tokens == 0:
            prompt, depth, generated = 0, measurement.tokens, GENERATED
        command = [self.program("llama-bench"), "-m", self.file(measurement.format), "-t", str(self.threads), "-r", "1",
                   "-p", str(prompt), "-n", str(generated), "-d", str(depth), "-o", "json", "--progress",
                   "-fa", str(int(setting.flash_attention)), "-ctk", setting.kv_type, "-ctv", setting.kv_type]
        results, filling_seconds = run_llama_bench(command)
        seconds = results[0]["avg_ns"] / 1e9
        if prompt:
            return {"first_token_s": seconds}
        return {"first_token_s": filling_seconds, "decode_tokens_per_s": generated / seconds}

    def measure_long(self, measurement, setting, seed, fill):
        """A point that takes minutes to reach: served, so that what was taken in once can be restored later.

        The times are llama-server's own, of its prompt and of the answer's tokens after the first one.
        """
        key, state = (measurement.format, setting.name), f"{measurement.format}, {setting.name}"
        seed_kept, tokens_kept = self.kept.get(key, (seed, 0))
        restore = not fill and tokens_kept >= measurement.tokens
        context = max(tokens_kept, measurement.tokens) + 2 * GENERATED
        with LlamaServer(self, self.file(measurement.format), setting, 1, context, self.slots.name) as server:
            if restore:
                server.slot("restore", state)
                seed = seed_kept
            prompt = server.random_prompt(random.Random(seed), measurement.tokens)
            timings = server.complete(0, prompt, GENERATED)["timings"]
            result = {"decode_tokens_per_s": (GENERATED - 1) / timings["predicted_ms"] * 1e3}
            if restore:
                if timings["prompt_n"] > SHORT_PROMPT:
                    raise MeasurementFailed(f"llama-server took in {timings['prompt_n']} tokens of a restored prompt")
                return result
            if measurement.tokens > tokens_kept:
                server.slot("save", state)
                self.kept[key] = (seed, measurement.tokens)
            return {"first_token_s": timings["prompt_ms"] / 1e3, **result}


def run_llama_bench(command):
    """(results, seconds of the run that filled the cache up to the depth, or None)"""
    begin, end, said = None, None, []
    with (tempfile.TemporaryFile("w+") as output,
          subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True) as process):
        try:
            for line in process.stderr:
                said.append(line)
                if ": depth run" in line:
                    begin = time.monotonic()
                elif ": generation run" in line:
                    end = time.monotonic()
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            raise MeasurementFailed(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)[-2000:]}")
        output.seek(0)
        return json.load(output), end - begin if begin and end else None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class LlamaServer:
    """A llama-server with one slot of `context` tokens per session for as long as a `with` block lasts."""

    def __init__(self, peer, file, setting, slots, context, slot_folder=None):
        self.slots, self.port = slots, free_port()
        kv = setting.kv_type
        self.command = [peer.program("llama-server"), "-m", file, "-t", str(peer.threads), "-np", str(slots),
                        "-c", str(slots * context), "-fa", "on" if setting.flash_attention else "off",
                        "-ctk", kv, "-ctv", kv, "-cram", "0", "--host", "127.0.0.1", "--port", str(self.port),
                        # The models are random: nothing is lost beyond their trained context.
                        "--override-kv", f"{peer.architecture()}.context_length=int:{context}"]
        if slot_folder:
            self.command += ["--slot-save-path", slot_folder]
        self.log = tempfile.TemporaryFile("w+")

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                self.log.seek(0)
                raise MeasurementFailed(f"{' '.join(self.command)} did not start:\n{self.log.read()[-2000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def is_ready(self):
        try:
            return self.call("GET", "/health")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def complete(self, slot, tokens, count):
        """An answer of `count` tokens, greedy, end tokens ignored. What the slot holds of `tokens` is reused."""
        status, answer = self.call("POST", "/completion", {
            "prompt": tokens, "n_predict": count, "id_slot": slot, "cache_prompt": True, "ignore_eos": True,
            "temperature": 0, "top_k": 1, "samplers": ["top_k"], "return_tokens": True})
        if status != 200 or len(answer["tokens"]) != count:
            raise MeasurementFailed(f"llama-server answered {status}: {json.dumps(answer)[:500]}")
        return answer

    def slot(self, action, name):
        """Saves slot 0 under a name, or restores it."""
        status, answer = self.call("POST", f"/slots/0?action={action}", {"filename": name})
        if status != 200:
            raise MeasurementFailed(f"llama-server answered {status}: {json.dumps(answer)[:500]}")

    def random_prompt(self, random_ids, tokens):
        """Ids from the whole vocabulary; a shorter prompt of the same source is its beginning."""
        vocabulary = self.call("GET", "/v1/models")[1]["data"][0]["meta"]["n_vocab"]
        return [random_ids.randrange(vocabulary) for _ in range(tokens)]

    def tokens_per_s_together(self, seed):
        """All slots take in a prompt, one after another; then all generate at the same time."""
        random_ids = random.Random(seed)
        prompts = [self.random_prompt(random_ids, BATCH_DEPTH) for _ in range(self.slots)]
        held = [prompt + self.complete(slot, prompt, 1)["tokens"] for slot, prompt in enumerate(prompts)]
        failures = []

        def generate(slot):
            try:
                self.complete(slot, held[slot], GENERATED)
            except (MeasurementFailed, OSError) as error:
                failures.append(error)
        threads = [threading.Thread(target=generate, args=(slot,)) for slot in range(self.slots)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        if failures:
            raise failures[0]
        return self.slots * GENERATED / seconds
