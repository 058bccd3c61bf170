"""Endless, never-repeating logs of an industrial gateway: the data of the demo model.

A log is a list of lines. Most are noise: telemetry, alarms, set-point changes, link events, operator events and free
text with random numbers. A few are facts, and a question repeats the key of a fact so that the answer sits at the same
offset from the key in both:

    note: the service code of pump K7 is 4921
    ask: what is the service code of pump K7? 4921

The generator is deterministic for a seed and needs only the Python standard library.

    python3 -m training.gateway_log --tokens 20000 --facts 32 --questions 10 --seed 7 --out DIR

writes DIR/log.txt and DIR/questions.json.
"""

import argparse
import json
import os
import random
from dataclasses import dataclass

ATTRIBUTES = ("service code", "spare key", "flow limit", "access pin", "reset mark", "batch tag")
DEVICES = ("pump", "valve", "fan", "boiler", "heater", "motor", "chiller", "mixer")
LETTERS = "ABCDEFHKMRTX"
OPERATORS = ("Mara", "Jonas", "Lena", "Tariq", "Ines", "Viktor", "Amina", "Paolo")
PLACES = ("north", "south", "east", "west")


@dataclass(frozen=True)
class Fact:
    """What a note states: a unique (attribute, device, unit) key and a value of four digits."""

    attribute: str
    device: str
    unit: str
    value: str

    @property
    def key(self):
        return (self.attribute, self.device, self.unit)

    def note(self):
        return f"note: the {self.attribute} of {self.device} {self.unit} is {self.value}\n"

    def question(self):
        return f"ask: what is the {self.attribute} of {self.device} {self.unit}?"

    def asked(self):
        return f"{self.question()} {self.value}\n"


class Plant:
    """Machines by tag: each unit is one device throughout a log."""

    def __init__(self, rng):
        self.devices = {letter + digit: rng.choice(DEVICES) for letter in LETTERS for digit in "0123456789"}
        self.units = sorted(self.devices)


class FactSource:
    """Draws facts whose keys never repeat; a share of them has parts of its key in common with an earlier fact.

    With a plant, facts are about its machines, and the part in common is the machine. Without one, any device can have
    any unit; `contrast` then asks for keys that mostly differ in one part only, the same for all.
    """

    def __init__(self, rng, shared=0.2, contrast=False, plant=None):
        self.rng = rng
        self.plant = plant
        self.shared = shared
        self.varying = rng.randrange(4) if contrast else None
        self.facts = []
        self.keys = set()

    def draw(self):
        if self.plant and len(self.keys) == len(ATTRIBUTES) * len(self.plant.units):
            raise ValueError("a log holds at most one fact per attribute and unit")
        key = self.draw_key()
        while key in self.keys:
            key = self.draw_key()
        fact = Fact(*key, value=f"{self.rng.randrange(10000):04d}")
        self.keys.add(key)
        self.facts.append(fact)
        return fact

    def draw_key(self):
        """(attribute, device, unit), perhaps one that exists."""
        rng = self.rng
        other = rng.choice(self.facts) if self.facts and rng.random() < self.shared else None
        if self.plant:
            unit = other.unit if other else rng.choice(self.plant.units)
            return rng.choice(ATTRIBUTES), self.plant.devices[unit], unit
        key = [rng.choice(ATTRIBUTES), rng.choice(DEVICES), rng.choice(LETTERS), rng.choice("0123456789")]
        if other:
            parts = [other.attribute, other.device, other.unit[0], other.unit[1]]
            for i in self.parts_to_share():
                key[i] = parts[i]
        return key[0], key[1], key[2] + key[3]

    def parts_to_share(self):
        """Indices of the key parts (attribute, device, letter, digit) that a fact has in common with another."""
        if self.varying is not None and self.rng.random() < 0.9:
            return [i for i in range(4) if i != self.varying]
        return self.rng.sample(range(4), self.rng.randint(1, 3))


