import os
import re
import signal
import subprocess
import tempfile
import unittest

from client.demo.server_process import DEMO_MODEL, SERVER, ServerProcess
from tests.e2e.support import MetricsTestCase, ServedTestCase, environment, gateway_text, wait_until


def probe(address):
    return subprocess.run([SERVER, f"--probe={address}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, env=environment())


class ProbeTest(ServedTestCase):
    def test_serving_server_is_healthy(self):
        done = probe(self.address)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_nothing_there_is_unhealthy(self):
        done = probe("127.0.0.1:1")
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr)


class ReloadedWhileStarting(ServerProcess):
    """A server that is told to read its keys again while it still loads the model."""

    def _wait_until_ready(self):
        wait_until(lambda: "loading" in self.log() or self.process.poll() is not None, "loading the model")
        self.process.send_signal(signal.SIGHUP)
        super()._wait_until_ready()


class StartTest(unittest.TestCase):
    def test_reload_during_the_start_does_no_harm(self):
        with ReloadedWhileStarting() as server:
            self.assertEqual(probe(server.address).returncode, 0)


class WeightCacheTest(unittest.TestCase):
    def test_second_start_maps_what_the_first_one_packed(self):
        with tempfile.TemporaryDirectory() as folder:
            flags = ("--weights", "int8", "--weight-cache", os.path.join(folder, "cache"))
            with ServerProcess(*flags) as server:
                wait_until(lambda: "weight_cache_written what=\"weights\"" in server.log(), "the weights are cached")
            with ServerProcess(*flags) as server:
                self.assertIn("weight_cache_hit what=\"weights\"", server.log())

    def test_check_leaves_the_weights_for_the_start(self):
        with tempfile.TemporaryDirectory() as folder:
            flags = ("--weights", "int8", "--weight-cache", os.path.join(folder, "cache"))
            subprocess.run([SERVER, "--model", DEMO_MODEL, "--check-config", *flags], check=True, timeout=60,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            with ServerProcess(*flags) as server:
                self.assertIn("weight_cache_hit what=\"weights\"", server.log())


class MetricsTest(MetricsTestCase):
    def values(self):
        return {name: float(value) for name, value in re.findall(r"^([a-z][^ ]*) ([^ ]+)$", self.scrape(), re.MULTILINE)}

    def test_work_shows_and_names_do_not(self):
        before = self.values()
        self.memgate("sessions", "create", "--id", "very-secret-name")
        self.memgate("ingest", "very-secret-name", stdin=gateway_text(1000, seed=11))
        self.memgate("generate", "time", "--session", "very-secret-name", "--max-tokens", "5", "--ignore-eos")
        text, after = self.scrape(), self.values()
        self.assertNotIn("very-secret-name", text)
        self.assertIn('path="gated"', text)
        grown = {name for name, value in after.items() if value > before.get(name, 0)}
        for part in ("route", "generated_tokens", "prompt_tokens", "first_token", "session"):
            self.assertTrue(any(part in name for name in grown), f"nothing with {part} grew: {sorted(grown)}")
        self.memgate("sessions", "rm", "very-secret-name")


if __name__ == "__main__":
    unittest.main()
