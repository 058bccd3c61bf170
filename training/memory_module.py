"""Memory modules: a rule made by name, and kept as memory.json beside memory.safetensors."""

import json
import os

from training import safetensors_io
from training.gated import MemoryShape
from training.rules.edgeinfinite import EdgeInfinite, inner_width
from training.rules.infini import Infini
from training.rules.memgate import Memgate
from training.tokenizer import write_json

KINDS = ("memgate", "edgeinfinite", "infini", "infini-delta")


def make_rule(kind, config, base_parameters, normaliser=None, expansion=None, matrix=True, gate=None):
    """An untrained rule, which starts as the identity or close to it.

    base_parameters chooses the width of `edgeinfinite`. For the `infini` kinds: normaliser is "sum" unless given, for
    `infini-delta` "length"; expansion is K / D, unless given 1, for `infini-delta` 2. matrix is for `memgate`. gate is
    the start of the gates before the sigmoid.
    """
    start = {} if gate is None else {"gate": gate}
    if kind == "memgate":
        return Memgate(config, matrix)
    if kind == "edgeinfinite":
        return EdgeInfinite(config, inner_width(config, base_parameters), **start)
    if kind in ("infini", "infini-delta"):
        delta = kind == "infini-delta"
        expansion = (2 if delta else 1) if expansion is None else expansion
        return Infini(config, delta, normaliser or ("length" if delta else "sum"), expansion, **start)
    raise ValueError(f"memory kind {kind} does not exist; there are {', '.join(KINDS)}")


def save_module(folder, rule, base, shape, name=None):
    """Writes memory.safetensors and memory.json to `folder`.

    `base`: CausalModel.base_keys() of the model it was trained on; `name` replaces the kind's where modules are listed.
    """
    config, named = rule.config, {"name": name} if name else {}
    os.makedirs(folder, exist_ok=True)
    safetensors_io.save(f"{folder}/memory.safetensors", rule.tensors())
    write_json(f"{folder}/memory.json", {
        "format": "memgate-memory", "version": 1, "kind": rule.kind, **named, **base,
        "num_layers": config.num_hidden_layers, "hidden_size": config.hidden_size,
        "num_kv_heads": config.num_key_value_heads, "head_dim": config.head_dim, "sink_tokens": shape.sinks,
        "window_tokens": shape.window, "segment_tokens": shape.segment, "salient_tokens": shape.salient,
        **rule.settings()})


def load_module(folder, model):
    """(rule, shape) of `folder`, frozen; ValueError if it was not trained on `model`."""
    with open(f"{folder}/memory.json", encoding="utf-8") as f:
        data = json.load(f)
    expected, found = data["base_fingerprint"], model.fingerprint()
    if expected != found:
        raise ValueError(f"{folder}/memory.json: trained on {expected}, the model is {found}")
    tensors = safetensors_io.load(f"{folder}/memory.safetensors")
    rule = _rule_of(data, model.config, tensors)
    rule.read_tensors(tensors)
    shape = MemoryShape(*(data[f"{name}_tokens"] for name in ("sink", "window", "segment", "salient")))
    return rule.requires_grad_(False), shape


def _rule_of(data, config, tensors):
    """A rule with the optional parts that `tensors` holds."""
    kind, scale = data["kind"], tensors.get("layers.0.infini.key_scale")
    if kind == "edgeinfinite":
        return EdgeInfinite(config, tensors["layers.0.edgeinfinite.w1"].shape[1])
    expansion = 0 if scale is None else scale.shape[-1] // config.head_dim
    return make_rule(kind, config, 0, data.get("normaliser", "sum"), expansion, "layers.0.matrix.gain" in tensors)