class NoiseSource:
    """Lines that carry numbers, devices and units but no fact."""

    def __init__(self, rng, plant=None):
        self.rng = rng
        self.plant = plant
        self.minute = rng.randrange(1440)
        self.kinds = (self.telemetry, self.telemetry, self.telemetry, self.poll, self.alarm, self.setpoint, self.link,
                      self.operator, self.job, self.text, self.text, self.clock)

    def line(self):
        return self.rng.choice(self.kinds)() + "\n"

    def device(self):
        if self.plant:
            unit = self.rng.choice(self.plant.units)
            return f"{self.plant.devices[unit]} {unit}"
        return f"{self.rng.choice(DEVICES)} {self.rng.choice(LETTERS)}{self.rng.randrange(10)}"

    def number(self, digits):
        return str(self.rng.randrange(10 ** (digits - 1), 10**digits))

    def telemetry(self):
        r = self.rng
        reading = r.choice((
            lambda: f"pressure {r.randrange(10)}.{r.randrange(100):02d} bar",
            lambda: f"temperature {r.randrange(20, 99)}.{r.randrange(10)} degrees",
            lambda: f"speed {self.number(4)} rpm",
            lambda: f"level {r.randrange(100)} percent",
            lambda: f"current {r.randrange(20)}.{r.randrange(10)} amps",
        ))
        status = r.choice(("ok", "ok", "ok", "warm", "late"))
        return f"telemetry {self.device()} {reading()} status {status}"

    def poll(self):
        return f"poll {self.device()} register {self.number(5)} value {self.number(self.rng.randint(1, 5))}"

    def alarm(self):
        r = self.rng
        if r.random() < 0.4:
            return f"alarm {self.number(3)} cleared on {self.device()} after {self.number(2)} s"
        cause = r.choice(("level high", "level low", "pressure high", "temperature high", "no signal", "door open"))
        return f"alarm {self.number(3)} raised on {self.device()} {cause}"

    def setpoint(self):
        what = self.rng.choice(("speed", "pressure", "level", "temperature"))
        return (f"set {what} of {self.device()} from {self.number(4)} to {self.number(4)} "
                f"by operator {self.rng.choice(OPERATORS)}")

    def link(self):
        r = self.rng
        name = f"{r.choice(('uplink', 'modem', 'radio'))} {r.randrange(10)}"
        return r.choice((
            lambda: f"link {name} down after {self.number(4)} ms",
            lambda: f"link {name} restored at {self.number(2)} kbit",
            lambda: f"link {name} signal {self.number(2)} retry {r.randrange(10)}",
        ))()

    def operator(self):
        r = self.rng
        who = r.choice(OPERATORS)
        return r.choice((
            lambda: f"operator {who} login from terminal {r.randrange(10)}",
            lambda: f"operator {who} accepted alarm {self.number(3)}",
            lambda: f"operator {who} started {self.device()}",
            lambda: f"operator {who} stopped {self.device()}",
        ))()

    def job(self):
        what = self.rng.choice(("backup", "report", "update", "test"))
        return f"job {self.number(4)} {what} finished in {self.number(2)} s"

    def clock(self):
        self.minute = (self.minute + self.rng.randint(1, 9)) % 1440
        return f"time {self.minute // 60:02d}:{self.minute % 60:02d} uptime {self.number(5)} min"

    def text(self):
        r = self.rng
        who, where = r.choice(OPERATORS), r.choice(PLACES)
        return r.choice((
            lambda: f"info the filter of {self.device()} was cleaned by {who} and works again",
            lambda: f"info a new order {self.number(4)} arrived at the {where} gate",
            lambda: f"info {who} checks the {r.choice(ATTRIBUTES)} of {self.device()} in the {where} hall",
            lambda: f"info the {where} door was open for {self.number(2)} min",
            lambda: f"info {self.device()} makes a noise and {who} will look at it on day {self.number(2)}",
            lambda: f"info the spare part {self.number(4)} for {self.device()} is in the {where} hall",
        ))()


