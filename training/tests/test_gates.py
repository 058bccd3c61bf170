import contextlib
import io
import json
import os
import random
import tempfile
import unittest

import numpy as np
import torch

from training import gates
from training.data import ANSWER
from training.distillation import Objective, Targets, answer_targets, learn, next_token_scores, text_targets
from training.gated import MemoryShape, StreamingAttention
from training.memory_module import KINDS, load_module, make_rule
from training.model import CausalModel
from training.tests.support import CONFIG, random_model, randomise, write_model

SHAPE = MemoryShape(sinks=2, window=12, segment=4, salient=4)


class TrainingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.base = os.path.join(cls.folder.name, "base")
        os.mkdir(cls.base)
        write_model(cls.base)
        cls.ids = os.path.join(cls.folder.name, "ids.npy")
        np.save(cls.ids, np.random.default_rng(1).integers(0, CONFIG.vocab_size, 600))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def train(self, name, kind, *options, share=True):
        """(folder of the module, trained rule, what was printed)."""
        out = os.path.join(self.folder.name, name)
        argv = ["--model", self.base, "--kind", kind, "--token-ids", self.ids, "--out", out, "--lengths", "40", "64",
                "--batch", "2", "--sinks", "2", "--window", "12", "--segment", "4", "--salient", "4",
                "--soft-steps", "1", "--ranked-steps", "1", "--steps", "2", "--threads", "1", *options]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            rule = gates.main(argv + (["--allow-share"] if share else []))
        return out, rule, printed.getvalue()

    def test_every_kind_trains_its_module_alone(self):
        for kind in KINDS:
            out, rule, printed = self.train(kind, kind)
            self.assertIn("unchanged", printed)
            loaded, shape = load_module(out, CausalModel.load(self.base))
            self.assertEqual((loaded.kind, shape.window), (kind, 12))
            torch.manual_seed(1)
            start = make_rule(kind, CONFIG, sum(p.numel() for p in random_model().parameters()))
            for (name, new), old in zip(loaded.named_parameters(), start.parameters()):
                moved = not torch.equal(new, old)
                # What lies behind a zero output gets its first gradient once that has moved.
                self.assertTrue(moved or name in ("w1", "gate"), f"{kind} {name}")
            self.assertTrue(os.path.getsize(f"{out}/training.png") > 1000)

    def test_layerwise_training_moves_every_layer(self):
        for kind in KINDS:
            _, rule, printed = self.train(f"local-{kind}", kind, "--local")
            self.assertIn("unchanged", printed)
            outward = {"memgate": rule.find("retention.weight") if kind == "memgate" else None,
                       "edgeinfinite": getattr(rule, "w2", None)}.get(kind, getattr(rule, "beta", None))
            for layer in outward.detach():
                self.assertGreater((layer - layer.flatten()[0]).abs().max().item(), 0, kind)

    def test_a_resumed_training_ends_like_one_that_was_never_interrupted(self):
        options = ("--steps", "4", "--save-every", "2", "--soft-steps", "0", "--ranked-steps", "0")
        _, whole, _ = self.train("whole", "infini-delta", *options)
        checkpoint = os.path.join(self.folder.name, "checkpoint.pt")
        real_step, taken = gates.Trainer.step, []

        def stop_after_three(trainer):
            if len(taken) == 3:
                raise KeyboardInterrupt
            taken.append(1)
            return real_step(trainer)

        gates.Trainer.step = stop_after_three
        try:
            with self.assertRaises(KeyboardInterrupt):
                self.train("parts", "infini-delta", *options, "--checkpoint", checkpoint)
        finally:
            gates.Trainer.step = real_step
        _, parts, printed = self.train("parts", "infini-delta", *options, "--checkpoint", checkpoint)
        self.assertIn("goes on after step 2", printed)
        for name, value in whole.state_dict().items():
            self.assertTrue(torch.equal(parts.state_dict()[name], value), name)
        with self.assertRaisesRegex(ValueError, "another training"):
            self.train("other", "infini", *options, "--checkpoint", checkpoint)

    def test_refuses_to_train_more_than_half_a_percent(self):
        with self.assertRaisesRegex(SystemExit, "0.5 %"):
            self.train("share", "memgate", share=False)

    def test_fixed_scales_stay(self):
        _, rule, printed = self.train("fixed", "infini-delta", "--fixed-scale")
        self.assertEqual(rule.key_scale.detach().abs().unique().tolist(), [1.0])
        self.assertGreater(rule.key_shift.detach().abs().max().item(), 0)

    def test_slots_get_a_matrix_that_starts_from_their_scores_and_keep_them(self):
        slots, _, _ = self.train("slots", "memgate", "--slots-only", "--steps", "0")
        donor, _, _ = self.train("donor", "infini-delta")
        out, rule, _ = self.train("matrix", "memgate", "--resume-module", slots, "--maps-from", donor, "--soft-steps", "0",
                                  "--ranked-steps", "0", "--fixed-maps", "--name", "notes")
        base = CausalModel.load(self.base)
        old, maps = load_module(slots, base)[0], load_module(donor, base)[0]
        self.assertTrue(torch.equal(rule.retention.weight, old.retention.weight))
        self.assertTrue(rule.matrix.write_weight.any())
        scale = (maps.key_scale[..., :16] - maps.key_scale[..., 16:]) / 2
        self.assertTrue(torch.equal(rule.matrix.key_scale, scale))
        with open(f"{out}/memory.json", encoding="utf-8") as f:
            self.assertEqual(json.load(f)["name"], "notes")

    def test_refuses_tokens_outside_the_vocabulary(self):
        wrong = os.path.join(self.folder.name, "wrong.bin")
        np.full(600, CONFIG.vocab_size, dtype="<u4").tofile(wrong)
        with self.assertRaisesRegex(ValueError, "not in the vocabulary"):
            self.train("wrong", "infini", "--token-ids", wrong)


