import io
import os
import tempfile
import unittest

from training.report import Progress, plot


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(out, steps, every, stages=("a",)):
    progress = Progress(0, steps, every, out)
    for step in range(1, steps + 1):
        progress.update(step, stages[(step - 1) * len(stages) // steps], {"loss": (float(step), "{:.1f}")})
    return out.getvalue()


class ProgressTest(unittest.TestCase):
    def test_writes_a_line_of_means_every_few_steps(self):
        lines = run(io.StringIO(), 6, 2).splitlines()
        self.assertEqual([line.split("loss ")[1].split()[0] for line in lines], ["1.5", "3.5", "5.5"])
        self.assertIn("6/6", lines[-1])

    def test_redraws_one_line_on_a_terminal(self):
        text = run(Terminal(), 6, 2)
        self.assertEqual(text.count("\n"), 1)
        self.assertEqual(text.count("\r"), 6)

    def test_means_do_not_mix_stages(self):
        lines = run(io.StringIO(), 6, 6, ("a", "b")).splitlines()
        self.assertEqual([line.split("loss ")[1].split()[0] for line in lines], ["5.0"])


class PlotTest(unittest.TestCase):
    def test_draws_png_and_svg(self):
        history = [(1, "soft", 2.0, 0.1), (2, "soft", 1.5, 0.2), (3, "ranked", 1.0, 0.9)]
        with tempfile.TemporaryDirectory() as folder:
            for name, start in (("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")):
                plot(os.path.join(folder, name), history, "title")
                with open(os.path.join(folder, name), "rb") as f:
                    self.assertEqual(f.read(len(start)), start)


if __name__ == "__main__":
    unittest.main()
