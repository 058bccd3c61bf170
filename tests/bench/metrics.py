"""From single measurements to metrics: medians of both sides and their ratio."""

import re
import statistics

from tests.bench.llama_cpp import SETTINGS
from tests.bench.plan import FORMATS

# What a ratio must reach on the shape BARS_SHAPE; larger is better for every metric (see `ratio`).
BARS_SHAPE = "qwen2.5-0.5b"
BARS = {"prefill512_int8": 3.0, "prefill512_int4": 2.0, "decode0_int8": 1.6, "decode0_int4": 1.5, "ttft32k_int8": 10.0,
        "decode4k_int8": 2.0, "decode16k_int8": 4.5, "decode32k_int8": 7.0, "session_bytes_32k": 20.0,
        "session_bytes_128k": 80.0, "batch16_tokens_per_s": 1.5}
RATIOS_WITHIN = {BARS_SHAPE: 1.0, "llama-3.2-1b": 0.85}  # the share of these ratios that a shape must reach
# What memgate's own value must reach, whatever the shape.
OWN_BARS = {"decode0_int8_bandwidth_share": 0.8, "flat_prefill_1m": 0.9, "flat_decode_1m": 0.9}
# What it must not exceed on the shape BARS_SHAPE.
OWN_LIMITS = {"start_cached_s": 2.0}

LOWER_IS_BETTER = ("ttft", "session_bytes", "resident_bytes", "pss_bytes", "start_")
CLOSE = 0.95  # settings of the peer that reach this share of its best one in the first run stay in the race


def bars(shape):
    """{metric: what its ratio or, where memgate has to reach something by itself, its value must come to on a shape}"""
    share = RATIOS_WITHIN.get(shape)
    ratios = {metric: share * bar for metric, bar in BARS.items()} if share else {}
    return {**ratios, **OWN_BARS, **(OWN_LIMITS if shape == BARS_SHAPE else {})}


def is_met(metric, value, bar):
    """Whether the entry `value` of a metric meets its bar; None where there is no peer to say so."""
    if metric in OWN_LIMITS:
        return value["memgate"] <= bar
    reached = value["memgate"] if metric in OWN_BARS else value["ratio"]
    return None if reached is None else reached >= bar


def label(tokens):
    """512 -> "512", 32768 -> "32k"."""
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def lower_is_better(metric):
    return any(part in metric for part in LOWER_IS_BETTER)


def ratio(value, other, metric):
    """How many times better `value` is than `other`."""
    return other / value if lower_is_better(metric) else value / other


def prefix_of(measurement, main_kind):
    return "" if measurement.kind == main_kind else measurement.kind + "_"


def point_metrics(measurement, result, main_kind):
    """{metric: value} of one run of a point; those of other kinds than the main one bear their name."""
    prefix = prefix_of(measurement, main_kind)
    at, format = label(measurement.tokens), measurement.format
    values = {}
    if measurement.tokens and result.get("first_token_s"):
        values[f"{prefix}ttft{at}_{format}"] = result["first_token_s"]
        if measurement.tokens == 512:
            values[f"{prefix}prefill512_{format}"] = measurement.tokens / result["first_token_s"]
    if result.get("decode_tokens_per_s"):
        values[f"{prefix}decode{at}_{format}"] = result["decode_tokens_per_s"]
    return values


def run_metrics(measurement, result, main_kind):
    """{metric: value} of one run of any measurement, on either side."""
    if measurement.what == "together":
        return {f"batch{measurement.sessions}_tokens_per_s": result["tokens_per_s"]}
    if measurement.what == "start":
        return {name if name.startswith("pss") else f"start_{name}": value for name, value in result.items()}
    return point_metrics(measurement, result, main_kind) if measurement.what == "point" else {}


class Results:
    """What was measured so far."""

    def __init__(self, shape, main_kind):
        self.shape, self.main_kind = shape, main_kind
        self.runs = {}  # (measurement, side, setting) -> {round: result}

    def add(self, measurement, side, setting, round, result):
        self.runs.setdefault((measurement, side, setting), {})[round] = result

    def values(self, measurement, side, setting=""):
        """{metric: values by round}"""
        collected = {}
        for result in self.runs.get((measurement, side, setting), {}).values():
            for metric, value in run_metrics(measurement, result, self.main_kind).items():
                collected.setdefault(metric, []).append(value)
        return collected

    def settings_to_run(self, measurement, round):
        """Settings of the peer for a round: all in the first, then those near the best one in some metric.

        At long points only those run at all that come near the best one at the longest other point.
        """
        candidates = tuple(SETTINGS)
        shorter = [other for other, side, _ in self.runs if side == "llama_cpp" and other.what == "point"
                   and other.format == measurement.format and not other.is_long and other.tokens > 0]
        if measurement.is_long and shorter:
            candidates = self.near_best(max(shorter, key=lambda other: other.tokens), candidates)
        return candidates if round == 0 else self.near_best(measurement, candidates)

    def near_best(self, measurement, candidates, metric_part=""):
        """Those of the settings that came close to the best one in some metric of the first round."""
        first = {name: self.runs.get((measurement, "llama_cpp", name), {}).get(0) for name in candidates}
        if None in first.values():
            return candidates
        chosen = set()
        values = {name: run_metrics(measurement, result, self.main_kind) for name, result in first.items()}
        for metric in {metric for found in values.values() for metric in found if metric_part in metric}:
            found = {name: values[name][metric] for name in candidates if metric in values[name]}
            best = (min if lower_is_better(metric) else max)(found.values())
            chosen |= {name for name in found if ratio(found[name], best, metric) >= CLOSE}
        return tuple(name for name in candidates if name in chosen)

    def fills(self, measurement, setting, round):
        """Whether the setting answers early enough for its long prompts to be timed in this round, too."""
        measured = tuple(name for name in SETTINGS if (measurement, "llama_cpp", name) in self.runs)
        return round == 0 or not measured or setting in self.near_best(measurement, measured, "ttft")

    def peer_best(self, measurement):
        """{metric: (median, runs, setting)} of the peer at its best setting among those that ran most often."""
        candidates = {}
        for name in SETTINGS:
            for metric, values in self.values(measurement, "llama_cpp", name).items():
                candidates.setdefault(metric, []).append((statistics.median(values), len(values), name))
        best = {}
        for metric, entries in candidates.items():
            most = max(runs for _, runs, _ in entries)
            finalists = [entry for entry in entries if entry[1] == most]
            best[metric] = (min if lower_is_better(metric) else max)(finalists)
        return best

    def memgate_runs(self, what):
        return ((measurement, list(runs.values())) for (measurement, side, _), runs in self.runs.items()
                if side == "memgate" and measurement.what == what)


