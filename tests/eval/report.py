"""The figures as tables and plots, for the terminal and for docs/memory.md."""

import json
import os
import re

from client.demo.server_process import REPOSITORY
from tests.eval import kinds
from tests.support.figures import save, styled_pyplot

DOCUMENT = os.path.join(REPOSITORY, "docs", "memory.md")
FIGURES = os.path.join(REPOSITORY, "docs", "figures")
COLOURS = {"full-kv": "#777777", "memgate-all-slots": "#aaaaaa", "window": "#b5482a", "infini": "#c9a227",
           "infini-delta": "#7a9e3f", "edgeinfinite": "#8a5a9e", "ahn": "#d08aa8", "memgate": "#1f6f8b",
           "memgate-slots": "#5fb0c9", "memgate-no-slots": "#9a8f80", "memgate-matrix": "#14445a",
           "memgate-matrix-slots": "#86c5d8", "memgate-matrix-no-slots": "#b8ad9c", "memgate-untrained": "#d9822b"}
SHAPE = ("sink_tokens", "window_tokens", "segment_tokens", "salient_tokens")


def percent(value):
    return "–" if value is None else f"{100 * value:.0f} %"


def short_number(tokens):
    tokens = int(tokens)
    return f"{tokens // 1_000_000}M" if tokens % 1_000_000 == 0 else f"{tokens // 1000}k"


def megabytes(result, kind):
    size = result["bytes"].get(kind)
    return "–" if size is None else f"{size / 1e6:.2f} MB"


def known_kinds(table):
    """The kinds of a table in the order of kinds.KINDS."""
    return [kind.name for kind in kinds.KINDS if kind.name in table]


def numbers(keys):
    return sorted(keys, key=int)


