import hashlib
import struct
import tempfile
import unittest

import numpy as np

from training import safetensors_io


class SafetensorsTest(unittest.TestCase):
    def test_round_trip(self):
        rng = np.random.default_rng(1)
        tensors = {"b.weight": rng.normal(size=(3, 5)).astype("f4"), "a": rng.normal(size=7).astype("f4")}
        with tempfile.TemporaryDirectory() as folder:
            safetensors_io.save(f"{folder}/x.safetensors", tensors, {"format": "pt"})
            read = safetensors_io.load(f"{folder}/x.safetensors")
        self.assertEqual(set(read), set(tensors))
        for name in tensors:
            np.testing.assert_array_equal(read[name], tensors[name])

    def test_half_precision_is_rounded_to_nearest_even_and_read_exactly(self):
        data = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, -2.5e-3, 0.0], dtype="f4")
        coarse = safetensors_io.StoredTensor.of(data, "BF16")
        np.testing.assert_array_equal(coarse.float32()[:3], np.array([1.0, 1.0, 1.0 + 2**-6], dtype="f4"))
        again = safetensors_io.StoredTensor.of(coarse.float32(), "BF16")
        np.testing.assert_array_equal(again.raw, coarse.raw)
        half = safetensors_io.StoredTensor.of(data, "F16")
        np.testing.assert_array_equal(half.float32(), data.astype("f2").astype("f4"))

    def test_a_tensor_that_does_not_fit_its_bytes_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            safetensors_io.save(f"{folder}/x.safetensors", {"w": np.zeros(3, dtype="f4")})
            with open(f"{folder}/x.safetensors", "rb") as f:
                data = f.read()
            with open(f"{folder}/x.safetensors", "wb") as f:
                f.write(data[:-4])
            with self.assertRaisesRegex(ValueError, "tensor w"):
                safetensors_io.read(f"{folder}/x.safetensors")

    def test_fingerprint_is_over_name_dtype_dimensions_and_bytes(self):
        data = np.array([[1.0, 2.0, 3.0]], dtype="f4")
        expected = b"w\0F32\0" + struct.pack("<QQ", 1, 3) + struct.pack("<3f", 1, 2, 3)
        self.assertEqual(safetensors_io.fingerprint({"w": data}), "sha256:" + hashlib.sha256(expected).hexdigest())


if __name__ == "__main__":
    unittest.main()
