"""The figures as tables and plots, for the terminal and for docs/benchmarks.md."""

import json
import os
import statistics
import sys

from client.demo.server_process import REPOSITORY
from tests.bench.conditions import documented_command, processor, span
from tests.bench.metrics import OWN_BARS, OWN_LIMITS, bars, is_met, order
from tests.bench.plan import GENERATED, STREAM_TURN
from tests.eval.report import aligned, markdown, replace_between, write_json
from tests.support.figures import save, styled_pyplot

DOCUMENT = os.path.join(REPOSITORY, "docs", "benchmarks.md")
FIGURES = os.path.join(REPOSITORY, "docs", "figures")
FIGURES_JSON = os.path.join(FIGURES, "benchmarks.json")
STREAM_RANGES = ((0, 4096), (4096, 16_384), (16_384, 65_536), (65_536, 262_144), (262_144, 1 << 20))  # tokens held
MEMGATE_COLOUR, PEER_COLOUR = "#1f6f8b", "#b5482a"


def conditions(run, arguments):
    """Where, when and how the Benchmark `run` measured."""
    found = {"command": documented_command("./dev bench", sys.argv[1:]), "date": span(run.dates),
             "engine": ", ".join(sorted(run.engines)), "processor": processor(), "threads": arguments.threads,
             "kind": arguments.kind, "kv": arguments.kv}
    return {**found, "llama_cpp": run.sides["llama_cpp"].version()} if "llama_cpp" in run.sides else found


def figures(results, metrics, settings, conditions):
    """Everything that tables and plots are made of, fit for JSON; every metric with its own conditions."""
    stream = next((runs[0]["turns"] for _, runs in results.memgate_runs("stream")), None)
    keys = ("tokens", "first_token_s", "decode_tokens_per_s")
    return {"metrics": {metric: {**value, "setting": settings.get(metric, ""), "conditions": conditions}
                        for metric, value in metrics.items()},
            "stream": stream and {"turns": [{key: turn[key] for key in keys} for turn in stream],
                                  "conditions": conditions}}


def lacks_peer(kept, value):
    """Whether the entry `value` of a metric was measured without the peer that the `kept` one stands beside."""
    return bool(kept) and kept["llama_cpp"] is not None and value["llama_cpp"] is None


def merged(kept, figures):
    """`kept` figures of a shape with those of a later run in the place of the same ones.

    An entry beside llama.cpp stays whole where the later run has none, so that both sides are of the same run.
    """
    old = kept.get("metrics", {})
    staying = [metric for metric, value in figures["metrics"].items() if lacks_peer(old.get(metric), value)]
    if staying:
        print(f"bench: measured without llama.cpp; what is documented beside it stays: {', '.join(staying)}",
              file=sys.stderr)
    metrics = {**old, **figures["metrics"], **{metric: old[metric] for metric in staying}}
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
    """A to Z, then AA, AB and so on."""
    name, rest = "", runs_of(figures).index(conditions) + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        name = chr(ord("A") + letter) + name
    return name


def run_text(conditions):
    """What was run and when."""
    peer = f", beside llama.cpp {conditions['llama_cpp']}" if "llama_cpp" in conditions else ""
    return f"`{conditions['command']}` on {conditions['date']}; engine {conditions['engine']}{peer}"


def machine_text(conditions):
    """Where and how."""
    return (f"{conditions['processor']}, {conditions['threads']} threads; sessions of kind `{conditions['kind']}`, "
            f"keys and values as {conditions['kv']}.")


def runs_text(figures):
    """The conditions; as a list with the letters of the tables where there are several."""
    runs = runs_of(figures)
    if len(runs) == 1:
        return f"{run_text(runs[0])}; {machine_text(runs[0])}"
    machines = {machine_text(run) for run in runs}
    ends = [f"; {machine_text(run)}" if len(machines) > 1 else "" for run in runs]
    lines = [f"- {name_of_run(figures, run)}: {run_text(run)}{end}" for run, end in zip(runs, ends)]
    return "\n".join(lines + (["", f"All on {machines.pop()}"] if len(machines) == 1 else []))


def row(figures, metric, *columns):
    """What the tables say about a metric; `columns` stand behind its values."""
    value = figures["metrics"][metric]
    run = [name_of_run(figures, value["conditions"])] if len(runs_of(figures)) > 1 else []
    return [f"`{metric}`", number(value["llama_cpp"]), number(value["memgate"]), number(value["ratio"]), *columns,
            value["runs"], *run, value["setting"]]


def head(figures, *columns):
    run = ["from"] if len(runs_of(figures)) > 1 else []
    return ["metric", "llama.cpp", "memgate", "ratio", *columns, "runs", *run, "llama.cpp's best setting"]


def bars_table(figures, shape):
    """The metrics that have a bar."""
    rows = []
    for metric, bar in bars(shape).items():
        value = figures["metrics"].get(metric)
        if value:
            own = "memgate " if metric in OWN_BARS or metric in OWN_LIMITS else ""
            sign = "≤" if metric in OWN_LIMITS else "≥"
            met = {True: "yes", False: "no", None: "–"}[is_met(metric, value, bar)]
            rows.append(row(figures, metric, f"{own}{sign} {bar:.4g}", met))
    return markdown(head(figures, "bar", "met"), rows)


def others_table(figures, shape):
    """Every other metric, run by run."""
    runs = runs_of(figures)
    others = [metric for metric in figures["metrics"] if metric not in bars(shape)]
    others.sort(key=lambda metric: runs.index(figures["metrics"][metric]["conditions"]))
    return markdown(head(figures), [row(figures, metric) for metric in others])


