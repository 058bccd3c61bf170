import io
import tempfile
import unittest

from tests.e2e import newcomer

HEADINGS = ["Qwen2.5-0.5B-Instruct", "Qwen2.5-3B-Instruct with AHN-GDN", "Llama-3.2-1B-Instruct"]


class NewcomerTest(unittest.TestCase):
    """docs/models.md with tiny models; `./dev models` runs it with those of the published shapes."""

    @classmethod
    def setUpClass(cls):
        with open(newcomer.PAGE, encoding="utf-8") as f:
            cls.sections = newcomer.commands_of(f.read())

    def follow(self, heading):
        out, home = io.StringIO(), self.enterContext(tempfile.TemporaryDirectory())
        follower = newcomer.Newcomer(home, tiny=True, out=out)
        try:
            follower.follow(heading, self.sections[heading])
        except newcomer.Failed as error:
            self.fail(f"{error}\n{out.getvalue()}")
        return follower.costs, out.getvalue()

    def test_page_downloads_looks_and_serves_every_model_of_its_headings(self):
        self.assertEqual(list(self.sections), HEADINGS)
        for heading, lines in self.sections.items():
            programs = [line.split()[0] for line in lines]
            self.assertLess(programs.index("hf"), programs.index("build/server/memgate-server"), heading)
            self.assertIn("build/client/memgate inspect", "\n".join(lines))

    def test_small_model_is_served_from_its_folder_and_from_a_gguf_file(self):
        (folder, file), printed = self.follow(HEADINGS[0])
        self.assertEqual(printed.count("can be served: yes"), 2)
        self.assertEqual(folder["parameters"], file["parameters"])
        self.assertEqual([session["memory_kind"] for session in folder["sessions"]], ["memgate-untrained"])

    def test_published_module_remembers_beside_its_base(self):
        (costs,), printed = self.follow(HEADINGS[1])
        self.assertIn("can be loaded: yes", printed)
        self.assertEqual([session["memory_kind"] for session in costs["sessions"]], ["ahn"])
        self.assertIn("| Qwen2.5-3B-Instruct |", newcomer.report([costs]))

    def test_llama_is_served_from_its_folder(self):
        (costs,), _ = self.follow(HEADINGS[2])
        self.assertGreaterEqual(len(costs["answers"]), 3)

    def test_line_that_fails_is_named(self):
        out = io.StringIO()
        follower = newcomer.Newcomer(self.enterContext(tempfile.TemporaryDirectory()), tiny=True, out=out)
        with self.assertRaisesRegex(newcomer.Failed, "inspect ~/models/nothing: ended with 1"):
            follower.follow("a heading", ["build/client/memgate inspect ~/models/nothing"])
        self.assertIn("no such file or folder", out.getvalue())


if __name__ == "__main__":
    unittest.main()
