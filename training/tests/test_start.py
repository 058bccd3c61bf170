"""Claims about training/start.py: what a new module takes over."""

import unittest

import torch

from training import start
from training.gated import MemoryShape, StreamingAttention
from training.memory_module import make_rule
from training.rules.infini import elu_map
from training.rules.memgate import Memgate
from training.tests.support import CONFIG, random_model, randomise

SHAPE = MemoryShape(sinks=2, window=12, segment=4, salient=4)


class TakeMapsTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.donor = randomise(make_rule("infini-delta", CONFIG, 0))

    def test_infini_kinds_take_them_as_they_are(self):
        rule = make_rule("infini", CONFIG, 0, expansion=2)
        start.take_maps(rule, self.donor)
        for name, value in rule.named_parameters():
            self.assertTrue(torch.equal(value, getattr(self.donor, name)), name)

    def test_memgate_sees_the_same_side_of_a_symmetric_map(self):
        with torch.no_grad():  # make the negative side the mirror of the positive one
            for name in ("key_scale", "key_shift"):
                value = getattr(self.donor, name)
                value[..., CONFIG.head_dim :] = -value[..., : CONFIG.head_dim]
        rule = Memgate(CONFIG)
        start.take_maps(rule, self.donor)
        x = torch.randn(20, CONFIG.head_dim)
        scale, shift = rule.matrix.key_scale[0, 0], rule.matrix.key_shift[0, 0]
        positive, negative = elu_map(x.repeat(1, 2), self.donor.key_scale[0, 0], self.donor.key_shift[0, 0]).chunk(2, -1)
        self.assertTrue(torch.equal(scale * x + shift > 0, positive > negative))
        self.assertTrue(torch.equal(rule.matrix.gain, self.donor.beta.sigmoid()))

    def test_refuses_maps_of_another_width(self):
        with self.assertRaisesRegex(ValueError, "do not fit"):
            start.take_maps(make_rule("infini", CONFIG, 0, expansion=1), self.donor)
        with self.assertRaisesRegex(ValueError, "do not fit"):
            start.take_maps(make_rule("edgeinfinite", CONFIG, 10**6), self.donor)


class WriteByScoreTest(unittest.TestCase):
    def test_strength_follows_the_score_and_is_half_for_few(self):
        torch.manual_seed(2)
        model = random_model()
        rule = Memgate(CONFIG)
        with torch.no_grad():
            rule.retention.weight.normal_()
        ids = torch.randint(0, CONFIG.vocab_size, (2, 200))
        start.write_by_score(model, rule, SHAPE, ids)
        h = torch.randn(1, 500, CONFIG.hidden_size)
        for layer in range(CONFIG.num_hidden_layers):
            score, logit = rule.features(layer, h).unbind(-1)
            self.assertTrue(torch.equal(score.argsort(-1), logit.argsort(-1)))

        session, strengths = StreamingAttention(model, SHAPE, rule, len(ids)), []

        def record(layer, h, *qkv):
            strengths.append(rule.features(layer, h)[..., 1].sigmoid())
            return session(layer, h, *qkv)

        model.hidden(ids, record)
        written = (strengths[-1] > 0.5).float().mean(dim=(0, 2))  # inputs of the first layer repeat
        torch.testing.assert_close(written, torch.full_like(written, start.WRITTEN_SHARE), atol=0.005, rtol=0)


if __name__ == "__main__":
    unittest.main()
