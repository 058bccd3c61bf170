"""Claims about training/cotrain.py."""

import random
import unittest

import torch
from torch.nn import functional

from training import cotrain
from training.gated import MemoryShape, StreamingAttention
from training.memory_module import make_rule
from training.rules.infini import write_unit_delta
from training.tests.support import random_model


class WriteRepeatedlyTest(unittest.TestCase):
    def test_equals_writing_again_and_again(self):
        torch.manual_seed(1)
        phi = functional.normalize(torch.rand(1, 2, 5, 8), dim=-1)
        v, matrix = torch.randn(1, 2, 5, 3), torch.randn(1, 2, 8, 3)
        expected = matrix
        for _ in range(8):
            expected = write_unit_delta(phi, v, expected)
        self.assertLess((cotrain.write_repeatedly(phi, v, matrix, 3) - expected).abs().max(), 1e-5)
        self.assertGreater((expected - write_unit_delta(phi, v, matrix)).abs().max(), 1e-2)


class EndlessFillerTest(unittest.TestCase):
    def test_only_queries_after_the_last_fold_see_the_repeated_noise(self):
        torch.manual_seed(2)
        model = random_model()
        rule = make_rule("infini-delta", model.config, 0, "length")
        with torch.no_grad():
            rule.beta.fill_(1.0)
        rng = random.Random(3)
        ids = torch.tensor([[rng.randrange(model.config.vocab_size) for _ in range(4)] * 10 + [1, 2, 3]])
        shape = MemoryShape(2, 12, 4, 0)
        plain = StreamingAttention(model, shape, rule)
        endless = cotrain.EndlessFiller(model, shape, rule, shape.far_distance, 4, 40, 2)
        before, after = plain.feed(ids), endless.feed(ids)
        changed = (before - after).abs().amax(-1)[0] > 0
        first = 2 + 12 + cotrain.folded_tokens(shape, 40)
        self.assertFalse(changed[:first].any())
        self.assertTrue(changed[first + 1 :].all())


if __name__ == "__main__":
    unittest.main()
