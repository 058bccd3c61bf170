"""Progress of a training, and its picture."""

import sys
import time


class Progress:
    """One line redrawn on a terminal, else a line every `every` steps; values are means since the last of these."""

    def __init__(self, first, steps, every, out=None):
        self.first, self.steps, self.every, self.out = first, steps, every, out or sys.stdout
        self.began, self.stage, self.sums, self.count = time.time(), None, {}, 0
        self.redraw = self.out.isatty()

    def update(self, step, stage, values):
        """`step` steps are done; `values` is {name: (number, format)}."""
        if stage != self.stage:
            self.stage, self.sums, self.count = stage, {}, 0
        for name, (number, form) in values.items():
            self.sums[name] = (self.sums.get(name, (0.0,))[0] + number, form)
        self.count += 1
        last = step == self.steps
        if self.redraw or last or step % self.every == 0:
            self.draw(step, stage)
        if last or step % self.every == 0:
            self.sums, self.count = {}, 0

    def draw(self, step, stage):
        rate = (time.time() - self.began) / (step - self.first)
        shown = "  ".join(f"{name} {form.format(total / self.count)}" for name, (total, form) in self.sums.items())
        filled = 20 * step // self.steps
        line = (f"[{'#' * filled}{'.' * (20 - filled)}] {step}/{self.steps} {stage}  {shown}  {rate:.2f} s/step  "
                f"ETA {self.time_left((self.steps - step) * rate)}")
        over = self.redraw and step < self.steps
        print(("\r\x1b[K" if self.redraw else "") + line, end="" if over else "\n", file=self.out, flush=True)

    @staticmethod
    def time_left(seconds):
        minutes, seconds = divmod(int(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def plot(path, history, title):
    """Draws loss and recall over steps; `history` is a list of (step, stage, loss, recall)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def smooth(values, share=0.1):
        mean, out = values[0], []
        for value in values:
            mean += share * (value - mean)
            out.append(mean)
        return out

    steps, stages, losses, recalls = zip(*history)
    figure, axes = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6))
    drawn = ((axes[0], losses, "loss"), (axes[1], [100 * r for r in recalls], "recall of far tokens, %"))
    for axis, values, name in drawn:
        axis.plot(steps, values, color="tab:blue", alpha=0.25)
        axis.plot(steps, smooth(values), color="tab:blue")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
        for i in range(1, len(steps)):
            if stages[i] != stages[i - 1]:
                axis.axvline(steps[i], color="gray", linestyle=":")
                axis.annotate(stages[i], (steps[i], 1), xycoords=("data", "axes fraction"), va="top", rotation=90)
    axes[1].set_ylim(-2, 102)
    axes[1].set_xlabel("step")
    axes[0].set_title(title)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
