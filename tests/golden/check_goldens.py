"""Checks make_goldens.py by a second route and against its own claims. Needs PyTorch, nothing of memgate.

    python3 tests/golden/check_goldens.py

For each module: a session that takes in one token after another, with a state, gives the same logits to 1e-10; they are
those of plain attention until the first fold and differ from those of a session without the module afterwards; the
committed files are what the script computes; and no two unequal retention scores that compete for the last slot are so
close that float32 could swap them.
"""

import json
import math
import sys

import torch

import make_goldens as goldens
from make_goldens import rms_norm, rotate


def turned(x, position, freq):
    """x [D] rotated to a position."""
    return rotate(x[None], torch.tensor([position], dtype=torch.float64), freq)[0]


class Session:
    """One layer and query head. A token enters, the oldest may leave, the newest query reads."""

    def __init__(self, kind, shape, clamped, write, rescore):
        self.kind, self.shape, self.clamped, self.write, self.rescore = kind, shape, clamped, write, rescore
        self.sinks, self.slots, self.window, self.folds, self.margin = [], [], [], 0, math.inf

    def enter(self, token):
        sinks, window, segment, _ = self.shape
        if len(self.sinks) < sinks:
            self.sinks.append(token)
            return
        if len(self.window) == window + segment:
            self.fold()
        self.window.append(token)

    def fold(self):
        _, _, segment, salient = self.shape
        leaving, self.window = self.window[:segment], self.window[segment:]
        self.folds += 1
        for token in leaving:
            token["score"] = self.rescore(token)
        ranked = sorted(self.slots + leaving, key=lambda token: (-token["score"], token["position"]))
        if 0 < salient < len(ranked):
            gap = ranked[salient - 1]["score"] - ranked[salient]["score"]
            self.margin = min(self.margin, gap or math.inf)  # equal tokens are equal in every precision
        self.slots = ranked[:salient]
        losers = sorted(ranked[salient:], key=lambda token: token["position"])
        if losers:
            self.write(losers)

    def attend(self, q, position, freq):
        far = self.sinks + self.slots if self.folds and self.clamped else []
        near = self.window if far else self.sinks + self.window
        near_q, far_q = turned(q, position, freq), turned(q, self.shape[1] + self.shape[2], freq)
        scores = [far_q @ token["k"] for token in far]
        scores += [near_q @ turned(token["k"], token["position"], freq) for token in near]
        weights = (torch.stack(scores) / math.sqrt(len(q))).softmax(0)
        return weights @ torch.stack([token["v"] for token in far + near])


