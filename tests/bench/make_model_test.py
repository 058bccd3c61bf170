"""Tests of the random models that the benchmark serves: folders of a shape, and the same weights as a GGUF file."""

import os
import struct
import tempfile
import unittest

import numpy as np

from tests.bench import gguf_writer, make_model
from tests.bench.shapes import SHAPES, TINY_GEOMETRY
from training import safetensors_io


def write_tiny(folder, shape="tiny-qwen2", seed=1):
    make_model.write_model(folder, SHAPES[shape], TINY_GEOMETRY, seed=seed)
    return folder


def files_of(folder):
    contents = {}
    for entry in os.scandir(folder):
        with open(entry.path, "rb") as f:
            contents[entry.name] = f.read()
    return contents


class GgufReader:
    """Reads what the format's description says, sharing no code with the writer."""

    SIMPLE = {4: "<I", 5: "<i", 6: "<f", 7: "<?"}

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.at = 0
        self.magic = self.take(4)
        self.version, count, pairs = self.number("<I"), self.number("<Q"), self.number("<Q")
        self.metadata = {self.string(): self.value(self.number("<I")) for _ in range(pairs)}
        infos = [self.info() for _ in range(count)]
        start = (self.at + 31) // 32 * 32
        self.tensors = {name: (kind, shape, self.data[start + offset:]) for name, shape, kind, offset in infos}
        self.ends = [start + offset for _, _, _, offset in infos]

    def take(self, count):
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self):
        return self.take(self.number("<Q")).decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            item, count = self.number("<I"), self.number("<Q")
            return [self.value(item) for _ in range(count)]
        return self.number(self.SIMPLE[kind])

    def info(self):
        name = self.string()
        shape = [self.number("<Q") for _ in range(self.number("<I"))]
        return name, tuple(reversed(shape)), self.number("<I"), self.number("<Q")

    def array(self, name):
        kind, shape, raw = self.tensors[name]
        count = int(np.prod(shape))
        if kind == 0:
            return np.frombuffer(raw, "<f4", count).reshape(shape)
        assert kind == 30, kind
        return (np.frombuffer(raw, "<u2", count).astype("<u4") << 16).view("<f4").reshape(shape)


class MakeModelTest(unittest.TestCase):
    def test_same_seed_writes_the_same_bytes_and_another_seed_others(self):
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b, tempfile.TemporaryDirectory() as c:
            first, again, other = (files_of(write_tiny(folder, seed=seed)) for folder, seed in ((a, 1), (b, 1), (c, 2)))
        self.assertEqual(first, again)
        self.assertNotEqual(first["model.safetensors"], other["model.safetensors"])

    def test_vocabulary_has_every_size_and_no_piece_twice(self):
        for size in (300, 512, 1500, 151_936):
            pieces, merges = make_model.vocabulary(size)
            self.assertEqual(len(pieces), size)
            self.assertEqual(len(set(pieces)), size)
            self.assertEqual(len(merges), size - 256 - len(make_model.SPECIAL_TOKENS))

    def test_shapes_have_the_published_number_of_parameters(self):
        tensors = {name: make_model.tensor_shapes(SHAPES[name]) for name in SHAPES}
        tensors["AHN-GDN"] = make_model.ahn_tensors(SHAPES["qwen2.5-3b"])
        for name, millions in (("qwen2.5-0.5b", 494.03), ("llama-3.2-1b", 1235.81), ("qwen2.5-3b", 3085.94),
                               ("AHN-GDN", 12.98)):
            counts = (np.prod(dimensions) for dimensions in tensors[name].values())
            self.assertAlmostEqual(sum(counts) / 1e6, millions, places=2)

    def test_shards_hold_what_one_file_would(self):
        with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts:
            shape = SHAPES["tiny-qwen2"]
            make_model.write_model(whole, shape, geometry=None)
            make_model.write_model(parts, shape, geometry=None, shard_bytes=50_000)
            shards = sorted(name for name in os.listdir(parts) if name.endswith(".safetensors"))
            self.assertEqual(shards[0], f"model-00001-of-{len(shards):05}.safetensors")
            self.assertGreater(len(shards), 2)
            expected, found = (safetensors_io.read_folder(folder) for folder in (whole, parts))
            self.assertEqual(safetensors_io.fingerprint(expected), safetensors_io.fingerprint(found))
            self.assertEqual(expected.keys(), found.keys())


class GgufWriterTest(unittest.TestCase):
    def written(self, shape):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.gguf")
            gguf_writer.convert(write_tiny(folder, shape), path)
            return GgufReader(path), safetensors_io.load(os.path.join(folder, "model.safetensors"))

    def test_file_holds_every_tensor_of_the_folder_at_aligned_places(self):
        file, tensors = self.written("tiny-qwen2")
        self.assertEqual((file.magic, file.version), (b"GGUF", 3))
        self.assertEqual(len(file.tensors), len(tensors))
        for name, data in tensors.items():
            np.testing.assert_array_equal(file.array(gguf_writer.tensor_name(name)), data, err_msg=name)
        self.assertTrue(all(end % 32 == 0 for end in file.ends))

    def test_q8_0_keeps_every_number_within_half_a_step(self):
        data = np.random.default_rng(1).standard_normal((3, 64), dtype=np.float32)
        data[1] = 0
        raw = gguf_writer.q8_0(safetensors_io.StoredTensor.of(data, "F32"))
        self.assertEqual(len(raw), 3 * 2 * 34)
        blocks = np.frombuffer(raw, dtype=[("scale", "<f2"), ("values", "i1", 32)])
        decoded = (blocks["scale"].astype("<f4")[:, None] * blocks["values"]).reshape(3, 64)
        steps = np.abs(data.reshape(-1, 32)).max(axis=1) / 127
        errors = np.abs(decoded - data).reshape(-1, 32).max(axis=1)
        self.assertTrue(np.all(errors <= 0.6 * steps), errors / np.maximum(steps, 1e-9))

    def test_metadata_tells_shape_and_tokenizer(self):
        file, _ = self.written("tiny-qwen2")
        self.assertEqual(file.metadata["general.architecture"], "qwen2")
        self.assertEqual(file.metadata["qwen2.block_count"], 2)
        self.assertEqual(file.metadata["qwen2.attention.head_count_kv"], 2)
        self.assertEqual(len(file.metadata["tokenizer.ggml.tokens"]), 512)
        self.assertEqual(file.metadata["tokenizer.ggml.tokens"][509:], list(make_model.SPECIAL_TOKENS))
        self.assertEqual(file.metadata["tokenizer.ggml.token_type"][508:], [1, 3, 3, 3])

    def test_llama_heads_are_interleaved_and_low_frequencies_scaled(self):
        file, tensors = self.written("tiny-llama")
        for side in "qk":
            data = tensors[f"model.layers.1.self_attn.{side}_proj.weight"]
            stored = file.array(f"blk.1.attn_{side}.weight")
            for head in range(len(data) // 16):
                for i in range(8):
                    np.testing.assert_array_equal(stored[16 * head + 2 * i], data[16 * head + i])
                    np.testing.assert_array_equal(stored[16 * head + 2 * i + 1], data[16 * head + 8 + i])
        np.testing.assert_array_equal(file.array("blk.1.attn_v.weight"),
                                      tensors["model.layers.1.self_attn.v_proj.weight"])
        factors = file.array("rope_freqs.weight")
        self.assertEqual((factors[0], factors[-1]), (1.0, 8.0))  # many turns within the original context; not even one


if __name__ == "__main__":
    unittest.main()
