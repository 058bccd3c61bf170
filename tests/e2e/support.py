"""What the end-to-end tests share: servers, channels, the command line, and waiting for conditions."""

import json
import os
import re
import subprocess
import sys
import time
import unittest
import urllib.request

from client.demo.server_process import MEMGATE, REPOSITORY, ServerProcess, environment
from training.gateway_log import make_log

sys.path.insert(0, os.path.join(REPOSITORY, "client", "examples", "python"))
import stubs  # noqa: E402

STUBS = os.environ["MEMGATE_STUBS"]
stubs.use(STUBS)

import grpc  # noqa: E402
from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from memgate.v1 import (  # noqa: E402
    inference_pb2, inference_pb2_grpc, model_pb2_grpc, session_pb2, session_pb2_grpc)

DEADLINE_SECONDS = 60


def wait_until(condition, what, seconds=DEADLINE_SECONDS):
    """Polls `condition` until it returns something true, and returns that; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(0.01)


def gateway_text(tokens, seed):
    """A log of about `tokens` tokens in the language of the demo model."""
    lines, _ = make_log(tokens, max(1, tokens // 1000), seed)
    return "".join(lines)


def memgate(*words, address=None, stdin=None, check=True, **changes):
    """Runs the command line to its end. With `check`, a nonzero exit code fails the test."""
    if address is not None:
        changes["MEMGATE_ADDRESS"] = address
    done = subprocess.run([MEMGATE, *words], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=DEADLINE_SECONDS, env=environment(**changes))
    if check and done.returncode != 0:
        raise AssertionError(f"memgate {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def memgate_json(*words, **options):
    """The objects that `memgate WORDS --json` prints."""
    return [json.loads(line) for line in memgate(*words, "--json", **options).stdout.splitlines()]


def error_reason(error):
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return ""


class Api:
    """The services on one channel."""

    def __init__(self, address, credentials=None, options=()):
        options = [("grpc.enable_http_proxy", 0), *options]
        self.channel = (grpc.insecure_channel(address, options) if credentials is None
                        else grpc.secure_channel(address, credentials, options))
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.channel)
        self.sessions = session_pb2_grpc.SessionServiceStub(self.channel)
        self.models = model_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def create(self, **fields):
        return self.sessions.CreateSession(session_pb2.CreateSessionRequest(**fields), timeout=DEADLINE_SECONDS).name

    def get(self, name):
        return self.sessions.GetSession(session_pb2.GetSessionRequest(name=name), timeout=DEADLINE_SECONDS)

    def ingest(self, name, text):
        requests = iter([inference_pb2.IngestRequest(session=name, text=text.encode())])
        *_, last = self.inference.Ingest(requests, timeout=DEADLINE_SECONDS)
        return last

    def generate(self, **fields):
        """The call, an iterator of responses."""
        return self.inference.Generate(inference_pb2.GenerateRequest(**fields), timeout=DEADLINE_SECONDS)


def greedy(seed=1):
    return inference_pb2.SamplingOptions(temperature=0, seed=seed)


class ServedTestCase(unittest.TestCase):
    """One server for all tests of a class; FLAGS go to it."""

    FLAGS = ()

    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(ServerProcess(*cls.FLAGS))
        cls.address = cls.server.address
        cls.api = Api(cls.address)
        cls.addClassCleanup(cls.api.close)

    def memgate(self, *words, **options):
        return memgate(*words, address=self.address, **options)

    def memgate_json(self, *words, **options):
        return memgate_json(*words, address=self.address, **options)


class MetricsTestCase(ServedTestCase):
    """The same with a metrics endpoint."""

    FLAGS = ("--metrics-listen", "127.0.0.1:0")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = re.search(r"metrics_port=(\d+)", cls.server.log()).group(1)
        cls.url = f"http://127.0.0.1:{port}/metrics"
        # Straight to this machine, whatever proxy the environment names.
        cls.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def scrape(self):
        with self.opener.open(self.url, timeout=DEADLINE_SECONDS) as response:
            return response.read().decode()