class StreamedAttention:
    """The same attention as goldens.BoundedAttention, token by token, a session per layer and query head."""

    def __init__(self, definition):
        self.definition, self.margin, self.folds = definition, math.inf, 0

    def __call__(self, layer, h, q, k, v, freq):
        mark = f"layers.{layer}."
        w = {n.split(mark)[1]: t.double() for n, t in self.definition.tensors.items() if mark in n}
        out = [self.run(w, head, h, q[head], k[head], v[head], q.shape[0], freq) for head in range(q.shape[0])]
        return torch.stack(out)

    def run(self, w, head, h, q, k, v, heads, freq):
        """One query head over all tokens, [T, D]."""
        kind, shape, d = self.definition.kind, self.definition.shape, q.shape[1]
        ahn = kind in ("GatedDeltaNet", "DeltaNet")

        def own(name):  # the row of this query head, or of its KV head
            t = w[name]
            return t[head * len(t) // heads]

        elu = lambda x: torch.nn.functional.elu(x) + 1
        scaled = lambda x, part, side: x * own(f"{part}.{side}_scale") + own(f"{part}.{side}_shift")
        unit = lambda x: x / torch.sqrt((x * x).sum() + 1e-6)

        def features(x, at, side):
            if kind.startswith("memgate"):
                u = scaled(x, "matrix", side) if kind == "memgate" else x
                c = torch.cat((u.clamp(min=0), -u.clamp(max=0)))
                return c / max(c.norm().item(), 1e-6)
            if ahn:
                return unit(turned(x, at, freq)) / (math.sqrt(d) if side == "query" else 1)
            if kind == "edgeinfinite":
                return elu(turned(x, at, freq))
            if "infini.key_scale" not in w:
                return elu(x)
            a = elu(scaled(x.repeat(len(own("infini.key_scale")) // d), "infini", side))
            return a / max(a.norm().item(), 1e-6) if self.definition.normaliser == "length" else a

        def rates(t):
            """Write strength and what is kept of the rest."""
            if kind == "memgate-untrained":
                return goldens.WRITE_STRENGTH, 1.0
            if kind == "memgate":
                strength = torch.sigmoid(own("matrix.write_weight") @ h[t] + own("matrix.write_bias"))
                return strength, torch.exp(-torch.exp(own("matrix.decay")) * strength)
            strength = torch.sigmoid(own("ahn.fn.b_proj.weight") @ h[t])
            if kind == "DeltaNet":
                return strength, 1.0
            rate = torch.nn.functional.softplus(own("ahn.fn.a_proj.weight") @ h[t] + own("ahn.fn.dt_bias"))
            return strength, torch.exp(-torch.exp(own("ahn.fn.A_log")) * rate)

        size = 2 * d if kind.startswith("memgate") else len(own("infini.key_scale")) if "infini.key_scale" in w else d
        state = {"m": torch.zeros(size, d).double(), "z": torch.zeros(size).double(), "tokens": 0}
        recall = lambda a: a @ state["m"] / (a @ state["z"] + goldens.EPSILON)

        def write(tokens):
            state["tokens"] += len(tokens)
            if kind == "memgate" and "matrix.gain" not in w:
                return
            phi = [features(token["k"], token["position"], "key") for token in tokens]
            if kind.startswith("memgate") or ahn:
                for a, token in zip(phi, tokens):
                    strength, keep = rates(token["position"])
                    state["m"] = keep * state["m"]
                    state["m"] = state["m"] + torch.outer(a, strength * (token["v"] - a @ state["m"]))
            elif self.definition.normaliser == "length":
                for a, token in zip(phi, tokens):
                    state["m"] = state["m"] + torch.outer(a, token["v"] - a @ state["m"])
            else:
                delta = kind == "infini-delta"
                update = sum(torch.outer(a, token["v"] - (recall(a) if delta else 0)) for a, token in zip(phi, tokens))
                state["m"], state["z"] = state["m"] + update, state["z"] + sum(phi)

        def rescore(token):
            """The score once the token leaves."""
            if kind != "memgate-untrained":
                return token["score"]
            error = token["v"] - features(token["k"], token["position"], "key") @ state["m"]
            return float(error @ error)

        session = Session(kind, shape, not ahn, write, rescore)
        out = []
        for t in range(len(q)):
            score = own("retention.weight") @ h[t] + own("retention.bias") if kind == "memgate" else 0.0
            session.enter({"position": t, "k": k[t], "v": v[t], "score": float(score)})
            y = session.attend(q[t], t, freq)
            if state["tokens"] == 0 or (kind.startswith("memgate") and "matrix.gain" not in w):
                out.append(y)
                continue
            asked = q[t] @ own("ahn.fn.q_proj.weight") if "ahn.fn.q_proj.weight" in w else q[t]
            a = features(asked, t, "query")
            if kind == "memgate":
                y = y + own("matrix.gain") * (a @ state["m"])
            elif ahn:
                gate = own("ahn.fn.g_proj.weight") @ h[t]
                part = rms_norm(a @ state["m"], w["ahn.fn.o_norm.weight"], goldens.AHN_NORM_EPSILON)
                part = (part * gate * torch.sigmoid(gate)) @ own("ahn.fn.o_proj.weight")
                if "ahn_router.alpha" in w:
                    ratio = math.log(state["tokens"] / (shape[1] + shape[2]))
                    part = part * torch.sigmoid(own("ahn_router.alpha") * ratio + own("ahn_router.beta"))
                y = y + part
            elif kind == "edgeinfinite":
                inner = (own("edgeinfinite.w1") @ recall(a)).clamp(min=0)
                y = y + torch.sigmoid(own("edgeinfinite.gate")) * (own("edgeinfinite.w2") @ inner)
            else:
                gate = torch.sigmoid(own("infini.beta"))
                recalled = a @ state["m"] if self.definition.normaliser == "length" else recall(a)
                y = gate * recalled + (1 - gate) * y
            out.append(y)
        self.margin, self.folds = min(self.margin, session.margin), session.folds
        return torch.stack(out)


def read_logits(path):
    with open(path, "rb") as f:
        data = f.read()
    size = int.from_bytes(data[:8], "little")
    entry = json.loads(data[8 : 8 + size])["logits"]
    begin, end = (8 + size + offset for offset in entry["data_offsets"])
    return torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).view(entry["shape"])


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


SWITCHES = {"memgate": "matrix.gain", "memgate-untrained": None, "edgeinfinite": "edgeinfinite.w2", "infini": None, "infini-delta": None,
            "GatedDeltaNet": "ahn.fn.o_proj.weight", "DeltaNet": "ahn.fn.o_proj.weight"}


def switched_off(definition):
    """The same session with a memory that adds nothing."""
    name = SWITCHES[definition.kind]
    value = lambda n, t: torch.full_like(t, -1e9) if n.endswith("infini.beta") else (
        torch.zeros_like(t) if name and n.endswith(name) else t)
    tensors = {n: value(n, t) for n, t in definition.tensors.items()}
    return goldens.BoundedAttention(definition.kind, definition.shape, tensors, definition.normaliser)


def exact_part(definition, heads):
    """The session without any module: `local_attention` alone, with the slots where there are some."""
    if definition.kind == "memgate-untrained":
        return definition

    def attention(layer, h, q, k, v, freq):
        salient = None
        if definition.kind == "memgate":
            weight, bias = (definition.tensors[f"layers.{layer}.retention.{n}"].double() for n in ("weight", "bias"))
            scores = (h @ weight.T + bias).T.repeat_interleave(heads // len(bias), 0)
            salient = goldens.retained(scores, definition.shape)[0]
        return goldens.local_attention(q, k, v, freq, definition.shape, salient, "Net" not in definition.kind)
    return attention


def check(name, made, config, model):
    tensors, ids, definition = made
    shape, tokens = definition.shape, len(ids)
    logits = goldens.logits_of(config, model, ids, definition)
    stream = StreamedAttention(definition)
    streamed = goldens.logits_of(config, model, ids, stream)
    plain = goldens.logits_of(config, model, ids)
    folder = f"{goldens.HERE}/{name}"
    with open(folder + "/golden.json", encoding="utf-8") as f:
        facts = json.load(f)
    positions = facts.get("positions", range(tokens))
    stored = read_logits(folder + "/golden.safetensors").double()
    first = sum(shape[:3])  # the query whose turn folds for the first time
    off = goldens.logits_of(config, model, ids, switched_off(definition))
    exact = goldens.logits_of(config, model, ids, exact_part(definition, config["num_attention_heads"]))
    has_memory = not definition.kind.startswith("memgate") or any("gain" in n for n in tensors)
    claims = {
        "stream": relative(streamed, logits) < 1e-10,
        "committed": facts["ids"] == ids and relative(stored, logits[list(positions)]) < 1e-6,
        "plain until the first fold": relative(logits[:first], plain[:first]) < 1e-12,
        "then not": relative(logits[first:], plain[first:]) > 1e-2,
        "switched off is the exact part": relative(off, exact) < 1e-12,
        "the memory matters": not has_memory or relative(logits[first:], exact[first:]) > 5e-2,
        "scores apart": stream.margin > 1e-4,
        "folds": stream.folds >= 12 and stream.folds == int(goldens.folded_tokens(shape, tokens)[-1]) // shape[2],
    }
    print(f"{name:18} folds {stream.folds:3}  stream {relative(streamed, logits):.1e}  memory "
          f"{relative(logits[first:], exact[first:]):.2f}  from plain {relative(logits[first:], plain[first:]):.2f}  "
          f"closest scores {stream.margin:.1e}  "
          + (", ".join("NOT " + claim for claim, holds in claims.items() if not holds) or "ok"))
    return all(claims.values())


def main():
    base, ahn_base = goldens.make_model(goldens.MODULE_BASE), goldens.make_model(goldens.AHN_BASE)
    good = [check(name, goldens.make_module(name, base[0]), *base) for name in goldens.MODULES]
    good += [check(name, goldens.make_untrained(name, base[0]), *base) for name in goldens.UNTRAINED]
    good += [check(name, goldens.make_ahn(name, ahn_base[0]), *ahn_base) for name in goldens.AHN_MODULES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