def markdown(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def kinds_table(result):
    rows = []
    for kind in (kind for kind in kinds.KINDS if kind.name in result["bytes"]):
        shape = dict(result["shapes"][kind.name])
        if not kind.bounded:
            shape["window_tokens" if kind.geometry == kinds.FULL else "salient_tokens"] = "the text"
        rows.append([f"`{kind.name}`", kind.what, megabytes(result, kind.name),
                     *(shape.get(part, 0) for part in SHAPE)])
    return markdown(["kind", "what it is", "bytes", "sinks", "window", "segment", "slots"], rows)


def passkey_table(result):
    table, seeds = result["passkey"], result["passkey_seeds"]
    lengths = numbers({tokens for kind in table.values() for tokens in kind})
    rows = []
    for name in known_kinds(table):
        for tokens in (n for n in lengths if n in table[name]):
            row = table[name][tokens]
            rows.append([f"`{name}`", megabytes(result, name), short_number(tokens), max(seeds[name][tokens].values()),
                         *(percent(row.get(depth)) for depth in ("0", "25", "50", "75", "100"))])
    return markdown(["kind", "bytes", "tokens", "seeds", *(f"depth {d} %" for d in (0, 25, 50, 75, 100))], rows)


def facts_table(result):
    table, asked = result["facts"], result["facts_questions"]
    counts = numbers({count for kind in table.values() for count in kind})
    lengths = numbers({tokens for kind in table.values() for row in kind.values() for tokens in row})
    rows = []
    for name in known_kinds(table):
        for count in counts:
            row = table[name].get(count, {})
            cells = [f"{percent(row[n])} of {asked[name][count][n]}" if n in row else "–" for n in lengths]
            rows.append([f"`{name}`", megabytes(result, name), count, *cells])
    return markdown(["kind", "bytes", "facts", *(f"{short_number(n)} tokens" for n in lengths)], rows)


def depth_table(result):
    rows = []
    for name in known_kinds(result["facts_by_depth"]):
        for count, lengths in sorted(result["facts_by_depth"][name].items(), key=lambda item: int(item[0])):
            for tokens in numbers(lengths):
                row = lengths[tokens]
                quarters = (percent(row.get(start)) for start in ("0", "25", "50", "75"))
                rows.append([f"`{name}`", count, short_number(tokens), *quarters])
    return markdown(["kind", "facts", "tokens", "first quarter", "second", "third", "last"], rows)


def foldings_table(result):
    table = result["facts_by_foldings"]
    bins = [label for label, _ in sorted({bin: bin_order(bin) for kind in table.values() for row in kind.values()
                                          for bin in row}.items(), key=lambda item: item[1])]
    rows = [[f"`{name}`", count, *(percent(table[name][count].get(bin)) for bin in bins)]
            for name in known_kinds(table) for count in numbers(table[name])]
    return markdown(["kind", "facts", *bins], rows)


def bin_order(label):
    number = int(re.sub(r"\D", "", label))
    return number + 1 if label.startswith(">") else number


def updates_table(result):
    table = result["updates"]
    parts = ("updated", "old value", "at once", "late")
    head = ["kind", "bytes", "last value", "value before it", "asked at once", "after 20 questions and 200 tokens"]
    return markdown(head, [[f"`{name}`", megabytes(result, name), *(percent(table[name].get(part)) for part in parts)]
                           for name in known_kinds(table)])


def leak_table(result):
    own = result.get("leak", {})
    control = result.get("swapped_by_kind", {})
    rows = [[f"`{name}`", megabytes(result, name), percent(own.get(name, {}).get("own")),
             percent(own.get(name, {}).get("other's")), percent(control.get(name, {}).get("told")),
             percent(control.get(name, {}).get("empty"))] for name in known_kinds({**own, **control})]
    return markdown(["kind", "bytes", "own value", "the other session's value", "memory swapped", "nothing told"], rows)


def perplexity_table(result):
    table = result["perplexity_by_length"]
    rows = []
    for name in known_kinds({name for row in table.values() for name in row}):
        cells = []
        for tokens in numbers(table):
            value, exact = table[tokens].get(name), table[tokens].get("full-kv")
            ratio = f" ({value / exact:.3f})" if value and exact else ""
            cells.append("–" if value is None else f"{value:.3f}{ratio}")
        rows.append([f"`{name}`", megabytes(result, name), *cells])
    return markdown(["kind", "bytes", *(f"{short_number(n)} tokens" for n in numbers(table))], rows)


def short_table(result):
    short = result["short"]
    return markdown(["answers compared", "tokens", "identical to the bit", "all on the exact path"],
                    [[short["answers"], short["tokens"], short["identical"], "yes" if short["exact_path"] else "no"]])


def stream_table(result):
    stream = result["stream"]
    full = next((i for i, tokens in enumerate(stream["tokens"]) if tokens >= 100_000), 0)
    resident, size = stream["resident_bytes"], stream["session_bytes"]
    return markdown(["", "measured"], [
        ["tokens taken in", f"{stream['tokens'][-1]:,}"],
        ["bytes of the session, smallest and largest", f"{min(size):,} / {max(size):,}"],
        ["a full KV cache would take", f"{stream['full_kv_bytes'][-1] / 1e6:,.0f} MB"],
        [f"resident bytes of the server after {stream['tokens'][full]:,} tokens", f"{resident[full] / 1e6:.2f} MB"],
        ["the same at the end", f"{resident[-1] / 1e6:.2f} MB"],
        ["first 10,000 tokens (median)", f"{stream['median_first_tokens_per_s']:,.0f} tokens/s"],
        ["last 10,000 tokens (median)", f"{stream['median_last_tokens_per_s']:,.0f} tokens/s"],
        ["last over first (median of pairs)", f"{stream['ratio']:.3f}"]])


def seeds_table(_):
    """How many seeds each kind gets; from kinds.SEEDS_BY_LENGTH."""
    few = ", ".join(f"`{kind.name}`" for kind in kinds.KINDS if kind.share == kinds.FEW)
    names = {"all": "all others", "few": few, "unbounded": "those that keep every token"}
    rows = []
    for suite, table in kinds.SEEDS_BY_LENGTH.items():
        for kind, limits in table.items():
            parts = [f"{seeds} up to {limit:,} tokens" if limit < kinds.ANY else f"{seeds or 'none'} beyond"
                     for limit, seeds in limits]
            rows.append([suite, names.get(kind, f"`{kind}`"), ", ".join(parts) if len(limits) > 1 else limits[0][1]])
    return markdown(["suite", "kinds", "seeds"], rows)


# Name between the markers of docs/memory.md -> (key of the result it needs, what makes it)
TABLES = {"seeds": ("bytes", seeds_table), "kinds": ("bytes", kinds_table), "passkey": ("passkey", passkey_table),
          "facts": ("facts", facts_table), "depth": ("facts_by_depth", depth_table),
          "foldings": ("facts_by_foldings", foldings_table), "updates": ("updates", updates_table),
          "leak": ("leak", leak_table), "perplexity": ("perplexity_by_length", perplexity_table),
          "short": ("short", short_table), "stream": ("stream", stream_table)}


def tables(result):
    """{name: Markdown} of what was measured."""
    made = {name: make(result) for name, (key, make) in TABLES.items() if result.get(key)}
    if "leak" not in made and "swapped_by_kind" in result:
        made["leak"] = leak_table(result)
    return made


def text(result):
    """For the terminal."""
    return "\n".join(f"\n{name}\n{aligned(table)}" for name, table in tables(result).items() if name != "seeds")


def aligned(table):
    """A Markdown table with columns of one width, without its bars."""
    rows = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in table.split("\n")]
    del rows[1]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def write_documents(result):
    """Plots, docs/figures/memory.json, and the tables between the markers of docs/memory.md.

    Figures of suites that did not run stay as they are.
    """
    path = os.path.join(FIGURES, "memory.json")
    kept = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            kept = json.load(f)
    result = {**kept, **result, "bytes": {**kept.get("bytes", {}), **result["bytes"]},
              "shapes": {**kept.get("shapes", {}), **result["shapes"]}}
    write_json(path, result)
    with open(DOCUMENT, encoding="utf-8") as f:
        document = f.read()
    for name, table in tables(result).items():
        document = replace_between(document, name, table)
    with open(DOCUMENT, "w", encoding="utf-8") as f:
        f.write(document)
    draw(result)


