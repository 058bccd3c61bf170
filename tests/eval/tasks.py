"""The suites as tasks for memgate-eval: lists of steps on sessions (task_runner.h says what a step can be).

A question carries a tag with what is needed to judge the answer. All text comes from training/gateway_log.py and is
determined by the seed.
"""

import dataclasses
import hashlib
import json
import os
import random

from tests.eval.kinds import seeds_for
from training.gateway_log import approximate_tokens, choose_questions, make_log, passkey_parts

SUITES = ("passkey", "facts", "updates", "leak", "swapped", "perplexity", "short", "stream")

PASSKEY_TOKENS = (4_000, 32_000, 128_000, 1_000_000)
DEPTHS = (0, 25, 50, 75, 100)  # percent of the text that lies before the note
FACT_TOKENS = (4_000, 20_000, 64_000, 256_000)
FACT_COUNTS = (8, 32, 128)
LOG_TOKENS, LOG_FACTS = 20_000, 32  # of the suites that ask one kind of log
PERPLEXITY_TOKENS = (4_000, 20_000)
STREAM_TOKENS, STREAM_PART_TOKENS, STREAM_ROUNDS = 1_000_000, 10_000, 9

# Questions are about facts at least that far back: no window at equal bytes holds them.
MIN_DISTANCE_TOKENS = 1500
# Before them both paths are the same, so perplexity counts from here on.
UNSCORED_TOKENS = 1024
ANSWER_TOKENS = 12
UPDATED_FACTS, LATE_FACTS, OTHER_QUESTIONS, GENERATED_TOKENS = 10, 10, 20, 200
LEAK_PARTS = 16
SHORT_PROMPTS, SHORT_PROMPT_TOKENS, SHORT_ANSWER_TOKENS, SHORT_LOGPROBS = 16, 180, 32, 5


@dataclasses.dataclass
class Log:
    """What make_log gives, its length in tokens, and the file that it is in."""

    lines: list
    placed: list
    tokens: int
    file: str

    def questions(self, most, seed):
        """Up to `most` of the facts that lie far enough back, as choose_questions gives them."""
        far = sum(self.tokens - position >= MIN_DISTANCE_TOKENS for _, _, position in self.placed)
        return choose_questions(self.placed, self.tokens, min(most, far), seed, MIN_DISTANCE_TOKENS)


