"""What a new module starts from, where something is known already: maps of another module, scores of its own slots."""

import torch

from training.gated import StreamingAttention

WRITTEN_SHARE = 0.025  # of all tokens: those that a new matrix writes at more than half strength
SHARPNESS = 6.0        # logit of the strength, below zero, of a token with the median score


@torch.no_grad()
def take_maps(rule, donor):
    """Feature maps and gates of `donor`, an `infini` rule on the same base, as the start of `rule`.

    `memgate` has one map for both signs of x where the donor has two: it gets their mean, and the gates as gains.
    ValueError if the widths differ.
    """
    widths = 2 if rule.kind == "memgate" else getattr(rule, "expansion", 0)
    if not donor.kind.startswith("infini") or not widths or donor.expansion != widths:
        raise ValueError(f"maps of {donor.kind} with {donor.expansion} features per dimension do not fit {rule.kind}")
    if rule.kind != "memgate":
        for name in ("beta", "key_scale", "key_shift", "query_scale", "query_shift"):
            getattr(rule, name).copy_(getattr(donor, name))
        return
    for name in ("key_scale", "key_shift", "query_scale", "query_shift"):
        positive, negative = getattr(donor, name).chunk(2, dim=-1)
        getattr(rule.matrix, name).copy_((positive - negative) / 2)
    rule.matrix.gain.copy_(donor.beta.sigmoid())


@torch.no_grad()
def write_by_score(model, rule, shape, ids):
    """Write strengths of a new `memgate` matrix that follow the trained retention scores.

    What nearly got a slot is written, the rest hardly: per KV head, on the tokens `ids` [B, T], the strength is 1/2 at
    the score that a share WRITTEN_SHARE exceeds, and sigmoid(-SHARPNESS) at the median score.
    """
    session, scores = StreamingAttention(model, shape, rule, len(ids)), {}

    def record(layer, h, q, k, v):
        scores[layer] = rule.retention(layer, h).transpose(0, 1).flatten(1)  # [G, B * T]
        return session(layer, h, q, k, v)

    model.hidden(ids, record)
    for layer, of_heads in scores.items():
        half = of_heads.quantile(1 - WRITTEN_SHARE, dim=-1)
        steepness = SHARPNESS / (half - of_heads.median(dim=-1).values).clamp(min=1e-6)
        rule.matrix.write_weight[layer] = steepness[:, None] * rule.retention.weight[layer]
        rule.matrix.write_bias[layer] = steepness * (rule.retention.bias[layer] - half)
