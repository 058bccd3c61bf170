"""Training sequences cut from gateway logs, with a loss weight per target; produced in background processes."""

import multiprocessing
import random

import numpy as np

from training.gateway_log import FactSource, NoiseSource, passkey_parts
from training.tokenizer import Tokenizer

# Classes of a target token: the rest, beside an answer, a digit of an answer, the key in a question.
OTHER, AROUND, ANSWER, KEY = range(4)


def encode_asked(tokenizer, fact):
    """Ids and target classes of a question line with its answer."""
    ids = tokenizer.encode(fact.asked())
    classes = [OTHER] * 5 + [KEY] * (len(ids) - 12) + [AROUND] * 2 + [ANSWER] * 4 + [AROUND]
    return ids, classes


def dense_sequence(rng, tokenizer, tokens, contrast=0.2, crowded=False):
    """For the base: notes, questions about any earlier note, and noise, in shares that differ per sequence.

    In a share `contrast` of the sequences the keys of the notes mostly differ in one part only, which makes every part
    of the key count; `crowded` asks for many notes. Returns ids [tokens + 1] and classes [tokens + 1].
    """
    noise = NoiseSource(rng)
    source = FactSource(rng, 1.0, True) if rng.random() < contrast else FactSource(rng, 0.4)
    most_facts = max(3, tokens // 20)
    facts = rng.randint(most_facts // 2 if crowded else 2, most_facts)
    split = rng.uniform(0.45, 0.75) * tokens if crowded else rng.uniform(0.35, 0.7) * tokens
    noise_share = rng.choice((0.0, 0.0, 0.2, 0.3 if crowded else 0.5))
    early_asks = rng.choice((0.0, 0.1, 0.1 if crowded else 0.3))
    ids, classes = [], []
    if rng.random() < 0.5:  # start in the middle of a line
        line = tokenizer.encode(noise.line())
        ids += line[rng.randrange(len(line)) :]
        classes += [OTHER] * len(ids)
    while len(ids) < tokens + 1:
        late = len(ids) > split
        ask = source.facts and rng.random() < (0.8 if late else early_asks)
        if ask:
            line, line_classes = encode_asked(tokenizer, rng.choice(source.facts))
        else:
            if source.facts and (rng.random() < noise_share or len(source.facts) >= facts):
                text = noise.line()
            else:
                text = source.draw().note()
            line = tokenizer.encode(text)
            line_classes = [OTHER] * len(line)
        ids += line
        classes += line_classes
    return ids[: tokens + 1], classes[: tokens + 1]


def sparse_sequence(rng, tokenizer, tokens, asked=5, most_facts=8):
    """For the memory: few notes in much noise, and a block of questions at the end, some also in the middle."""
    noise, source = NoiseSource(rng), FactSource(rng)
    facts = rng.randint(2, most_facts)
    tail = tokens - asked * 18
    notes_at = sorted(rng.uniform(0, tail * 0.9) for _ in range(facts))
    asks_at = sorted(rng.uniform(tail * 0.3, tail) for _ in range(rng.randint(0, asked)))
    ids, classes = [], []
    while len(ids) < tokens + 1:
        if notes_at and len(ids) >= notes_at[0]:
            notes_at.pop(0)
            line, line_classes = tokenizer.encode(source.draw().note()), None
        elif source.facts and (len(ids) >= tail or (asks_at and len(ids) >= asks_at[0])):
            asks_at = asks_at[1:]
            line, line_classes = encode_asked(tokenizer, rng.choice(source.facts))
        else:
            line, line_classes = tokenizer.encode(noise.line()), None
        ids += line
        classes += line_classes or [OTHER] * len(line)
    return ids[: tokens + 1], classes[: tokens + 1]


def passkey_sequence(rng, tokenizer, tokens):
    """For the memory: one note somewhere in a block of noise that repeats, and the question about it at the end."""
    filler, fact = passkey_parts(rng.random())
    block, note = tokenizer.encode(filler), tokenizer.encode(fact.note())
    asked, asked_classes = encode_asked(tokenizer, fact)
    room = tokens + 1 - len(asked)
    at = rng.randrange(room - len(note) + 1)
    noise = block * (room // len(block) + 1)
    ids = noise[:at - at % len(block)] + note + noise  # the note stands between two whole blocks
    return ids[:room] + asked, [OTHER] * room + asked_classes


def mixed_sequence(rng, tokenizer, tokens, passkey_share=0.0, **sparse):
    """For the memory: `passkey_share` of the sequences repeat their noise, the others are sparse_sequence(**sparse)."""
    if rng.random() < passkey_share:
        return passkey_sequence(rng, tokenizer, tokens)
    return sparse_sequence(rng, tokenizer, tokens, **sparse)


def _produce(queue, tokenizer_path, make, seed):
    tokenizer = Tokenizer.load(tokenizer_path)
    rng = random.Random(seed)
    while True:
        batch, tokens, options = queue[0].get()
        pairs = [make(rng, tokenizer, tokens, **options) for _ in range(batch)]
        queue[1].put((np.array([p[0] for p in pairs], dtype=np.int64), np.array([p[1] for p in pairs], dtype=np.int8)))


class Batches:
    """Batches (ids [B, T + 1], classes [B, T + 1]) made ahead of time by one background process."""

    AHEAD = 6

    def __init__(self, tokenizer_path, make, seed):
        self.queue = (multiprocessing.Queue(), multiprocessing.Queue())
        self.process = multiprocessing.Process(
            target=_produce, args=(self.queue, tokenizer_path, make, seed), daemon=True)
        self.process.start()
        self.pending = 0

    def next(self, batch, tokens, **options):
        """The next batch; sizes take effect a few batches later, as those are already being made."""
        while self.pending < self.AHEAD:
            self.queue[0].put((batch, tokens, options))
            self.pending += 1
        self.pending -= 1
        return self.queue[1].get()

    def close(self):
        self.process.terminate()
        self.process.join()