class TargetsTest(unittest.TestCase):
    def setUp(self):
        self.model = random_model()
        self.ids = torch.randint(0, CONFIG.vocab_size, (2, 61), generator=torch.Generator().manual_seed(1))

    def test_far_tokens_are_beyond_the_window_and_better_explained_by_full_attention(self):
        with torch.no_grad():
            for layer in self.model.model.layers:  # so that the far context matters
                layer.self_attn.o_proj.weight *= 60
        targets = text_targets(self.model, SHAPE, 16, self.ids, Objective(far_nats=0.05, far_weight=7.0))
        full = self.model(self.ids[:, :-1]).log_softmax(-1).gather(-1, self.ids[:, 1:, None])[..., 0]
        session = StreamingAttention(self.model, SHAPE, None, 2)
        window = session.feed(self.ids[:, :-1]).log_softmax(-1).gather(-1, self.ids[:, 1:, None])[..., 0]
        beyond = torch.arange(60) >= SHAPE.first_folding
        far = beyond & (full - window > 0.05)
        self.assertTrue(0 < far.sum() < beyond.sum() * 2)
        self.assertTrue(torch.equal(targets.distilled, beyond.float() + 6 * far.float()))

    def test_scores_do_not_depend_on_the_block(self):
        hidden = self.model.hidden(self.ids[:, :-1])
        whole, right = next_token_scores(self.model, hidden, self.ids[:, 1:])
        parts, same = next_token_scores(self.model, hidden, self.ids[:, 1:], block=7)
        torch.testing.assert_close(parts, whole)
        self.assertTrue(torch.equal(right, same))

    def test_answers_of_a_log_are_predicted_and_the_rest_is_distilled(self):
        classes = torch.zeros(2, 61, dtype=torch.int8)
        classes[:, 50:54] = ANSWER
        targets = answer_targets(self.model, SHAPE, 16, self.ids, classes, Objective())
        self.assertEqual(targets.predicted.nonzero()[:, 1].unique().tolist(), [49, 50, 51, 52])
        self.assertEqual(targets.distilled.nonzero()[:, 1].unique().tolist(), [*range(18, 49), *range(53, 60)])

    def test_loss_does_not_depend_on_truncation_but_gradients_do(self):
        rule = randomise(make_rule("infini-delta", CONFIG, 10**6), 0.2).requires_grad_(True)
        targets = text_targets(self.model, SHAPE, 16, self.ids, Objective())
        outcomes = [learn(self.model, StreamingAttention(self.model, SHAPE, rule, 2), self.ids, targets, Objective(),
                          list(rule.parameters()), truncation=truncation) for truncation in (100, 3)]
        self.assertAlmostEqual(outcomes[0].loss, outcomes[1].loss, places=4)
        whole, truncated = (torch.cat([g.flatten() for g in outcome.gradients]) for outcome in outcomes)
        self.assertGreater((whole - truncated).norm().item(), 0.01 * whole.norm().item())

    def test_the_teachers_own_attention_has_no_divergence(self):
        targets = text_targets(self.model, SHAPE, 16, self.ids, Objective())
        wide = StreamingAttention(self.model, MemoryShape(2, 100, 4, 0), None, 2)
        outcome = learn(self.model, wide, self.ids, targets, Objective(next_token=0.0), [])
        self.assertAlmostEqual(outcome.loss, 0.0, places=5)
        self.assertEqual(outcome.recall, 1.0 if outcome.counted else 0.0)

    def test_loss_is_the_weighted_mean_of_divergence_and_cross_entropy(self):
        weights = torch.rand(2, 60)
        teacher = self.model.hidden(self.ids[:, :-1])
        targets = Targets(self.ids[:, 1:], weights, 1 - weights, torch.zeros(2, 60, dtype=torch.bool), teacher)
        rule = randomise(make_rule("infini", CONFIG, 10**6))
        scores = StreamingAttention(self.model, SHAPE, rule, 2).feed(self.ids[:, :-1]).log_softmax(-1)
        wanted = self.model(self.ids[:, :-1]).log_softmax(-1)
        divergence = (wanted.exp() * (wanted - scores)).sum(-1)
        cross_entropy = -scores.gather(-1, self.ids[:, 1:, None])[..., 0]
        expected = 0.7 * (weights * divergence).sum() / weights.sum()
        expected += 0.3 * ((1 - weights) * cross_entropy).sum() / (1 - weights).sum()
        outcome = learn(self.model, StreamingAttention(self.model, SHAPE, rule, 2), self.ids, targets,
                        Objective(0.7, 0.3), [])
        self.assertAlmostEqual(outcome.loss, expected.item(), places=4)


class ScheduleTest(unittest.TestCase):
    def test_drawn_shapes_write_often_and_fit(self):
        rng = random.Random(1)
        for tokens in (128, 512, 2048):
            for _ in range(200):
                shape = gates.draw_shape(rng, tokens, MemoryShape(4, 192, 64, 256), False, "matrix")
                self.assertGreaterEqual((tokens - shape.sinks - shape.window) // shape.segment, gates.WRITES)

    def test_lengths_grow_with_recall_or_with_time(self):
        rng, lengths = random.Random(1), gates.Lengths([256, 64, 128])
        self.assertEqual({lengths.draw(rng, 0.0) for _ in range(20)}, {64})
        for _ in range(40):
            lengths.update(1.0)
        self.assertIn(128, {lengths.draw(rng, 0.0) for _ in range(20)})
        late = gates.Lengths([64, 128, 256])
        self.assertIn(256, {late.draw(rng, 0.9) for _ in range(20)})


if __name__ == "__main__":
    unittest.main()
