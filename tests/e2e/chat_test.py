import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time
import unittest

from tests.e2e.support import DEADLINE_SECONDS, MEMGATE, ServedTestCase, environment, gateway_text

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """A `memgate` command at a pseudo-terminal."""

    def __init__(self, *words, address, **changes):
        self.output = ""
        self.seen = 0
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [MEMGATE, *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            # The terminal becomes the controlling one, so that its Ctrl-C reaches the process.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
            env=environment(MEMGATE_ADDRESS=address, TERM="xterm", **changes))
        os.close(slave)

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern):
        """Waits until `pattern` shows after what was matched before, and returns the match."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            match = re.search(pattern, self.output[self.seen:])
            if match:
                self.seen += match.end()
                return match
            if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{pattern!r} did not show in {self.output!r}")
            if not self._read():
                raise AssertionError(f"ended before {pattern!r} showed: {self.output!r}")

    def _read(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux: the other side is closed
            data = b""
        self.output += data.decode("utf-8", errors="replace")
        return data

    def finish(self):
        """Everything up to the end of the process; returns its exit code."""
        while self._read():
            pass
        os.close(self.master)
        return self.process.wait(DEADLINE_SECONDS)


class ChatTest(ServedTestCase):
    def screen(self, *words, **changes):
        screen = Screen(*words, address=self.address, **changes)
        self.addCleanup(lambda: screen.process.poll() is None and screen.process.send_signal(signal.SIGKILL))
        return screen

    def test_session_keeps_what_was_said_between_turns(self):
        screen = self.screen("chat", "--max-tokens", "16")
        screen.expect("> ")
        screen.type("/add note: the service code of pump K7 is 4921\n")
        screen.expect(r"\d+ tokens: ")
        screen.expect("> ")
        screen.type("what is the service code of pump K7?\n")
        screen.expect(r"4921\s")
        screen.expect("path exact")
        screen.expect("> ")
        screen.type("/quit\n")
        self.assertEqual(screen.finish(), 0)
        self.assertEqual(self.memgate_json("sessions", "list"), [], "an unnamed chat leaves no session behind")

    def test_turns_continue_each_other(self):
        screen = self.screen("chat", "--max-tokens", "8")
        for _ in range(3):
            screen.expect("> ")
            screen.type("what is the flow limit of fan B2?\n")
            screen.expect("ended by")
        screen.expect("> ")
        screen.type("/quit\n")
        self.assertEqual(screen.finish(), 0)
        for said in ("chat changed", "chat unchecked"):
            self.assertNotIn(said, screen.output)

    def test_named_session_outlives_the_chat(self):
        for turns in (1, 2):
            screen = self.screen("chat", "--session", "kept", "--max-tokens", "4")
            screen.expect("> ")
            screen.type("what is the flow limit of fan B2?\n")
            screen.expect("ended by")
            screen.expect("> ")
            screen.type("\x04")
            self.assertEqual(screen.finish(), 0)
            self.assertEqual(self.memgate_json("sessions", "show", "kept")[0]["turns"], turns)
        self.memgate("sessions", "rm", "kept")

    def test_commands_show_reset_and_explain(self):
        screen = self.screen("chat")
        screen.expect("> ")
        screen.type("/add time 10:00\n")
        screen.expect(r"[1-9]\d* tokens: ")
        screen.type("/reset\n")
        screen.expect("0 tokens: ")
        screen.type("/help\n")
        screen.expect("/ingest FILE")
        screen.type("/dance\n")
        screen.expect("no such command")
        screen.type("/quit\n")
        self.assertEqual(screen.finish(), 0)

    def test_ingest_shows_a_bar_on_a_terminal(self):
        self.memgate("sessions", "create", "--id", "bar")
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.write(gateway_text(6000, seed=8))
            f.flush()
            screen = self.screen("ingest", "bar", f.name)
            screen.expect(r"\[#*\.*\] +\d+%.*tok/s")
            screen.expect("tokens ingested")
            self.assertEqual(screen.finish(), 0)
        self.memgate("sessions", "rm", "bar")

    def test_no_color_switches_colours_off(self):
        for setting, coloured in (("", True), ("1", False)):
            screen = self.screen("generate", "time", "--max-tokens", "2", NO_COLOR=setting)
            screen.expect("ended by")
            self.assertEqual(screen.finish(), 0)
            self.assertEqual(bool(COLOUR.search(screen.output)), coloured, screen.output)

    def test_interrupt_stops_what_is_running_and_not_the_chat(self):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.write(gateway_text(60000, seed=9))
            f.flush()
            screen = self.screen("chat", "--session", "stopped")
            screen.expect("> ")
            screen.type(f"/ingest {f.name}\n")
            screen.expect(r"\d%")
            screen.type("\x03")
            screen.expect("stopped")
            screen.expect("> ")
            screen.type("\x03")
            screen.expect("/quit or Ctrl-D leaves")
            screen.type("/quit\n")
            self.assertEqual(screen.finish(), 0)
        self.memgate("sessions", "rm", "stopped")



if __name__ == "__main__":
    unittest.main()
