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

    def test_fingerprint_is_over_name_dtype_dimensions_and_bytes(self):
        data = np.array([[1.0, 2.0, 3.0]], dtype="f4")
        expected = b"w\0F32\0" + struct.pack("<QQ", 1, 3) + struct.pack("<3f", 1, 2, 3)
        self.assertEqual(safetensors_io.fingerprint({"w": data}), "sha256:" + hashlib.sha256(expected).hexdigest())


if __name__ == "__main__":
    unittest.main()
