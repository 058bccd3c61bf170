"""The kinds of session that are compared, and how many seeds each gets."""

from dataclasses import dataclass

# What a session's geometry comes from.
OWN = "own"                  # the default of its module
EQUAL_BYTES = "equal bytes"  # the largest window that fits into the bytes of a `memgate` session
FULL = "full"                # a window that holds the whole text
ALL_SLOTS = "all slots"      # slots for the whole text
NO_SLOTS = "no slots"        # as EQUAL_BYTES, without salient slots

FEW = "few"  # as many seeds and lengths as tell a kind from the others

MARGIN_TOKENS = 2048  # for questions and answers, where a session holds a whole text


@dataclass(frozen=True)
class Kind:
    """One row of the comparison: a memory kind of the server with a geometry."""

    name: str
    memory_kind: str
    geometry: str
    what: str
    share: str = "all"  # its row of SEEDS_BY_LENGTH, unless one bears its name

    @property
    def bounded(self):
        return self.geometry not in (FULL, ALL_SLOTS)


KINDS = (
    Kind("full-kv", "window", FULL, "every token kept: what a full KV cache answers"),
    Kind("memgate-all-slots", "memgate", ALL_SLOTS, "every token kept, those that left the window in slots"),
    Kind("window", "window", EQUAL_BYTES, "sinks and window, in the bytes of `memgate`"),
    Kind("infini", "infini", OWN, "Infini-attention, linear write", FEW),
    Kind("infini-equal-bytes", "infini", EQUAL_BYTES, "the same, window enlarged to the bytes of `memgate`", FEW),
    Kind("infini-delta", "infini-delta", OWN, "Infini-attention, delta write"),
    Kind("infini-delta-equal-bytes", "infini-delta", EQUAL_BYTES,
         "the same, window enlarged to the bytes of `memgate`"),
    Kind("edgeinfinite", "edgeinfinite", OWN, "EdgeInfinite's gated memory", FEW),
    Kind("edgeinfinite-equal-bytes", "edgeinfinite", EQUAL_BYTES,
         "the same, window enlarged to the bytes of `memgate`", FEW),
    Kind("ahn", "ahn", OWN, "an Artificial Hippocampus Network"),
    Kind("memgate", "memgate", OWN, "sinks, window, salient slots, and the matrix where the module has one"),
    Kind("memgate-slots", "memgate-slots", OWN, "`memgate` without its matrix"),
    Kind("memgate-no-slots", "memgate", NO_SLOTS, "`memgate` without slots, window enlarged to the same bytes"),
    Kind("memgate-matrix", "memgate-matrix", OWN, "`memgate` with a matrix for what finds no slot, fewer slots", FEW),
    Kind("memgate-matrix-slots", "memgate-matrix-slots", OWN, "the same slots without the matrix", FEW),
    Kind("memgate-matrix-no-slots", "memgate-matrix", NO_SLOTS,
         "the matrix without slots, window enlarged to the bytes of `memgate`", FEW),
    Kind("memgate-untrained", "memgate-untrained", OWN, "slots for what a matrix predicts worst, nothing trained", FEW),
)

# How many of the seeds a kind gets, up to which length: {suite: {kind: ((tokens, seeds), ...)}}. "few" stands for the
# kinds that say so, "all" for all other kinds, "unbounded" for those that keep every token. A stream of a million tokens
# takes minutes, and so does full attention over 20,000 tokens: only the kinds with a bar to meet get every seed
# everywhere.
ANY = 1 << 30
SEEDS_BY_LENGTH = {
    "passkey": {
        "memgate": ((ANY, 5),),
        "infini-delta": ((ANY, 5),),
        "unbounded": ((4_000, 2), (ANY, 1)),
        "few": ((32_000, 1), (ANY, 0)),
        "all": ((32_000, 2), (ANY, 1)),
    },
    "facts": {
        "memgate": ((ANY, 5),),
        "window": ((64_000, 5), (ANY, 1)),
        "unbounded": ((4_000, 2), (ANY, 1)),
        "few": ((20_000, 2), (64_000, 1), (ANY, 0)),
        "all": ((64_000, 2), (ANY, 1)),
    },
    # One count for all: perplexities are of the same tokens.
    "perplexity": {"unbounded": ((4_000, 5), (ANY, 1)), "few": ((4_000, 5), (ANY, 1)), "all": ((4_000, 5), (ANY, 1))},
    "other suites": {"unbounded": ((ANY, 1),), "few": ((ANY, 1),), "memgate": ((ANY, 5),), "all": ((ANY, 2),)},
}


def seeds_for(suite, kind, tokens, seeds):
    """Those of `seeds` that `kind`, a Kind, gets at a length of `tokens`."""
    table = SEEDS_BY_LENGTH.get(suite, SEEDS_BY_LENGTH["other suites"])
    rows = table.get(kind.name) or table[kind.share if kind.bounded else "unbounded"]
    return seeds[:next(count for limit, count in rows if tokens <= limit)]


def create_request(kind, equal_bytes, full_tokens=0):
    """CreateSessionRequest as JSON."""
    request = {"session": {"memory_kind": kind.memory_kind, "shape": {}}}
    if kind.geometry in (EQUAL_BYTES, NO_SLOTS):
        request["max_session_bytes"] = equal_bytes
    if kind.geometry == NO_SLOTS:
        request["session"]["shape"]["salient_tokens"] = 0
    if not kind.bounded:
        part = "window_tokens" if kind.geometry == FULL else "salient_tokens"
        request["session"]["shape"][part] = full_tokens + MARGIN_TOKENS
    return request


@dataclass(frozen=True)
class Compared:
    """A kind on a server: how its sessions are made and what they are like (both None where the text decides)."""

    kind: Kind
    request: dict
    session: dict

    @property
    def name(self):
        return self.kind.name

    def create(self, tokens):
        """The request for a session that is to take in `tokens`.

        It names the window that the bytes allow, not the bytes: these may change by a few where the window does not.
        """
        if self.request and "max_session_bytes" in self.request:
            return {"session": {"memory_kind": self.kind.memory_kind, "shape": dict(self.session["shape"])}}
        return self.request or create_request(self.kind, 0, tokens)


def comparable(served, sessions):
    """The kinds that make sense on a server.

    `served` holds the names of its memory kinds, `sessions` what CreateSession returned for each kind by name, where
    the geometry is known beforehand. Without a matrix, memgate without slots would be a window; an enlarged window that
    equals the own one needs no second row; and a server may not know how to leave out the slots.
    """
    for kind in KINDS:
        if kind.memory_kind not in served or (kind.geometry == NO_SLOTS and f"{kind.memory_kind}-slots" not in served):
            continue
        session = sessions.get(kind.name)
        if kind.geometry == NO_SLOTS and session["shape"].get("salient_tokens", 0) != 0:
            continue
        own = sessions.get(kind.name.removesuffix("-equal-bytes"))
        if own is not session and own["shape"] == session["shape"]:
            continue
        yield kind
