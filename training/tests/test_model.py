import json
import math
import os
import tempfile
import unittest

import torch

from training import safetensors_io
from training.model import CausalModel, Config
from training.tests.support import GOLDEN

FOLDERS = ("llama2", "llama3", "llama_linear_rope", "mistral", "qwen2", "qwen3", "phi3", "smollm3", "gemma2", "gemma3")


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class CausalModelTest(unittest.TestCase):
    def test_has_the_logits_of_an_independent_implementation_for_every_architecture(self):
        for name in FOLDERS:
            model = CausalModel.load(f"{GOLDEN}/{name}").requires_grad_(False)
            longest = model.config.max_position_embeddings  # 16 and 12 tokens of the Gemmas, whose layers have windows
            expected = torch.from_numpy(safetensors_io.load(f"{GOLDEN}/{name}/golden.safetensors")["logits"])[:longest]
            ids = read_json(f"{GOLDEN}/{name}/golden.json")["ids"][:longest]
            logits = model(torch.tensor([ids]))[0]
            torch.testing.assert_close(logits, expected, atol=1e-5 * expected.abs().max().item(), rtol=0, msg=name)

    def test_fingerprint_of_loaded_parameters_is_that_of_the_file(self):
        for name in ("llama2", "llama_linear_rope", "qwen2", "gemma3"):  # F32, F16, BF16, names with a prefix
            model = CausalModel.load(f"{GOLDEN}/{name}")
            self.assertEqual(model.fingerprint(), safetensors_io.fingerprint(
                safetensors_io.read(f"{GOLDEN}/{name}/model.safetensors")))
            with torch.no_grad():
                model.model.norm.weight[0] += 1
            self.assertNotEqual(model.fingerprint(), safetensors_io.fingerprint(model.stored))

    def test_fingerprint_of_norms_is_the_one_the_engine_computes(self):
        for name, expected in read_json(f"{GOLDEN}/norms.json").items():
            model = CausalModel.load(f"{GOLDEN}/{name}").requires_grad_(False)
            self.assertEqual(model.norms_fingerprint(), expected, name)
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter += 1
            self.assertEqual(model.norms_fingerprint(), expected, "matrices may be stored otherwise")
            model.model.layers[-1].input_layernorm.weight[-1] += 1
            self.assertNotEqual(model.norms_fingerprint(), expected, name)

    def test_untrained_norms_have_no_fingerprint(self):
        model = CausalModel.load(f"{GOLDEN}/qwen3").requires_grad_(False)
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1)
        self.assertIsNone(model.norms_fingerprint())
        self.assertEqual(set(model.base_keys()), {"base_fingerprint"})

    def test_shards_load_like_one_file(self):
        whole = CausalModel.load(f"{GOLDEN}/qwen2")
        tensors = whole.tensors()
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.abspath(f"{GOLDEN}/qwen2/config.json"), f"{folder}/config.json")
            shards = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(sorted(tensors))}
            for file in set(shards.values()):
                safetensors_io.save(f"{folder}/{file}", {n: tensors[n] for n in tensors if shards[n] == file})
            with open(f"{folder}/model.safetensors.index.json", "w", encoding="utf-8") as f:
                json.dump({"weight_map": shards}, f)
            sharded = CausalModel.load(folder)
        for (name, p), q in zip(whole.named_parameters(), sharded.parameters()):
            self.assertTrue(torch.equal(p, q), name)

    def test_a_missing_tensor_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.abspath(f"{GOLDEN}/llama2/config.json"), f"{folder}/config.json")
            tensors = CausalModel.load(f"{GOLDEN}/llama2").tensors()
            del tensors["model.layers.1.mlp.up_proj.weight"]
            safetensors_io.save(f"{folder}/model.safetensors", tensors)
            with self.assertRaisesRegex(ValueError, "model.layers.1.mlp.up_proj.weight"):
                CausalModel.load(folder)


class ConfigTest(unittest.TestCase):
    def test_refuses_what_it_would_compute_wrongly(self):
        good = read_json(f"{GOLDEN}/llama2/config.json")
        for change, named in (({"architectures": ["GemmaForCausalLM"]}, "GemmaForCausalLM"),
                              ({"attention_bias": True}, "attention_bias"), ({"hidden_act": "gelu"}, "hidden_act"),
                              ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
                              ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
                              ({"quantization_config": {"bits": 4}}, "quantization_config")):
            with self.assertRaisesRegex(ValueError, named):
                Config.from_json({**good, **change})

    def test_a_sliding_window_bounds_the_context(self):
        mistral = read_json(f"{GOLDEN}/mistral/config.json")
        self.assertEqual(Config.from_json(mistral).max_position_embeddings, 512)
        self.assertEqual(Config.from_json({**mistral, "sliding_window": 100}).max_position_embeddings, 100)
        qwen = read_json(f"{GOLDEN}/qwen2/config.json")
        self.assertEqual(Config.from_json({**qwen, "sliding_window": 100}).max_position_embeddings, 512)

    def test_longrope_bounds_the_context_by_that_of_its_short_factors(self):
        phi = Config.load(f"{GOLDEN}/phi3/config.json")
        self.assertEqual(phi.max_position_embeddings, 64)
        self.assertAlmostEqual(phi.score_scale, (1 + math.log(8) / math.log(64)) / math.sqrt(6))

    def test_a_cap_that_is_null_is_none(self):
        gemma = read_json(f"{GOLDEN}/gemma2/config.json")
        self.assertEqual(Config.from_json(gemma).score_cap, 2.0)
        self.assertIsNone(Config.from_json({**gemma, "attn_logit_softcapping": None}).score_cap)
        del gemma["attn_logit_softcapping"]
        self.assertEqual(Config.from_json(gemma).score_cap, 50.0)

    def test_newer_files_keep_rope_in_one_place(self):
        old = read_json(f"{GOLDEN}/llama3/config.json")
        new = {**old, "rope_parameters": {**old["rope_scaling"], "rope_theta": old["rope_theta"]}}
        del new["rope_scaling"], new["rope_theta"]
        self.assertEqual(Config.from_json(new).rope_theta, Config.from_json(old).rope_theta)
        self.assertEqual(Config.from_json(new).rope_scaling["factor"], 8.0)


if __name__ == "__main__":
    unittest.main()