class Texts:
    """Long texts as files below `folder`, named by what is in them. Paths are relative to `folder`."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(os.path.join(folder, "logs"), exist_ok=True)
        self.latest = {}

    def save(self, text):
        name = os.path.join("logs", hashlib.sha256(text.encode()).hexdigest()[:20] + ".txt")
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            with open(path + ".tmp", "w", encoding="utf-8") as f:
                f.write(text)
            os.replace(path + ".tmp", path)
        return name

    def log(self, tokens, facts, seed, tail=MIN_DISTANCE_TOKENS, **options):
        """A log; asked for several times in a row, it is drawn once."""
        key = (tokens, facts, seed, tail, *options.items())
        if key not in self.latest:
            lines, placed = make_log(tokens, facts, seed, tail=tail, **options)
            self.latest = {key: Log(lines, placed, count_tokens(lines), self.save("".join(lines)))}
        return self.latest[key]


@dataclasses.dataclass
class Task:
    suite: str
    kind: str
    seed: int
    steps: list
    tokens: int  # that go in, for the progress bar
    params: dict = dataclasses.field(default_factory=dict)
    weight: float = 1.0  # work per token, against a session with a short window

    def identity(self, fingerprints):
        """The same for the same steps on the same weights."""
        text = json.dumps([fingerprints, self.suite, self.kind, self.seed, self.params, self.steps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def ask(session, fact, tag, forked=True):
    """A question; forked, it leaves the session as it was."""
    return {"do": "generate", "forked": forked, "tag": {"answer": fact.value, **tag},
            "request": {"session": session, "prompt": fact.question(), "stop": ["\n"], "max_tokens": ANSWER_TOKENS,
                        "sampling": {"temperature": 0}}}


def create(session, compared, tokens):
    return {"do": "create", "session": session, "request": compared.create(tokens), "tag": {"session": session}}


def ingest(session, file, tag=None, **options):
    return {"do": "ingest", "session": session, "file": file, "tag": tag or {}, **options}


def count_tokens(lines):
    return sum(map(approximate_tokens, lines))


# Passkey

def passkey_points(filler_tokens, note_tokens, lengths):
    """{blocks before the note: [(blocks in all, length, depth), ...]}, both in order."""
    points = {}
    for tokens in lengths:
        blocks = (tokens - note_tokens) // filler_tokens
        for depth in DEPTHS:
            points.setdefault(round(blocks * depth / 100), []).append((blocks, tokens, depth))
    return {before: sorted(points[before]) for before in sorted(points)}


def passkey(compared, seed, lengths):
    """One stream of filler; where a note belongs it branches off, takes in the note, and goes on to the question.

    So the filler before the notes is taken in once for all, and a note at the start serves every length.
    """
    filler, fact = passkey_parts(seed)
    filler_tokens = approximate_tokens_of(filler)
    points = passkey_points(filler_tokens, approximate_tokens(fact.note()), lengths)
    steps, at, tokens = [create("filler", compared, max(lengths))], 0, 0
    for before, asked in points.items():
        if before > at:
            steps.append({"do": "ingest", "session": "filler", "repeat": filler, "times": before - at})
        branch, end = [{"do": "ingest", "session": "noted", "text": fact.note()}], before
        for blocks, length, depth in asked:
            if blocks > end:
                branch.append({"do": "ingest", "session": "noted", "repeat": filler, "times": blocks - end})
            branch.append(ask("noted", fact, {"tokens": length, "depth": depth}))
            end = blocks
        steps.append({"do": "branch", "session": "filler", "as": "noted", "steps": branch})
        tokens += (before - at + end - before) * filler_tokens
        at = before
    return Task("passkey", compared.name, seed, steps, tokens, {"lengths": list(lengths)})


def approximate_tokens_of(text):
    return count_tokens(text.splitlines(keepends=True))


# Facts

def facts(compared, texts, seed, tokens, facts_in_log, questions):
    log = texts.log(tokens, facts_in_log, seed)
    steps = [create("log", compared, log.tokens), ingest("log", log.file)]
    steps += [ask("log", fact, {"position": position, "total": log.tokens})
              for fact, _, position in log.questions(questions, seed)]
    return Task("facts", compared.name, seed, steps, log.tokens, {"tokens": tokens, "facts": facts_in_log})


# Updates: what is noted later counts, and what comes between a fact and its question does not

def with_value(fact, rng):
    """The same fact with another value."""
    value = fact.value
    while value == fact.value:
        value = f"{rng.randrange(10000):04d}"
    return dataclasses.replace(fact, value=value)


def updated(compared, texts, seed):
    """Some facts are noted again with another value, somewhere between the first note and the last stretch."""
    log = texts.log(LOG_TOKENS, LOG_FACTS, seed)
    rng = random.Random(f"updates-{seed}")
    last = last_line_before(log.lines, log.tokens - MIN_DISTANCE_TOKENS)
    again = [(rng.randint(index + 1, last), with_value(fact, rng), fact.value)
             for fact, index, _ in log.questions(UPDATED_FACTS, seed)]
    lines, asked = list(log.lines), []
    for index, fact, old in sorted(again, key=lambda item: item[0], reverse=True):
        lines.insert(index, fact.note())
        asked.append(ask("log", fact, {"part": "updated", "old": old}))
    steps = [create("log", compared, log.tokens), ingest("log", texts.save("".join(lines))), *asked]
    return Task("updates", compared.name, seed, steps, log.tokens, {"part": "updated"})


def last_line_before(lines, tokens):
    """Index of the last line that begins before that many tokens."""
    position = 0
    for index, line in enumerate(lines):
        position += approximate_tokens(line)
        if position >= tokens:
            return index
    raise ValueError(f"the text has fewer than {tokens} tokens")


def asked_late(compared, texts, seed):
    """The same facts asked at once, and again after other questions and generated text, all within the session."""
    log = texts.log(LOG_TOKENS, LOG_FACTS, seed)
    chosen = [fact for fact, _, _ in log.questions(LATE_FACTS + OTHER_QUESTIONS, seed)]
    targets, others = chosen[:LATE_FACTS], chosen[LATE_FACTS:]
    steps = [create("log", compared, log.tokens), ingest("log", log.file)]
    steps += [ask("log", fact, {"part": "at once"}) for fact in targets]
    steps += [ask("log", fact, {"part": "other"}, forked=False) for fact in others]
    steps.append({"do": "generate", "tag": {"part": "text"},
                  "request": {"session": "log", "prompt": "\n", "max_tokens": GENERATED_TOKENS, "ignore_eos": True,
                              "sampling": {"temperature": 1, "seed": seed}}})
    # Generated text may end within a line.
    steps.append({"do": "ingest", "session": "log", "text": "\n"})
    steps += [ask("log", fact, {"part": "late"}) for fact in targets]
    return Task("updates", compared.name, seed, steps, log.tokens, {"part": "late"})


# Leaks: two sessions with the same keys; and the control, a session that was told something else

def conflicting(compared, texts, seed):
    """Two sessions take in the same log by turns; only the values of the notes differ."""
    log = texts.log(LOG_TOKENS, LOG_FACTS, seed)
    rng = random.Random(f"conflicting-{seed}")
    other, pairs = list(log.lines), []
    for fact, index, _ in log.questions(LOG_FACTS, seed):
        changed = with_value(fact, rng)
        other[index] = changed.note()
        pairs.append((fact, changed))
    steps = [create("first", compared, log.tokens), create("second", compared, log.tokens)]
    files = {"first": log.file, "second": texts.save("".join(other))}
    size = len("".join(other).encode())  # of both: values have four digits
    for part in range(LEAK_PARTS):
        span = {"from": size * part // LEAK_PARTS, "to": size * (part + 1) // LEAK_PARTS}
        steps += [ingest(session, file, **span) for session, file in files.items()]
    for first, second in pairs:
        steps.append(ask("first", first, {"other": second.value}))
        steps.append(ask("second", second, {"other": first.value}))
    return Task("leak", compared.name, seed, steps, 2 * log.tokens)


def swapped(compared, texts, seed):
    """The facts of one log, asked where another log was taken in, and where nothing was."""
    chosen = texts.log(LOG_TOKENS, LOG_FACTS, seed).questions(LOG_FACTS, seed)
    log = texts.log(LOG_TOKENS, LOG_FACTS, seed + 1000)
    known = {fact.key for fact, _, _ in log.placed}
    strangers = [fact for fact, _, _ in chosen if fact.key not in known]
    steps = [create("told", compared, log.tokens), ingest("told", log.file), create("empty", compared, log.tokens)]
    steps += [ask(session, fact, {"session": session}) for session in ("told", "empty") for fact in strangers]
    return Task("swapped", compared.name, seed, steps, log.tokens)


# Perplexity

def perplexity(compared, texts, seed, tokens):
    """A long log with notes and questions that are answered in it; its first tokens are not scored."""
    log = texts.log(tokens, max(8, tokens // 600), seed, tail=0, asked_share=0.5)
    head = last_line_before(log.lines, UNSCORED_TOKENS) + 1
    cut = len("".join(log.lines[:head]).encode())
    steps = [create("log", compared, log.tokens), ingest("log", log.file, to=cut),
             ingest("log", log.file, {"part": "scored"}, score=True, **{"from": cut})]
    return Task("perplexity", compared.name, seed, steps, log.tokens, {"tokens": tokens})


# Short texts: the same prompts for a server with memory and one without

def short(seed):
    """Prompts of at most SHORT_PROMPT_TOKENS, half of them ending in a question about a note in them."""
    rng = random.Random(f"short-{seed}")
    steps = []
    for i in range(SHORT_PROMPTS):
        lines, placed = make_log(rng.randrange(8, SHORT_PROMPT_TOKENS), 1, seed * 1000 + i)
        while count_tokens(lines) > SHORT_PROMPT_TOKENS and len(lines) > 1:
            lines.pop()
        prompt = "".join(lines) + (placed[0][0].question() if i % 2 else "")
        request = {"prompt": prompt, "max_tokens": SHORT_ANSWER_TOKENS, "ignore_eos": True, "logprobs": SHORT_LOGPROBS,
                   "sampling": {"temperature": 0}}
        steps += [{"do": "generate", "tag": {"prompt": i, "session": False}, "request": request},
                  {"do": "create", "session": "s", "request": {}, "tag": {"prompt": i}},
                  {"do": "generate", "tag": {"prompt": i, "session": True}, "request": {**request, "session": "s"}}]
    return Task("short", "", seed, steps, SHORT_PROMPTS * 2 * (SHORT_PROMPT_TOKENS + SHORT_ANSWER_TOKENS))


# Stream

def stream(compared, texts, seed, tokens):
    """A long log in parts, each followed by a measurement; then parts go by turns into this session and a fresh one.

    The turns cancel what else the machine does: both sessions meet the same noise.
    """
    rounds = STREAM_ROUNDS * STREAM_PART_TOKENS
    log = texts.log(tokens + rounds, max(1, tokens // 8000), seed)
    cuts, at, position = [0], 0, 0
    for line in log.lines:
        position, at = position + approximate_tokens(line), at + len(line.encode())
        if position >= len(cuts) * STREAM_PART_TOKENS:
            cuts.append(at)
    spans = [{"from": a, "to": b} for a, b in zip(cuts, cuts[1:])]
    file, measured = log.file, tokens // STREAM_PART_TOKENS
    steps = [create("long", compared, 0), create("fresh", compared, 0), {"do": "measure", "session": "long"}]
    for span in spans[:measured]:
        steps += [ingest("long", file, {"part": "stream"}, **span), {"do": "measure", "session": "long"}]
    for i, span in enumerate(spans[measured:]):
        turns = [[{"do": "reset", "session": "fresh"}, ingest("fresh", file, {"part": "first"}, **spans[0])],
                 [ingest("long", file, {"part": "last"}, **span)]]
        steps += sum(turns if i % 2 else turns[::-1], [])
    steps.append({"do": "measure", "session": "long"})
    return Task("stream", compared.name, seed, steps, tokens + 2 * rounds, {"tokens": tokens})


@dataclasses.dataclass
class Plan:
    """What to run: `compared` by name, and the choices of the command line."""

    compared: dict
    seeds: tuple
    suites: tuple
    passkey_tokens: tuple = PASSKEY_TOKENS
    fact_tokens: tuple = FACT_TOKENS
    fact_counts: tuple = FACT_COUNTS
    perplexity_tokens: tuple = PERPLEXITY_TOKENS
    stream_tokens: int = STREAM_TOKENS
    questions: int = 32
    full_kv_limit: int = 20_000
    kinds_of: dict = dataclasses.field(default_factory=dict)  # {suite: names}; a suite that is absent has all

    def takes(self, suite, compared, tokens, seed):
        """Whether a kind is measured in a suite at a length with a seed."""
        return (compared.name in self.kinds_of.get(suite, (compared.name,))
                and (compared.kind.bounded or tokens <= self.full_kv_limit)
                and seed in seeds_for(suite, compared.kind, tokens, self.seeds))


def passkey_tasks(plan, texts):
    for compared in plan.compared.values():
        for seed in plan.seeds:
            lengths = tuple(n for n in plan.passkey_tokens if plan.takes("passkey", compared, n, seed))
            if lengths:
                yield passkey(compared, seed, lengths)


def facts_tasks(plan, texts):
    for seed in plan.seeds:
        for tokens in plan.fact_tokens:
            for count in plan.fact_counts:
                for compared in plan.compared.values():
                    if plan.takes("facts", compared, tokens, seed):
                        yield facts(compared, texts, seed, tokens, count, plan.questions)


def log_tasks(suite, *make):
    """A generator of the tasks of a suite that asks one kind of log."""
    def generate(plan, texts):
        for seed in plan.seeds:
            for make_task in make:
                for compared in plan.compared.values():
                    if plan.takes(suite, compared, LOG_TOKENS, seed):
                        yield make_task(compared, texts, seed)
    return generate


def perplexity_tasks(plan, texts):
    for seed in plan.seeds:
        for tokens in plan.perplexity_tokens:
            for compared in plan.compared.values():
                if plan.takes("perplexity", compared, tokens, seed):
                    yield perplexity(compared, texts, seed, tokens)


def short_tasks(plan, texts):
    yield short(plan.seeds[0])


def stream_tasks(plan, texts):
    if "memgate" in plan.compared:
        yield stream(plan.compared["memgate"], texts, plan.seeds[0], plan.stream_tokens)


TASKS = {"passkey": passkey_tasks, "facts": facts_tasks, "updates": log_tasks("updates", updated, asked_late),
         "leak": log_tasks("leak", conflicting), "swapped": log_tasks("swapped", swapped),
         "perplexity": perplexity_tasks, "short": short_tasks, "stream": stream_tasks}


def make_tasks(plan, texts):
    """All tasks of the plan."""
    return [task for suite in plan.suites for task in TASKS[suite](plan, texts)]