def approximate_tokens(line):
    """Tokens of a line under the demo tokenizer: one per word, digit and punctuation mark, one for the newline."""
    count, in_word = 0, False
    for i, ch in enumerate(line):
        if ch.isalpha():
            count += not in_word
            in_word = True
            continue
        in_word = False
        if ch == " ":  # a space joins the word after it, and stands alone before a digit
            count += i + 1 < len(line) and line[i + 1].isdigit()
        else:
            count += 1
    return count


def make_log(tokens, facts, seed, count=approximate_tokens, tail=0, asked_share=0.0):
    """A log of at least `tokens` tokens with `facts` notes spread evenly at random before the last `tail` tokens.

    Returns (lines, placed) where placed is a list of (Fact, line index, token offset). `asked_share` is the chance that
    a fact is also asked and answered once, somewhere later in the log.
    """
    rng = random.Random(f"gateway-log-{seed}")
    plant = Plant(rng)
    noise, source = NoiseSource(rng, plant), FactSource(rng, plant=plant)
    span = max(1, tokens - tail)
    slots = sorted(int((i + rng.random()) * span / facts) for i in range(facts))
    lines, placed, later, position = [], [], [], 0
    while position < tokens or slots:
        if slots and position >= slots[0]:
            slots.pop(0)
            fact = source.draw()
            placed.append((fact, len(lines), position))
            if rng.random() < asked_share:
                later.append((position + rng.randrange(40, 2000), fact))
            line = fact.note()
        elif later and min(later, key=lambda item: item[0])[0] <= position:
            item = min(later, key=lambda item: item[0])
            later.remove(item)
            line = item[1].asked()
        else:
            line = noise.line()
        lines.append(line)
        position += count(line)
    return lines, placed


def passkey_parts(seed):
    """(filler, fact): a block of two noise lines to be repeated without change, and the one note hidden among them."""
    rng = random.Random(f"gateway-passkey-{seed}")
    noise = NoiseSource(rng)
    filler = "".join(noise.line() for _ in range(2))
    return filler, FactSource(rng).draw()


def choose_questions(placed, total_tokens, questions, seed, min_distance):
    """Draws `questions` facts that lie at least `min_distance` tokens before the end of the log."""
    eligible = [item for item in placed if total_tokens - item[2] >= min_distance]
    if len(eligible) < questions:
        raise ValueError(f"only {len(eligible)} facts lie {min_distance} tokens before the end")
    return random.Random(f"gateway-questions-{seed}").sample(eligible, questions)


def write_demo(args):
    count = approximate_tokens
    if args.tokenizer:
        from training.tokenizer import Tokenizer

        tokenizer = Tokenizer.load(args.tokenizer)
        count = lambda line: len(tokenizer.encode(line))
    tail = min(args.min_distance, args.tokens // 2)
    lines, placed = make_log(args.tokens, args.facts, args.seed, count, tail=tail)
    total = sum(count(line) for line in lines)
    chosen = choose_questions(placed, total, args.questions, args.seed, args.min_distance)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "log.txt"), "w", encoding="utf-8") as f:
        f.writelines(lines)
    questions = [
        {"question": fact.question(), "answer": fact.value, "fact_offset_chars": offsets[index],
         "approx_token": position}
        for fact, index, position in chosen
    ]
    with open(os.path.join(args.out, "questions.json"), "w", encoding="utf-8") as f:
        json.dump(questions, f, indent=2)
        f.write("\n")
    print(f"{len(lines)} lines, {total} tokens, {len(placed)} facts, {len(questions)} questions -> {args.out}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=20000, help="least length of the log in tokens")
    parser.add_argument("--facts", type=int, default=32, help="notes spread over the log")
    parser.add_argument("--questions", type=int, default=10, help="facts asked at the end")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--min-distance", type=int, default=2000,
                        help="tokens that lie at least between a questioned fact and the end of the log")
    parser.add_argument("--tokenizer", help="tokenizer.json to count tokens with (default: count words and digits)")
    parser.add_argument("--out", required=True, help="folder for log.txt and questions.json")
    write_demo(parser.parse_args())


if __name__ == "__main__":
    main()
