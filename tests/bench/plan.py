"""What is measured: points of one session, sessions together, a long stream; and how long each takes about."""

from dataclasses import dataclass

# Weight format of memgate -> the llama.cpp type of as many bits.
FORMATS = {"int8": "Q8_0", "int4": "Q4_0", "bf16": "BF16", "f32": "F32"}
MAIN_FORMAT = "int8"
KV_FORMATS = ("f32", "bf16", "int8")  # of memgate's sessions

GENERATED = 64  # tokens of every answer
BATCH_DEPTH = 512  # tokens that each session holds when several decode at once
STREAM_TURN, STREAM_TURNS = 4096, 256  # a million tokens in one session
STREAM_PAIRS = 16  # turns behind them that alternate with those of a session which holds little
LONG_TOKENS = 16_384  # from here on the peer takes minutes to take in a prompt

POINTS = (0, 512, 2048, 4096, 8192, 16_384, 32_768, 131_072)
POINTS_OF_OTHER_FORMATS = (0, 512, 4096)
EXACT_POINTS = (0, 512, 2048, 4096, 8192, 32_768)
MATRIX_POINTS = (0, 4096, 32_768)  # with the matrix beside the slots
BATCHES = (1, 4, 16)
CACHED_FORMATS = ("int8", "int4")  # whose packed weights the server keeps on disk
PARTS = ("points", "exact", "matrix", "batch", "start", "stream")


@dataclass(frozen=True)
class Measurement:
    """One thing to measure, on either side.

    point     a prompt of `tokens` random tokens into an empty session, then GENERATED tokens (0 stands for the shortest
              prompt): time to the first token, tokens per second after it, bytes.
    together  `sessions` sessions of BATCH_DEPTH tokens generate GENERATED tokens each at the same time.
    start     the seconds until a server serves, without packed weights on disk and with them, and the memory of one
              and of two servers that share them. memgate alone.
    stream    turns of STREAM_TURN tokens in one session, STREAM_TURNS of them, then STREAM_PAIRS more that
              alternate with those of a fresh session. memgate alone.
    read      the bandwidth of a streaming read. This machine's, whoever uses it.
    """

    what: str
    format: str = MAIN_FORMAT
    kind: str = ""  # memory kind of the session; "exact" for requests on the exact path
    tokens: int = 0
    sessions: int = 1

    @property
    def name(self):
        parts = {"point": f"{self.tokens} tokens", "together": f"{self.sessions} sessions", "start": "starts",
                 "stream": "a long stream", "read": "streaming read"}
        return " ".join(filter(None, (parts[self.what], self.format if self.what != "read" else "", self.kind)))

    @property
    def is_long(self):
        return self.what == "point" and self.tokens >= LONG_TOKENS

    def seconds(self, side, fill=True):
        """A guess, for the progress bar; two threads, the 0.5B shape."""
        if self.what in ("read", "start"):
            return {"read": 5, "start": 20}[self.what]
        if side == "memgate":
            tokens = STREAM_TURN * (STREAM_TURNS + 2 * STREAM_PAIRS) if self.what == "stream" else self.tokens
            if self.what == "together":
                tokens = self.sessions * (BATCH_DEPTH + 4 * GENERATED)
            slower = 1 + self.tokens / 30_000 if self.kind == "exact" else 1
            return 3 + tokens / 500 * slower
        if self.what == "together":
            return 10 + self.sessions * 6
        if self.is_long and not fill:
            return 20
        return 5 + self.tokens / 180 * (1 + self.tokens / 12_000)


@dataclass(frozen=True)
class Plan:
    """What a run measures, on memgate and, up to `peer_longest` tokens, on the peer."""

    measurements: tuple
    runs: int
    runs_long: int  # of the peer's longest prompt, from LONG_TOKENS on; further rounds restore what it took in
    peer_longest: int

    def runs_of(self, measurement, side):
        if measurement.what == "stream":
            return 1 if side == "memgate" else 0
        if side == "memgate":
            return self.runs
        if measurement.what in ("read", "start") or measurement.tokens > self.peer_longest:
            return 0
        return self.runs

    def fills(self, measurement, round):
        """Whether the peer has to take in the whole prompt: shorter long ones are the beginning of the longest."""
        longest = max((m.tokens for m in self.measurements if m.is_long and m.tokens <= self.peer_longest), default=0)
        return not measurement.is_long or measurement.tokens == longest and round < self.runs_long


def make_measurements(formats, parts, kind, points=POINTS):
    """All measurements of `parts` in `formats`; `kind` is the memory kind of the sessions."""
    main = MAIN_FORMAT if MAIN_FORMAT in formats else formats[0]
    made = []
    if "points" in parts:
        made.append(Measurement("read"))  # beside which the tokens of the points at depth 0 are held
        for format in formats:
            chosen = [Measurement("point", format, kind, tokens) for tokens in points
                      if format == main or tokens in POINTS_OF_OTHER_FORMATS]
            # The longest of the long ones first (Plan.fills).
            made += sorted(chosen, key=lambda point: (point.is_long, point.is_long and -point.tokens))
    if "exact" in parts:
        made += [Measurement("point", main, "exact", tokens) for tokens in EXACT_POINTS if tokens in points]
    if "matrix" in parts and kind != "memgate":
        made += [Measurement("point", main, "memgate", tokens) for tokens in MATRIX_POINTS if tokens in points]
    if "batch" in parts:
        made += [Measurement("together", main, kind, sessions=sessions) for sessions in BATCHES]
    if "start" in parts and main in CACHED_FORMATS:
        made += [Measurement("start", main)]
    if "stream" in parts:
        made += [Measurement("stream", main, kind)]
    return tuple(made)
