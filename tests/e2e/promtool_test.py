import subprocess
import unittest

from tests.e2e.support import MetricsTestCase, gateway_text


class PromtoolTest(MetricsTestCase):
    def test_finds_nothing_to_complain_about(self):
        self.memgate("sessions", "create", "--id", "busy")
        self.memgate("ingest", "busy", stdin=gateway_text(1000, seed=12))
        self.memgate("generate", "time", "--session", "busy", "--max-tokens", "5", "--ignore-eos")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.scrape(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
