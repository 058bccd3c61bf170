import os
import subprocess
import unittest

from tests.e2e.support import DEADLINE_SECONDS, REPOSITORY, ServedTestCase, environment

FOLDER = os.environ["MEMGATE_NODE_EXAMPLE"]


class NodeExampleTest(ServedTestCase):
    def run_example(self, address):
        return subprocess.run(["node", "remember.js", "--address", address, "--proto",
                               os.path.join(REPOSITORY, "proto")], cwd=FOLDER, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=DEADLINE_SECONDS, env=environment())

    def test_remembers_a_fact_that_left_the_window(self):
        done = self.run_example(self.address)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("PATH_GATED", done.stdout)
        self.assertIn("pump K7? 4921", done.stdout)
        self.assertEqual(self.memgate_json("sessions", "list"), [])

    def test_reports_a_missing_server(self):
        done = self.run_example("127.0.0.1:1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("UNAVAILABLE", done.stderr)


if __name__ == "__main__":
    unittest.main()
