import json
import os
import tempfile
import unittest

import numpy as np
import torch

from training import safetensors_io
from training.gated import MemoryShape, StreamingAttention
from training.memory_module import KINDS, load_module, make_rule, save_module
from training.model import CausalModel
from training.rules import infini
from training.rules.edgeinfinite import inner_width
from training.rules.memgate import Memgate, write_gated_delta
from training.tests.support import CONFIG, GOLDEN, random_model, randomise

SHAPE = MemoryShape(sinks=3, window=20, segment=8, salient=6)
GOLDEN_MODULES = ("memgate", "memgate_matrix", "memgate_no_slots", "infini", "infini_delta", "infini_scaled",
                  "infini_length", "edgeinfinite")


def variants():
    """(name, an untrained rule) of every kind."""
    yield from ((kind, make_rule(kind, CONFIG, 10**6)) for kind in KINDS)
    yield "sum", make_rule("infini-delta", CONFIG, 10**6, normaliser="sum", expansion=3)
    yield "without maps", make_rule("infini", CONFIG, 10**6, expansion=0)


class GoldenModuleTest(unittest.TestCase):
    def test_streaming_has_the_logits_of_an_independent_implementation_for_every_kind(self):
        for name in GOLDEN_MODULES:
            with open(f"{GOLDEN}/{name}/golden.json", encoding="utf-8") as f:
                golden = json.load(f)
            model = CausalModel.load(f"{GOLDEN}/{golden['base']}").requires_grad_(False)
            rule, shape = load_module(f"{GOLDEN}/{name}", model)
            expected = torch.from_numpy(safetensors_io.load(f"{GOLDEN}/{name}/golden.safetensors")["logits"])
            logits = StreamingAttention(model, shape, rule).feed(torch.tensor([golden["ids"]]))[0]
            logits = logits[golden.get("positions", slice(None))]
            torch.testing.assert_close(logits, expected, atol=1e-5 * expected.abs().max().item(), rtol=0, msg=name)


class WriteTest(unittest.TestCase):
    """Writes of many tokens at once against the rule, token by token."""

    def setUp(self):
        torch.manual_seed(5)
        self.v = torch.randn(2, 3, 17, 4, dtype=torch.float64)
        self.matrix = torch.randn(2, 3, 6, 4, dtype=torch.float64)

    def test_gated_delta(self):
        phi = torch.nn.functional.normalize(torch.rand(2, 3, 17, 6, dtype=torch.float64), dim=-1)
        strength = torch.rand(2, 3, 17, dtype=torch.float64)
        log_decay = -torch.rand(2, 3, 17, dtype=torch.float64)
        expected = self.matrix.clone()
        for b, g in np.ndindex(2, 3):
            m = expected[b, g]
            for t in range(17):
                m *= log_decay[b, g, t].exp()
                error = self.v[b, g, t] - phi[b, g, t] @ m
                m += torch.outer(phi[b, g, t], strength[b, g, t] * error)
        torch.testing.assert_close(write_gated_delta(phi, self.v, strength, log_decay, self.matrix), expected)

    def test_unit_delta(self):
        phi = torch.nn.functional.normalize(torch.rand(2, 3, 17, 6, dtype=torch.float64), dim=-1)
        expected = self.matrix.clone()
        for b, g in np.ndindex(2, 3):
            for t in range(17):
                p = phi[b, g, t]
                expected[b, g] += torch.outer(p, self.v[b, g, t] - p @ expected[b, g])
        torch.testing.assert_close(infini.write_unit_delta(phi, self.v, self.matrix), expected)


