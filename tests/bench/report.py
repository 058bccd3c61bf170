"""The figures as tables and plots, for the terminal and for docs/benchmarks.md."""

import json
import os
import sys

from client.demo.server_process import REPOSITORY
from tests.bench.conditions import documented_command, processor, span
from tests.bench.metrics import OWN_BARS, bars, order
from tests.eval.report import aligned, markdown, replace_between, write_json
from tests.support.figures import save, styled_pyplot

DOCUMENT = os.path.join(REPOSITORY, "docs", "benchmarks.md")
FIGURES = os.path.join(REPOSITORY, "docs", "figures")
FIGURES_JSON = os.path.join(FIGURES, "benchmarks.json")
MEMGATE_COLOUR, PEER_COLOUR = "#1f6f8b", "#b5482a"


def conditions(results, arguments, dates, engines):
    """Where, when and how `results` were measured."""
    return {"command": documented_command(sys.argv[1:]), "date": span(dates), "engine": ", ".join(sorted(engines)),
            "processor": processor(), "threads": arguments.threads, "kind": results.main_kind, "kv": arguments.kv}


def figures(results, metrics, settings, conditions):
    """Everything that tables and plots are made of, fit for JSON; every metric with its own conditions."""
    stream = next((runs[0]["turns"] for _, runs in results.memgate_runs("stream")), None)
    keys = ("tokens", "first_token_s", "decode_tokens_per_s")
    return {"metrics": {metric: {**value, "setting": settings.get(metric, ""), "conditions": conditions}
                        for metric, value in metrics.items()},
            "stream": stream and {"turns": [{key: turn[key] for key in keys} for turn in stream],
                                  "conditions": conditions}}


def merged(kept, figures):
    """`kept` figures of a shape with those of a later run in the place of the same ones."""
    metrics = {**kept.get("metrics", {}), **figures["metrics"]}
    return {"metrics": {metric: metrics[metric] for metric in sorted(metrics, key=order)},
            "stream": figures["stream"] or kept.get("stream")}


def number(value):
    """Three digits that count."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def runs_of(figures):
    """The conditions that the figures were measured under, each once, the oldest first."""
    found = [value["conditions"] for value in (*figures["metrics"].values(), figures["stream"]) if value]
    return sorted((each for i, each in enumerate(found) if each not in found[:i]),
                  key=lambda each: (each["date"], each["command"]))


def name_of_run(figures, conditions):
    """A, B, C and so on."""
    return chr(ord("A") + runs_of(figures).index(conditions))


def conditions_text(conditions):
    """Where, when and how."""
    engine = f"; engine {conditions['engine']}" if conditions["engine"] else ""
    kv = f", keys and values as {conditions['kv']}" if conditions["kv"] else ""
    return (f"`{conditions['command']}` on {conditions['date']}{engine}; {conditions['processor']}, "
            f"{conditions['threads']} threads; sessions of kind `{conditions['kind']}`{kv}.")


def runs_text(figures):
    """The conditions, as a list with the letters of the tables where there are several."""
    runs = runs_of(figures)
    if len(runs) == 1:
        return conditions_text(runs[0])
    return "\n".join(f"- {name_of_run(figures, run)}: {conditions_text(run)}" for run in runs)


def row(figures, metric, *columns):
    """What the tables say about a metric; `columns` stand behind its values."""
    value = figures["metrics"][metric]
    run = [name_of_run(figures, value["conditions"])] if len(runs_of(figures)) > 1 else []
    return [f"`{metric}`", number(value["llama_cpp"]), number(value["memgate"]), number(value["ratio"]), *columns,
            value["runs"], *run, value["setting"]]


def head(figures, *columns):
    run = ["run"] if len(runs_of(figures)) > 1 else []
    return ["metric", "llama.cpp", "memgate", "ratio", *columns, "runs", *run, "llama.cpp's best setting"]


def bars_table(figures, shape):
    """The metrics that have a bar."""
    rows = []
    for metric, bar in bars(shape).items():
        value = figures["metrics"].get(metric)
        if value:
            own = metric in OWN_BARS
            reached = value["memgate"] if own else value["ratio"]
            met = "–" if reached is None else "yes" if reached >= bar else "no"
            rows.append(row(figures, metric, f"{'memgate ' if own else ''}≥ {bar:.4g}", met))
    return markdown(head(figures, "bar", "met"), rows)


def others_table(figures, shape):
    """Every other metric, run by run."""
    runs = runs_of(figures)
    others = [metric for metric in figures["metrics"] if metric not in bars(shape)]
    others.sort(key=lambda metric: runs.index(figures["metrics"][metric]["conditions"]))
    return markdown(head(figures), [row(figures, metric) for metric in others])


def tables(figures, shape):
    """Those that have a row."""
    made = (bars_table(figures, shape), others_table(figures, shape))
    return [table for table in made if table.count("\n") > 1]


def text(figures, shape):
    """For the terminal."""
    if not figures["metrics"]:
        return f"{shape}: nothing is finished"
    return "\n\n".join([f"\n{shape}: {runs_text(figures)}", *map(aligned, tables(figures, shape))]) + "\n"


def write_documents(shape, figures):
    """docs/figures/benchmarks.json, the tables of docs/benchmarks.md and its plot.

    Metrics of a shape that were not measured now stay as they are, as do other shapes.
    """
    kept = {}
    if os.path.exists(FIGURES_JSON):
        with open(FIGURES_JSON, encoding="utf-8") as f:
            kept = json.load(f)
    kept[shape] = figures = merged(kept.get(shape, {}), figures)
    write_json(FIGURES_JSON, kept)
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    picture = f"![Time to first token, decode and bytes over the number of tokens]({figure_path(shape)})"
    parts = [picture, runs_text(figures), *tables(figures, shape)]
    document = replace_between(document, shape, "\n\n".join(parts), "bench", DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)
    draw(figures, shape)


# Plots

def figure_path(shape):
    """Relative to the document."""
    return f"figures/benchmarks_{shape}.svg"


def draw(figures, shape):
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
    save(figure, os.path.join(os.path.dirname(DOCUMENT), figure_path(shape)))


def series(metrics, prefix, suffix, side):
    """[(tokens, value)] of the metrics prefix + tokens + suffix, ascending."""
    points = []
    for metric, value in metrics.items():
        at = metric.removeprefix(prefix).removesuffix(suffix)
        if metric == prefix + at + suffix and at.removesuffix("k").isdigit() and value[side] is not None:
            points.append((int(at[:-1]) * 1024 if at.endswith("k") else int(at), value[side]))
    return sorted(points)