def replace_between(document, name, table, source="eval", path=DOCUMENT):
    """`document` with `table` between the markers that bear `source` and `name`."""
    begin, end = f"<!-- {source} {name} -->", f"<!-- end of {source} {name} -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} lacks the markers {begin} and {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


# Plots

def draw(result):
    pyplot = styled_pyplot()
    plots = (("passkey", "passkey", plot_passkey), ("facts", "facts", plot_facts),
             ("foldings", "facts_by_foldings", plot_foldings), ("stream", "stream", plot_stream))
    for name, key, plot in plots:
        if result.get(key):
            save(plot(pyplot, result), os.path.join(FIGURES, f"memory_{name}.svg"))


def style(name):
    base = name.removesuffix("-equal-bytes")
    return {"color": COLOURS[base], "label": name, "marker": "o", "markersize": 3.5,
            "linestyle": "-" if base == name else ":", "linewidth": 2.2 if name == "memgate" else 1.2}


def accuracy_axis(axes):
    axes.set_ylim(-3, 103)
    axes.set_ylabel("answers right, %")
    axes.grid(axis="y", color="#eeeeee")


def token_axis(axes, lengths):
    axes.set_xscale("log")
    axes.set_xticks([int(n) for n in lengths], [short_number(n) for n in lengths])
    axes.minorticks_off()
    axes.set_xlabel("tokens")


def plot_passkey(pyplot, result):
    """Mean and worst depth over the length of the text."""
    figure, axes = pyplot.subplots(1, 2, figsize=(7.6, 3.6), sharey=True)
    table = result["passkey"]
    lengths = numbers({tokens for kind in table.values() for tokens in kind})
    for plot, choose, title in zip(axes, (lambda row: sum(row.values()) / len(row), lambda row: min(row.values())),
                                   ("mean of all depths", "worst depth")):
        for name in known_kinds(table):
            own = numbers(table[name])
            plot.plot([int(n) for n in own], [100 * choose(table[name][n]) for n in own], **style(name))
        token_axis(plot, lengths)
        accuracy_axis(plot)
        plot.set_title(f"Passkey, {title}", fontsize=9)
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5)
    return figure


def plot_facts(pyplot, result):
    table = result["facts"]
    counts = numbers({count for kind in table.values() for count in kind})
    lengths = numbers({tokens for kind in table.values() for row in kind.values() for tokens in row})
    figure, axes = pyplot.subplots(1, len(counts), figsize=(2.1 + 2.1 * len(counts), 3.4), sharey=True, squeeze=False)
    for plot, count in zip(axes[0], counts):
        for name in known_kinds(table):
            row = table[name].get(count, {})
            own = numbers(row)
            plot.plot([int(n) for n in own], [100 * row[n] for n in own], **style(name))
        token_axis(plot, lengths)
        accuracy_axis(plot)
        plot.set_title(f"{count} facts in the log", fontsize=9)
    axes[0][-1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5)
    return figure


def plot_foldings(pyplot, result):
    table = result["facts_by_foldings"]
    count = "32" if any("32" in kind for kind in table.values()) else numbers(next(iter(table.values())))[0]
    bins = sorted({bin for kind in table.values() for bin in kind.get(count, {})}, key=bin_order)
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2))
    for name in known_kinds(table):
        row = table[name].get(count, {})
        own = [bin for bin in bins if bin in row]
        axes.plot([bins.index(bin) for bin in own], [100 * row[bin] for bin in own], **style(name))
    axes.set_xticks(range(len(bins)), bins)
    axes.set_xlabel("foldings since the fact")
    axes.set_title(f"{count} facts in the log, all lengths", fontsize=9)
    accuracy_axis(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7.5)
    return figure


def plot_stream(pyplot, result):
    stream = result["stream"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.6, 3.2), width_ratios=(2, 1))
    thousands = [tokens / 1000 for tokens in stream["tokens"]]
    left.plot(thousands, [size / 1e6 for size in stream["resident_bytes"]], color="#555555",
              label="server process, resident")
    left.plot(thousands, [size / 1e6 for size in stream["session_bytes"]], color=COLOURS["memgate"], linewidth=2.2,
              label="session")
    left.plot(thousands, [size / 1e6 for size in stream["full_kv_bytes"]], color=COLOURS["window"], linestyle=":",
              label="full KV cache of the same tokens")
    left.set_ylim(0, 1.6 * max(stream["resident_bytes"]) / 1e6)
    left.set_xlabel("thousand tokens taken in")
    left.set_ylabel("MB")
    left.legend(fontsize=7.5, loc="upper right")
    for x, part in enumerate(("first", "last")):
        values = stream[f"{part}_tokens_per_s"]
        right.plot([x] * len(values), [value / 1000 for value in values], "o", color="#aaaaaa", markersize=3)
        right.plot([x - 0.2, x + 0.2], [stream[f"median_{part}_tokens_per_s"] / 1000] * 2, color=COLOURS["memgate"])
    right.set_xticks((0, 1), ("first 10k", "last 10k"))
    right.set_xlim(-0.6, 1.6)
    right.set_ylim(0)
    right.set_ylabel("thousand tokens/s")
    return figure
