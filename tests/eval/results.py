"""From finished tasks to the figures of the evaluation."""

import collections
import math
import statistics

CHANCE = 1e-4  # of guessing four digits blindly

# Foldings since a fact: upper ends of the bins.
FOLDING_BINS = (32, 128, 512, 2048, 8192)


def first_line(text):
    return text.strip().split("\n")[0].strip().rstrip(".")


def answers(entry):
    """(tag, right, answer) of each question of a task."""
    for event in entry["events"]:
        if event["event"] == "generate" and "answer" in event.get("tag", {}):
            answer = first_line(event["text"])
            yield event["tag"], answer == event["tag"]["answer"], answer


def session_of(entry):
    return next(event["session"] for event in entry["events"] if event["event"] == "create")


class Means:
    """Mean values under nested keys."""

    def __init__(self):
        self.values = collections.defaultdict(list)

    def add(self, value, *keys):
        self.values[keys].append(float(value))

    def nested(self, convert=statistics.fmean):
        result = {}
        for keys, values in self.values.items():
            at = result
            for key in keys[:-1]:
                at = at.setdefault(str(key), {})
            at[str(keys[-1])] = convert(values)
        return result


def passkey(entries):
    means = Means()
    for entry in entries:
        for tag, right, _ in answers(entry):
            means.add(right, entry["kind"], tag["tokens"], tag["depth"])
    return {"passkey": means.nested(), "passkey_seeds": means.nested(len)}