class RuleTest(unittest.TestCase):
    def setUp(self):
        self.model = random_model()
        self.ids = torch.randint(0, 50, (2, 120))

    def stream(self, rule, chunk=120):
        session = StreamingAttention(self.model, SHAPE, rule, batch=2)
        return torch.cat([session.feed(part) for part in self.ids.split(chunk, dim=1)], dim=1)

    def test_chunks_do_not_matter(self):
        for name, rule in variants():
            randomise(rule)
            torch.testing.assert_close(self.stream(rule, 7), self.stream(rule), atol=2e-5, rtol=1e-4, msg=name)

    def test_additive_kinds_start_as_the_identity(self):
        window = self.stream(None)
        torch.testing.assert_close(self.stream(make_rule("edgeinfinite", CONFIG, 10**6)), window)
        self.assertTrue(torch.equal(self.stream(Memgate(CONFIG)), self.stream(Memgate(CONFIG, matrix=False))))

    def test_trained_memories_change_the_output_only_beyond_the_first_writing(self):
        window = self.stream(None)
        first = SHAPE.first_folding
        for name, rule in variants():
            if name == "memgate":
                continue  # its slots count from the first folding as well, but not as a memory
            out = self.stream(randomise(rule))
            self.assertTrue(torch.equal(out[:, :first], window[:, :first]), name)
            self.assertGreater((out[:, first] - window[:, first]).abs().max().item(), 1e-4, name)

    def test_gradients_pass_through_writes_and_end_at_a_detach(self):
        for name, rule in variants():
            randomise(rule).requires_grad_(True)
            session = StreamingAttention(self.model, SHAPE, rule, batch=2)
            session.hidden(self.ids[:, :100])
            writes_are_trained = name not in ("edgeinfinite", "without maps")
            self.assertEqual(session.layers[0].memory[0].requires_grad, writes_are_trained, name)
            session.detach()
            self.assertFalse(any(part.requires_grad for state in session.layers for part in state.memory), name)
            loss = session.hidden(self.ids[:, 100:]).pow(2).sum()
            gradients = torch.autograd.grad(loss, list(rule.parameters()), allow_unused=True)
            self.assertGreater(sum(g.abs().sum().item() for g in gradients if g is not None), 0, name)

    def test_width_of_edgeinfinite_follows_the_share(self):
        for base in (10**6, 3 * 10**6, 10**8):
            width = inner_width(CONFIG, base)
            count = lambda w: CONFIG.num_hidden_layers * CONFIG.num_attention_heads * (2 * w * CONFIG.head_dim + 1)
            best = min(range(1, 2000), key=lambda w: abs(count(w) - 0.0015 * base))
            self.assertEqual(width, best)


class ModuleFileTest(unittest.TestCase):
    def setUp(self):
        self.model = random_model()
        self.model.model.norm.weight[0] = 2  # norms that are all one number have no fingerprint

    def test_every_kind_survives_a_round_trip(self):
        for name, rule in variants():
            randomise(rule)
            with tempfile.TemporaryDirectory() as folder:
                save_module(folder, rule, self.model.base_keys(), SHAPE)
                loaded, shape = load_module(folder, self.model)
                with open(f"{folder}/memory.json", encoding="utf-8") as f:
                    data = json.load(f)
            self.assertEqual(data["kind"], rule.kind)
            self.assertEqual(data["base_norms"], self.model.norms_fingerprint())
            self.assertEqual(shape, SHAPE)
            self.assertEqual(loaded.settings(), rule.settings())
            state = rule.state_dict()
            self.assertEqual(set(loaded.state_dict()), set(state))
            for key, value in loaded.state_dict().items():
                self.assertTrue(torch.equal(value, state[key]), (name, key))

    def test_refuses_another_base_and_other_tensors(self):
        with tempfile.TemporaryDirectory() as folder:
            rule = make_rule("infini", CONFIG, 10**6)
            save_module(folder, rule, self.model.base_keys(), SHAPE)
            with self.assertRaisesRegex(ValueError, "trained on sha256"):
                load_module(folder, random_model(seed=4))
            tensors = rule.tensors()
            del tensors["layers.1.infini.beta"]
            safetensors_io.save(os.path.join(folder, "memory.safetensors"), tensors)
            with self.assertRaisesRegex(ValueError, "layers.1.infini.beta is missing"):
                load_module(folder, self.model)


if __name__ == "__main__":
    unittest.main()