def entry(metric, memgate, llama_cpp, runs):
    """One value of the JSON file; the ratio says how many times better memgate is, whatever the metric."""
    return {"memgate": memgate, "llama_cpp": llama_cpp,
            "ratio": ratio(memgate, llama_cpp, metric) if llama_cpp else None, "runs": runs}


def compared(results):
    """Metrics that both sides have runs of, and {metric: setting of the peer}."""
    metrics, settings = {}, {}
    for measurement in {measurement for measurement, _, _ in results.runs}:
        peer = results.peer_best(measurement)
        for metric, values in results.values(measurement, "memgate").items():
            median, runs, setting = peer.get(metric, (None, len(values), None))
            metrics[metric] = entry(metric, statistics.median(values), median, min(runs, len(values)))
            if setting:
                settings[metric] = setting
    return metrics, settings


def byte_metrics(results):
    """Bytes of a session, against a full KV cache of f16; and of the server process."""
    metrics = {}
    format = main_format(results)
    for measurement, runs in results.memgate_runs("point"):
        if measurement.format != format:
            continue
        prefix, at = prefix_of(measurement, results.main_kind), label(measurement.tokens)
        if measurement.tokens:
            size, full = (statistics.median(run["session_bytes"] for run in runs),
                          results.shape.kv_bytes(measurement.tokens))
            metrics[f"{prefix}session_bytes_{at}"] = entry("session_bytes", size, full, len(runs))
        resident = statistics.median(run["resident_bytes"] for run in runs)
        metrics[f"{prefix}resident_bytes_{at}"] = entry("resident_bytes", resident, None, len(runs))
    return metrics


def main_format(results):
    """The format whose points go farthest."""
    points = {measurement.format: 0 for measurement, _ in results.memgate_runs("point")}
    for measurement, _ in results.memgate_runs("point"):
        points[measurement.format] = max(points[measurement.format], measurement.tokens)
    return max(points, key=lambda format: (points[format], -list(FORMATS).index(format)))


def bandwidth_metrics(results, metrics):
    """Which share of the time of a token at depth 0 a streaming read of the weights would take."""
    rates = [run["read_gb_per_s"] for _, runs in results.memgate_runs("read") for run in runs]
    made = {}
    for format in FORMATS if rates else ():
        decode = metrics.get(f"decode0_{format}")
        if decode:
            per_byte = 1 / (1e9 * statistics.median(rates))
            own = decode["memgate"] * results.shape.weight_bytes(format) * per_byte
            peer = decode["llama_cpp"] and decode["llama_cpp"] * results.shape.peer_weight_bytes(format) * per_byte
            made[f"decode0_{format}_bandwidth_share"] = entry("share", own, peer, decode["runs"])
    return made


def flat_metrics(results):
    """How fast a session is behind a million tokens, as a share of a fresh one in alternation with it."""
    metrics = {}
    for _, runs in results.memgate_runs("stream"):
        for name, rate in (("prefill", lambda turn: 1 / turn["first_token_s"]),
                           ("decode", lambda turn: turn["decode_tokens_per_s"])):
            kept = statistics.median(rate(long) / rate(fresh) for long, fresh in runs[0]["pairs"])
            metrics[f"flat_{name}_1m"] = entry("flat", kept, None, len(runs))
    return metrics


def collect(results):
    """({metric: {"memgate", "llama_cpp", "ratio", "runs"}}, {metric: setting of the peer}) of everything measured."""
    metrics, settings = compared(results)
    if any(True for _ in results.memgate_runs("point")):
        metrics.update(byte_metrics(results))
    metrics.update(bandwidth_metrics(results, metrics))
    metrics.update(flat_metrics(results))
    return {metric: metrics[metric] for metric in sorted(metrics, key=order)}, settings


def order(metric):
    """Those with a bar first, as the bars are listed; the others by name, and by tokens as numbers."""
    names = [*BARS, *OWN_BARS, *OWN_LIMITS]
    by_number = re.sub(r"(\d+)(k?)", lambda found: f"{int(found[1]) * (1024 if found[2] else 1):09}", metric)
    return (names.index(metric) if metric in names else len(names), by_number)
