"""The figures as tables and plots, for the terminal and for docs/benchmarks.md."""

import datetime
import json
import os
import shlex
import sys

from client.demo.server_process import REPOSITORY
from tests.bench.metrics import BARS, OWN_BARS
from tests.eval.report import aligned, markdown, replace_between, write_json
from tests.support.figures import save, styled_pyplot

DOCUMENT = os.path.join(REPOSITORY, "docs", "benchmarks.md")
FIGURES = os.path.join(REPOSITORY, "docs", "figures")
FIGURES_JSON = os.path.join(FIGURES, "benchmarks.json")
MEMGATE_COLOUR, PEER_COLOUR = "#1f6f8b", "#b5482a"


def processor():
    """Model name and number of cores."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} cores"


def figures(results, metrics, settings, arguments):
    """Everything that tables and plots are made of, fit for JSON."""
    stream = next((runs[0]["turns"] for _, runs in results.memgate_runs("stream")), [])
    return {"shape": arguments.shape, "processor": processor(), "threads": arguments.threads,
            "date": datetime.date.today().isoformat(), "kind": arguments.kind, "kv": arguments.kv,
            "command": "./dev bench " + shlex.join(sys.argv[1:]), "metrics": metrics, "settings": settings,
            "stream": [{key: turn[key] for key in ("tokens", "first_token_s", "decode_tokens_per_s")}
                       for turn in stream]}


def named_metrics(figures, default_shape):
    """The metrics as --json writes them: those of other shapes than the default one bear its name."""
    prefix = "" if figures["shape"] == default_shape else figures["shape"] + "_"
    return {prefix + metric: value for metric, value in figures["metrics"].items()}


def number(value):
    """Three digits that count."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bars_table(figures):
    """The metrics that have a bar."""
    rows = []
    for metric, bar in (*BARS.items(), *OWN_BARS.items()):
        value = figures["metrics"].get(metric)
        if value:
            own = metric in OWN_BARS
            reached = value["memgate"] if own else value["ratio"]
            met = "–" if reached is None else "yes" if reached >= bar else "no"
            rows.append([f"`{metric}`", number(value["llama_cpp"]), number(value["memgate"]), number(value["ratio"]),
                         f"{'memgate ' if own else ''}≥ {bar:g}", met, value["runs"],
                         figures["settings"].get(metric, "")])
    return markdown(["metric", "llama.cpp", "memgate", "ratio", "bar", "met", "runs", "llama.cpp's best setting"], rows)


def all_table(figures):
    """Every other metric."""
    rows = [[f"`{metric}`", number(value["llama_cpp"]), number(value["memgate"]), number(value["ratio"]), value["runs"],
             figures["settings"].get(metric, "")]
            for metric, value in figures["metrics"].items() if metric not in BARS and metric not in OWN_BARS]
    return markdown(["metric", "llama.cpp", "memgate", "ratio", "runs", "llama.cpp's best setting"], rows)


def conditions(figures):
    """Where, when and how."""
    kv = f", keys and values as {figures['kv']}" if figures["kv"] else ""
    return (f"`{figures['command']}` on {figures['date']}; {figures['processor']}, {figures['threads']} threads; "
            f"sessions of kind `{figures['kind']}`{kv}.")


def text(figures):
    """For the terminal."""
    parts = [f"\n{figures['shape']}: {conditions(figures)}"]
    for table in (bars_table(figures), all_table(figures)):
        if table.count("\n") > 1:
            parts.append(aligned(table))
    return "\n\n".join(parts) + "\n"


def write_documents(figures):
    """docs/figures/benchmarks.json, the tables of docs/benchmarks.md and its plot; other shapes stay as they are."""
    kept = {}
    if os.path.exists(FIGURES_JSON):
        with open(FIGURES_JSON, encoding="utf-8") as f:
            kept = json.load(f)
    kept[figures["shape"]] = figures
    write_json(FIGURES_JSON, kept)
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    picture = f"![Time to first token, decode and bytes over the number of tokens]({figure_path(figures['shape'])})"
    tables = "\n\n".join([picture, conditions(figures), bars_table(figures), all_table(figures)])
    document = replace_between(document, figures["shape"], tables, "bench", DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)
    draw(figures)


# Plots

def figure_path(shape):
    """Relative to the document."""
    return f"figures/benchmarks_{shape}.svg"


def draw(figures):
    pyplot = styled_pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(10.5, 3.2))
    panels = (("ttft", "_int8", "time to first token, s", "prompt, tokens"),
              ("decode", "_int8", "decode, tokens/s", "depth, tokens"),
              ("session_bytes_", "", "bytes of a session", "tokens"))
    for plot, (prefix, suffix, title, what) in zip(axes, panels):
        for side, colour, name in (("memgate", MEMGATE_COLOUR, "memgate"), ("llama_cpp", PEER_COLOUR, "llama.cpp")):
            points = series(figures["metrics"], prefix, suffix, side)
            plot.plot(*zip(*points) if points else ([], []), color=colour, label=name, marker="o", markersize=3.5)
        plot.set_xscale("symlog", linthresh=512)
        plot.set_xlabel(what)
        plot.set_title(title, fontsize=9)
        plot.grid(axis="y", color="#eeeeee")
        ticks = sorted({tokens for side in ("memgate", "llama_cpp")
                        for tokens, _ in series(figures["metrics"], prefix, suffix, side)})
        plot.set_xticks(ticks, [f"{n // 1024}k" if n >= 1024 else str(n) for n in ticks], fontsize=7)
        plot.minorticks_off()
    axes[0].set_yscale("log")
    axes[1].set_ylim(0)
    axes[2].set_yscale("log")
    axes[0].legend(fontsize=7.5)
    save(figure, os.path.join(os.path.dirname(DOCUMENT), figure_path(figures["shape"])))


def series(metrics, prefix, suffix, side):
    """[(tokens, value)] of the metrics prefix + tokens + suffix, ascending."""
    points = []
    for metric, value in metrics.items():
        at = metric.removeprefix(prefix).removesuffix(suffix)
        if metric == prefix + at + suffix and at.removesuffix("k").isdigit() and value[side] is not None:
            points.append((int(at[:-1]) * 1024 if at.endswith("k") else int(at), value[side]))
    return sorted(points)