def stream_parts(figures):
    """[(least tokens, most tokens, turns behind which the session held so many)]"""
    turns = figures["stream"]["turns"]
    parts = ((least, most, [turn for turn in turns if least < turn["tokens"] <= most]) for least, most in STREAM_RANGES)
    return [part for part in parts if part[2]]


def stream_table(figures):
    """What a token costs in the turns of a long stream, by how many the session then held."""
    several = len(runs_of(figures)) > 1
    run = f"run {name_of_run(figures, figures['stream']['conditions'])}" if several else "one stream"
    columns = [[f"tokens in the session ({run})", "turns", "ms per token taken in", "tokens/s of answers"]]
    for least, most, turns in stream_parts(figures):
        cost = statistics.median(map(milliseconds_per_token, turns))
        rate = statistics.median(turn["decode_tokens_per_s"] for turn in turns)
        name = f"{short(least)} to {short(most)}" if least else f"up to {short(most)}"
        columns.append([name, len(turns), f"{cost:.3f}", f"{rate:.1f}"])
    head, *rows = map(list, zip(*columns))
    return markdown(head, rows)


def milliseconds_per_token(turn):
    """Of a turn of the stream: what taking in one more token costs behind those that the session holds."""
    return 1e3 * turn["first_token_s"] / (STREAM_TURN - GENERATED)


def short(tokens):
    """4096 -> 4k, 1048576 -> 1M"""
    return f"{tokens >> 20}M" if tokens % (1 << 20) == 0 else f"{tokens >> 10}k"


def tables(figures, shape):
    """Those that have a row."""
    made = [bars_table(figures, shape), others_table(figures, shape)]
    made = [table for table in made if table.count("\n") > 1]
    return made + [stream_table(figures)] if figures["stream"] else made


def text(figures, shape):
    """For the terminal."""
    if not figures["metrics"]:
        return f"{shape}: nothing is finished"
    return "\n\n".join([f"\n{shape}: {runs_text(figures)}", *map(aligned, tables(figures, shape))]) + "\n"


def write_documents(shape, figures):
    """docs/figures/benchmarks.json, the tables of docs/benchmarks.md and its plot.

    Metrics of a shape that were not measured now, or not beside llama.cpp as before, stay as they are, as do other
    shapes.
    """
    kept = {}
    if os.path.exists(FIGURES_JSON):
        with open(FIGURES_JSON, encoding="utf-8") as f:
            kept = json.load(f)
    kept[shape] = figures = merged(kept.get(shape, {}), figures)
    write_json(FIGURES_JSON, kept)
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    parts = [f"![{what}]({figure_path(shape, plot)})" for plot, (what, _) in plots(figures).items()]
    parts += [runs_text(figures), *tables(figures, shape)]
    document = replace_between(document, shape, "\n\n".join(parts), "bench", DOCUMENT)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)
    for plot, (_, draw) in plots(figures).items():
        save(draw(figures), os.path.join(os.path.dirname(DOCUMENT), figure_path(shape, plot)))


# Plots

def plots(figures):
    """{name: (what it shows, what draws it)}"""
    made = {"": ("Time to first token, decode and bytes over the number of tokens", draw_points)}
    return {**made, "stream": ("Cost per token over a million tokens", draw_stream)} if figures["stream"] else made


def figure_path(shape, plot):
    """Relative to the document."""
    return f"figures/benchmarks_{shape}{plot and '_' + plot}.svg"


def draw_points(figures):
    figure, axes = styled_pyplot().subplots(1, 3, figsize=(10.5, 3.2))
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
    return figure


def draw_stream(figures):
    """Every turn as a dot, and the medians of stream_table."""
    figure, axes = styled_pyplot().subplots(1, 2, figsize=(8.4, 3.0))
    turns = figures["stream"]["turns"]
    panels = ((milliseconds_per_token, "ms per token taken in"),
              (lambda turn: turn["decode_tokens_per_s"], "decode, tokens/s"))
    for plot, (value, title) in zip(axes, panels):
        plot.plot([turn["tokens"] for turn in turns], list(map(value, turns)), ".", color="#aaaaaa", markersize=3,
                  label=f"a turn of {STREAM_TURN:,} tokens")
        for least, _, inside in stream_parts(figures):
            plot.plot([inside[0]["tokens"], inside[-1]["tokens"]], [statistics.median(map(value, inside))] * 2,
                      color=MEMGATE_COLOUR, marker="|", label="median" if least == 0 else None)
        plot.set_xscale("log")
        ticks = [most for _, most, _ in stream_parts(figures)]
        plot.set_xticks(ticks, list(map(short, ticks)), fontsize=7)
        plot.minorticks_off()
        plot.set_ylim(0)
        plot.set_xlabel("tokens in the session")
        plot.set_title(title, fontsize=9)
        plot.grid(axis="y", color="#eeeeee")
    axes[0].legend(fontsize=7.5, loc="lower right")
    return figure


def series(metrics, prefix, suffix, side):
    """[(tokens, value)] of the metrics prefix + tokens + suffix, ascending."""
    points = []
    for metric, value in metrics.items():
        at = metric.removeprefix(prefix).removesuffix(suffix)
        if metric == prefix + at + suffix and at.removesuffix("k").isdigit() and value[side] is not None:
            points.append((int(at[:-1]) * 1024 if at.endswith("k") else int(at), value[side]))
    return sorted(points)
