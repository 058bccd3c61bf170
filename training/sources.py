"""Where training sequences come from: text files, files of token ids, or generated gateway logs."""

import numpy as np

from training.data import Batches, mixed_sequence
from training.tokenizer import Tokenizer


class TokenStream:
    """Random stretches of one long array of token ids."""

    def __init__(self, ids):
        self.ids = np.asarray(ids, dtype=np.int64)

    @classmethod
    def of_text(cls, files, tokenizer_path):
        """The tokens of all `files`, one after the other."""
        tokenizer = Tokenizer.load(tokenizer_path)
        ids = []
        for file in files:
            with open(file, encoding="utf-8") as f:
                ids += tokenizer.encode(f.read())
        return cls(ids)

    @classmethod
    def of_ids(cls, files):
        """`files` hold token ids: .npy arrays, or raw little-endian u32."""
        read = lambda file: np.load(file).reshape(-1) if file.endswith(".npy") else np.fromfile(file, dtype="<u4")
        return cls(np.concatenate([read(file).astype(np.int64) for file in files]))

    def check(self, vocab_size, tokens):
        """ValueError if an id is not in the vocabulary, or there is no stretch of `tokens` + 1."""
        if len(self.ids) < tokens + 2:
            raise ValueError(f"the text has {len(self.ids)} tokens; training needs at least {tokens + 2}")
        if self.ids.min() < 0 or self.ids.max() >= vocab_size:
            raise ValueError(f"token id {self.ids.max()} is not in the vocabulary of {vocab_size}")

    def next(self, rng, batch, tokens):
        """(ids [B, T + 1], None)."""
        starts = [rng.randrange(len(self.ids) - tokens) for _ in range(batch)]
        return np.stack([self.ids[start : start + tokens + 1] for start in starts]), None

    def close(self):
        pass


class GatewayLogs:
    """Generated logs; classes say which tokens are digits of answers. `options` are those of mixed_sequence."""

    def __init__(self, tokenizer_path, seed, **options):
        self.batches = Batches(tokenizer_path, mixed_sequence, seed)
        self.options = options

    def next(self, rng, batch, tokens):
        """(ids [B, T + 1], classes [B, T + 1]); a new length takes effect a few batches later."""
        return self.batches.next(batch, tokens, **self.options)

    def close(self):
        self.batches.close()
