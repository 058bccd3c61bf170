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
from tests.bench.plan import BATCH_DEPTH, FORMATS, GENERATED
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

    name = "llama_cpp"

    def __init__(self, folder, model, threads):
        self.folder, self.model, self.threads = folder, model, threads
        for program in ("llama-bench", "llama-server", "llama-quantize"):
            if not os.path.isfile(self.program(program)):
                raise MeasurementFailed(f"{folder} has no {program}, neither there nor in bin/")

    def program(self, name):
        inside = os.path.join(self.folder, "bin", name)
        return inside if os.path.isfile(inside) else os.path.join(self.folder, name)

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

    def measure(self, measurement, setting, seed):
        """As Memgate.measure, with one of SETTINGS."""
        if measurement.what == "together":
            with LlamaServer(self, self.file(measurement.format), setting, measurement.sessions) as server:
                return {"tokens_per_s": server.tokens_per_s_together(seed)}
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
    """A llama-server with one slot per session for as long as a `with` block lasts."""

    def __init__(self, peer, file, setting, slots):
        self.slots, self.port = slots, free_port()
        kv = setting.kv_type
        context = slots * 2 * BATCH_DEPTH
        self.command = [peer.program("llama-server"), "-m", file, "-t", str(peer.threads), "-np", str(slots),
                        "-c", str(context), "-fa", "on" if setting.flash_attention else "off", "-ctk", kv, "-ctv", kv,
                        "--host", "127.0.0.1", "--port", str(self.port)]
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
        """Ids of `count` generated tokens, greedy, end tokens ignored. What the slot holds of `tokens` is reused."""
        status, answer = self.call("POST", "/completion", {
            "prompt": tokens, "n_predict": count, "id_slot": slot, "cache_prompt": True, "ignore_eos": True,
            "temperature": 0, "top_k": 1, "samplers": ["top_k"], "return_tokens": True})
        if status != 200 or len(answer["tokens"]) != count:
            raise MeasurementFailed(f"llama-server answered {status}: {json.dumps(answer)[:500]}")
        return answer["tokens"]

    def tokens_per_s_together(self, seed):
        """All slots take in a prompt, one after another; then all generate at the same time."""
        vocabulary = self.call("GET", "/v1/models")[1]["data"][0]["meta"]["n_vocab"]
        random_ids = random.Random(seed)
        prompts = [[random_ids.randrange(vocabulary) for _ in range(BATCH_DEPTH)] for _ in range(self.slots)]
        held = [prompt + self.complete(slot, prompt, 1) for slot, prompt in enumerate(prompts)]
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
