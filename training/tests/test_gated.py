import unittest

import torch

from training.gated import MemoryShape, ParallelGatedAttention, StreamingAttention, folded_tokens
from training.rules.memgate import Memgate
from training.tests.support import CONFIG, random_model

SHAPE = MemoryShape(sinks=3, window=20, segment=8, salient=12)


def slots_only():
    return Memgate(CONFIG, matrix=False).requires_grad_(False)


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
        self.model = random_model()
        self.rule = slots_only()
        self.retention = self.rule.retention
        self.retention.weight.normal_()
        self.ids = torch.randint(0, 50, (2, 150))

    def stream(self, shape, chunk, rule=None, **options):
        session = StreamingAttention(self.model, shape, rule or self.rule, batch=2, **options)
        return torch.cat([session.feed(self.ids[:, i : i + chunk]) for i in range(0, 150, chunk)], dim=1)

    def test_streaming_equals_parallel_with_the_same_slots(self):
        parallel = ParallelGatedAttention(CONFIG, SHAPE, 150, self.retention, slots=SHAPE.salient)
        expected = self.model(self.ids, parallel)
        torch.testing.assert_close(self.stream(SHAPE, 150), expected, atol=2e-5, rtol=1e-4)

    def test_streaming_equals_parallel_that_keeps_all_when_slots_are_many(self):
        shape = MemoryShape(SHAPE.sinks, SHAPE.window, SHAPE.segment, 1000)
        keep_all = slots_only()
        keep_all.retention.bias.fill_(1e4)
        expected = self.model(self.ids, ParallelGatedAttention(CONFIG, shape, 150, keep_all.retention))
        torch.testing.assert_close(self.stream(shape, 150), expected, atol=2e-5, rtol=1e-4)

    def test_tokens_without_a_slot_stay_visible_at_the_same_penalty_in_both(self):
        parallel = ParallelGatedAttention(CONFIG, SHAPE, 150, self.retention, SHAPE.salient, sharpness=2.0)
        streamed = self.stream(SHAPE, 40, sharpness=2.0)
        torch.testing.assert_close(streamed, self.model(self.ids, parallel), atol=2e-5, rtol=1e-4)
        self.assertGreater((streamed - self.stream(SHAPE, 40)).abs().max().item(), 1e-3)

    def test_a_far_distance_of_its_own_is_used_by_both(self):
        parallel = ParallelGatedAttention(CONFIG, SHAPE, 150, self.retention, SHAPE.salient, far_distance=70)
        streamed = self.stream(SHAPE, 150, far_distance=70)
        torch.testing.assert_close(streamed, self.model(self.ids, parallel), atol=2e-5, rtol=1e-4)

    def test_a_fork_goes_its_own_way(self):
        session = StreamingAttention(self.model, SHAPE, self.rule, batch=2)
        session.feed(self.ids[:, :90])
        twin = session.fork()
        twin.feed(self.ids[:, 50:])
        self.assertTrue(torch.equal(session.feed(self.ids[:, 90:]), self.stream_from(90)))

    def stream_from(self, position):
        session = StreamingAttention(self.model, SHAPE, self.rule, batch=2)
        session.feed(self.ids[:, :position])
        return session.feed(self.ids[:, position:])

    def test_chunks_do_not_matter(self):
        whole = self.stream(SHAPE, 150)
        for chunk in (1, 7, 64):
            torch.testing.assert_close(self.stream(SHAPE, chunk), whole, atol=2e-5, rtol=1e-4)

    def test_is_exact_attention_until_something_folds(self):
        first_folded = SHAPE.sinks + SHAPE.window + SHAPE.segment
        torch.testing.assert_close(self.stream(SHAPE, 5)[:, :first_folded], self.model(self.ids[:, :first_folded]),
                                   atol=2e-5, rtol=1e-4)

    def test_of_equal_scores_the_older_stay(self):
        equal = slots_only()
        session = StreamingAttention(self.model, SHAPE, equal, batch=2)
        session.feed(self.ids[:, :60])
        early = session.layers[0].slots.k.clone()
        session.feed(self.ids[:, 60:])
        torch.testing.assert_close(session.layers[0].slots.k, early)

    def test_state_has_a_constant_size(self):
        session = StreamingAttention(self.model, SHAPE, self.rule, batch=2)
        for i in range(0, 150, 10):
            session.feed(self.ids[:, i : i + 10])
            state = session.layers[0]
            self.assertLessEqual(len(state.sinks) + len(state.slots) + len(state.window), SHAPE.total)


if __name__ == "__main__":
    unittest.main()
