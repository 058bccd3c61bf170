import json
import os
import subprocess
import sys
import tempfile
import unittest

from tests.e2e.support import REPOSITORY

SEED = 20_001
KEYS = ["tokens_ingested", "questions", "correct", "correct_window_only", "path", "session_bytes", "full_kv_bytes",
        "ttft_ms", "decode_tokens_per_s"]


class DemoTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "demo.json")
            cls.done = subprocess.run([sys.executable, "-m", "client.demo.demo", "--seed", str(SEED), "--json", file],
                                      cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if cls.done.returncode != 0:
                raise AssertionError(f"the demo failed:\n{cls.done.stdout}{cls.done.stderr}")
            with open(file, encoding="utf-8") as f:
                cls.result = json.load(f)

    def test_result_has_exactly_the_documented_keys(self):
        self.assertEqual(list(self.result), KEYS)

    def test_remembers_nine_of_ten_facts_after_20000_tokens(self):
        self.assertGreaterEqual(self.result["tokens_ingested"], 20_000)
        self.assertEqual(self.result["questions"], 10)
        self.assertGreaterEqual(self.result["correct"], 9, self.done.stdout)
        self.assertEqual(self.result["path"], "gated")

    def test_window_of_equal_bytes_remembers_at_most_two(self):
        self.assertLessEqual(self.result["correct_window_only"], 2, self.done.stdout)

    def test_session_takes_at_most_a_tenth_of_a_full_cache(self):
        self.assertLessEqual(self.result["session_bytes"] * 10, self.result["full_kv_bytes"])

    def test_output_off_a_terminal_has_no_control_characters(self):
        self.assertNotRegex(self.done.stdout + self.done.stderr, r"[\x1b\r]")

    def test_prints_the_seed(self):
        self.assertIn(f"--seed {SEED}", self.done.stdout)


if __name__ == "__main__":
    unittest.main()
