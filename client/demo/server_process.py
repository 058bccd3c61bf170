"""Runs a memgate-server for as long as a `with` block lasts. Standard library only."""

import os
import shutil
import signal
import subprocess
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MEMGATE_BUILD_DIR", os.path.join(REPOSITORY, "build"))
SERVER = os.path.join(BUILD, "server", "memgate-server")
MEMGATE = os.path.join(BUILD, "client", "memgate")
DEMO_MODEL = os.path.join(REPOSITORY, "models", "gateway-demo")

START_SECONDS = 180  # packing the weights of a large model included
STOP_SECONDS = 60


def environment(**changes):
    """This process's environment without settings of memgate that are meant for other servers, plus `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEMGATE_")}
    return {**kept, **changes}


class ServerFailed(Exception):
    """The server did not start, or did not stop as it should. The message ends with its log."""


class ServerProcess:
    """A server on a free loopback port. `address` is where it listens; `stop()` ends it and checks how.

    The log and the port file live in a temporary folder that goes away with the block, unless something failed.
    """

    def __init__(self, *flags, model=DEMO_MODEL):
        self.folder = tempfile.mkdtemp(prefix="memgate-")
        self.log_path = os.path.join(self.folder, "server.log")
        self.port_file = os.path.join(self.folder, "port")
        # No weight cache: nothing is to stay on this machine.
        self.command = [SERVER, "--model", model, "--listen", "127.0.0.1:0", "--metrics-listen", "off",
                        "--port-file", self.port_file, "--weight-cache", "none", *flags]
        self.process = None
        self.port = None
        self.terminated = False

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def __enter__(self):
        with open(self.log_path, "wb") as log:
            # A session of its own: Ctrl-C reaches the server through stop(), after the work in hand ended.
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=environment(), start_new_session=True)
        try:
            self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerFailed(f"memgate-server ended with {self.process.returncode}:\n{self.log()}")
            # The server writes the file, with its newline last, once it serves.
            try:
                with open(self.port_file, encoding="ascii") as f:
                    text = f.read()
            except FileNotFoundError:
                text = ""
            if text.strip().isdigit():
                self.port = int(text)
                return
            time.sleep(0.02)
        raise ServerFailed(f"memgate-server was not ready after {START_SECONDS} s:\n{self.log()}")

    def terminate(self):
        """SIGTERM, once: a second one would end the server without a drain."""
        if not self.terminated and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.terminated = True

    def stop(self):
        """Terminates, then waits. Returns the exit code; ServerFailed if the server does not end."""
        self.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f"memgate-server did not end {STOP_SECONDS} s after SIGTERM:\n{self.log()}") from None

    def __exit__(self, kind, error, trace):
        code = self.stop()
        if kind is None and code != 0:
            raise ServerFailed(f"memgate-server ended with {code}:\n{self.log()}")
        if kind is None or kind is KeyboardInterrupt:
            shutil.rmtree(self.folder, ignore_errors=True)
        return False