def foldings(tokens, shape):
    """How often a session folded by the time it holds `tokens`."""
    over = tokens - shape["sink_tokens"] - shape["window_tokens"]
    return max(0, over // shape["segment_tokens"])


def folding_bin(count):
    return next((f"<= {end:,}" for end in FOLDING_BINS if count <= end), f"> {FOLDING_BINS[-1]:,}")


def facts(entries):
    means, by_depth, by_foldings = Means(), Means(), Means()
    for entry in entries:
        kind, params, shape = entry["kind"], entry["params"], session_of(entry)["shape"]
        for tag, right, _ in answers(entry):
            means.add(right, kind, params["facts"], params["tokens"])
            quarter = min(3, 4 * tag["position"] // tag["total"])
            by_depth.add(right, kind, params["facts"], params["tokens"], 25 * quarter)
            since = foldings(tag["total"], shape) - foldings(tag["position"], shape)
            by_foldings.add(right, kind, params["facts"], folding_bin(since))
    return {"facts": means.nested(), "facts_questions": means.nested(len), "facts_by_depth": by_depth.nested(),
            "facts_by_foldings": by_foldings.nested()}


def updates(entries):
    means = Means()
    for entry in entries:
        for tag, right, answer in answers(entry):
            means.add(right, entry["kind"], tag["part"])
            if "old" in tag:
                means.add(answer == tag["old"], entry["kind"], "old value")
    return {"updates": means.nested()}


def leak(entries):
    means = Means()
    for entry in entries:
        for tag, right, answer in answers(entry):
            means.add(right, entry["kind"], "own")
            means.add(answer == tag["other"], entry["kind"], "other's")
    return {"leak": means.nested()}


def swapped(entries):
    means = Means()
    for entry in entries:
        for tag, right, _ in answers(entry):
            means.add(right, entry["kind"], tag["session"])
    result = {"swapped_by_kind": means.nested(), "chance": CHANCE}
    if "memgate" in result["swapped_by_kind"]:
        result["swapped"] = result["swapped_by_kind"]["memgate"]["told"]
    return result


def perplexity(entries):
    """Of all seeds together; `exact` and `gated` at the greatest length that was scored both ways."""
    sums = collections.defaultdict(lambda: [0.0, 0])
    for entry in entries:
        for event in entry["events"]:
            if event["event"] == "ingest" and event["tag"].get("part") == "scored":
                total = sums[entry["params"]["tokens"], entry["kind"]]
                total[0] += event["logprob_sum"]
                total[1] += event["scored_tokens"]
    by_length = {}
    for (tokens, kind), (logprob_sum, scored) in sorted(sums.items()):
        if scored:
            by_length.setdefault(str(tokens), {})[kind] = math.exp(-logprob_sum / scored)
    return {"perplexity_by_length": by_length,
            **longest_with(by_length, "perplexity", exact="full-kv", gated="memgate"),
            **longest_with(by_length, "perplexity_all_slots", all_slots="memgate-all-slots", gated="memgate")}


def longest_with(by_length, name, **kinds):
    """{name: {label: perplexity}} at the greatest length that has all `kinds` {label: kind}; {} if there is none."""
    complete = [row for row in by_length.values() if set(kinds.values()) <= set(row)]
    return {name: {label: complete[-1][kind] for label, kind in kinds.items()}} if complete else {}


def stream(entries):
    if not entries:
        return {}
    events = entries[0]["events"]
    measured = [event for event in events if event["event"] == "measure"]
    speed = {part: [event["tokens"] / event["seconds"] for event in events
                    if event["event"] == "ingest" and event["tag"].get("part") == part] for part in ("first", "last")}
    rates = {part: statistics.median(values) for part, values in speed.items()}
    return {"stream": {
        "tokens": [event["session"]["accounting"]["total_tokens"] for event in measured],
        "session_bytes": [event["session"]["session_bytes"] for event in measured],
        "full_kv_bytes": [event["session"]["full_kv_bytes"] for event in measured],
        "resident_bytes": [event["resident_bytes"] for event in measured],
        "first_tokens_per_s": speed["first"], "last_tokens_per_s": speed["last"],
        "median_first_tokens_per_s": rates["first"], "median_last_tokens_per_s": rates["last"],
        "ratio": statistics.median(last / first for first, last in zip(speed["first"], speed["last"]))}}


def short(entries, without_memory):
    """Whether a server with and one without memory modules said the same, to the last bit."""
    if not entries:
        return {}
    told = [[event for event in each[0]["events"] if event["event"] == "generate"]
            for each in (entries, without_memory)]
    same = [a == b for a, b in zip(*told)]
    return {"short": {"answers": len(same), "identical": sum(same),
                      "tokens": sum(len(event["token_ids"]) for event in told[0]),
                      "exact_path": all(event["path"] == "exact" for event in told[0])}}


def session_bytes(entries):
    """{kind: bytes of its sessions}, the largest for kinds whose sessions grow with the text; and their shapes."""
    largest = {}
    for entry in entries:
        session = session_of(entry) if entry["kind"] else None
        if session and session["session_bytes"] >= largest.get(entry["kind"], {"session_bytes": 0})["session_bytes"]:
            largest[entry["kind"]] = session
    return {"bytes": {kind: session["session_bytes"] for kind, session in largest.items()},
            "shapes": {kind: session["shape"] for kind, session in largest.items()}}


def collect(entries):
    """All figures; keys of suites that did not run are absent."""
    by_suite = collections.defaultdict(list)
    for entry in entries:
        by_suite[entry["suite"]].append(entry)
    result = {}
    for suite, figures in (("passkey", passkey), ("facts", facts), ("updates", updates), ("leak", leak),
                           ("swapped", swapped), ("perplexity", perplexity), ("stream", stream)):
        if by_suite[suite]:
            result.update(figures(by_suite[suite]))
    result.update(session_bytes(entries))
    result.update(short(by_suite["short"], by_suite["short without memory"]))
    return result


def share_right(result, suite, kind):
    """Mean over all cells of a kind, or None where none was measured."""
    cells = result.get(suite, {}).get(kind, {})
    values = [value for row in cells.values() for value in row.values()]
    return statistics.fmean(values) if values else None


def missed_floors(result, suites):
    """What falls short of what memory must do, as sentences; a figure that is missing falls short, too."""
    scored = result.get("perplexity")
    equal = result["short"]["identical"] / result["short"]["answers"] if "short" in result else None
    checks = (
        ("passkey", "answers of memgate", share_right(result, "passkey", "memgate"), "at least", 0.9),
        ("facts", "answers of memgate", share_right(result, "facts", "memgate"), "at least", 0.9),
        ("facts", "answers of a window of the same bytes", share_right(result, "facts", "window"), "at most", 0.05),
        ("swapped", "answers from another session's memory", result.get("swapped"), "at most", 0.05),
        ("perplexity", "gated over exact", scored and scored["gated"] / scored["exact"], "at most", 1.01),
        ("short", "answers that equal those of the base", equal, "at least", 1.0),
    )
    for suite, what, value, bound, limit in checks:
        if suite not in suites:
            continue
        if value is None:
            yield f"{suite}: {what}: not measured"
        elif (value < limit) if bound == "at least" else (value > limit):
            yield f"{suite}: {what}: {value:.4f}, must be {bound} {limit}"
