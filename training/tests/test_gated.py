import unittest

import torch

from training.gated import MemoryShape, ParallelGatedAttention, Retention, StreamingAttention, folded_tokens
from training.model import Config, Llama

CONFIG = Config(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, head_dim=16)
SHAPE = MemoryShape(sinks=3, window=20, segment=8, salient=12)


class FoldedTokensTest(unittest.TestCase):
    def test_follows_the_table(self):
        table = {0: 0, 22: 0, 23: 0, 30: 0, 31: 8, 38: 8, 39: 16, 103: 80}
        for position, folded in table.items():
            self.assertEqual(folded_tokens(SHAPE, position), folded, position)

    def test_the_window_holds_more_than_w_and_at_most_w_plus_p_tokens(self):
        for t in range(SHAPE.sinks + SHAPE.window, 400):
            window = t + 1 - SHAPE.sinks - folded_tokens(SHAPE, t)
            self.assertTrue(SHAPE.window < window <= SHAPE.window + SHAPE.segment)


class GatedAttentionTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)
        self.model = Llama(CONFIG).requires_grad_(False)
        self.retention = Retention(CONFIG).requires_grad_(False)
        self.retention.weight.normal_()
        self.ids = torch.randint(0, 50, (2, 150))

    def stream(self, shape, chunk, retention=None):
        session = StreamingAttention(self.model, shape, retention or self.retention, batch=2)
        return torch.cat([session.feed(self.ids[:, i : i + chunk]) for i in range(0, 150, chunk)], dim=1)

    def test_streaming_equals_parallel_with_the_same_slots(self):
        parallel = ParallelGatedAttention(CONFIG, SHAPE, 150, self.retention, slots=SHAPE.salient)
        expected = self.model(self.ids, parallel)
        torch.testing.assert_close(self.stream(SHAPE, 150), expected, atol=2e-5, rtol=1e-4)

    def test_streaming_equals_parallel_that_keeps_all_when_slots_are_many(self):
        shape = MemoryShape(SHAPE.sinks, SHAPE.window, SHAPE.segment, 1000)
        keep_all = Retention(CONFIG, bias=1e4).requires_grad_(False)
        expected = self.model(self.ids, ParallelGatedAttention(CONFIG, shape, 150, keep_all))
        torch.testing.assert_close(self.stream(shape, 150), expected, atol=2e-5, rtol=1e-4)

    def test_chunks_do_not_matter(self):
        whole = self.stream(SHAPE, 150)
        for chunk in (1, 7, 64):
            torch.testing.assert_close(self.stream(SHAPE, chunk), whole, atol=2e-5, rtol=1e-4)

    def test_is_exact_attention_until_something_folds(self):
        first_folded = SHAPE.sinks + SHAPE.window + SHAPE.segment
        torch.testing.assert_close(self.stream(SHAPE, 5)[:, :first_folded], self.model(self.ids[:, :first_folded]),
                                   atol=2e-5, rtol=1e-4)

    def test_of_equal_scores_the_older_stay(self):
        equal = Retention(CONFIG).requires_grad_(False)
        session = StreamingAttention(self.model, SHAPE, equal, batch=2)
        session.feed(self.ids[:, :60])
        early = session.layers[0].slot_k.clone()
        session.feed(self.ids[:, 60:])
        torch.testing.assert_close(session.layers[0].slot_k, early)

    def test_state_has_a_constant_size(self):
        session = StreamingAttention(self.model, SHAPE, self.retention, batch=2)
        for i in range(0, 150, 10):
            session.feed(self.ids[:, i : i + 10])
            state = session.layers[0]
            held = sum(x.shape[-2] for x in (state.sink_k, state.slot_k, state.window_k))
            self.assertLessEqual(held, SHAPE.total)


if __name__ == "__main__":
    unittest.main()
