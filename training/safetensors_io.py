"""Reader and writer of the safetensors format, and the fingerprint of a base model.

Layout: 8 bytes little-endian length of the header, a JSON header {name: {dtype, shape, data_offsets}}, raw tensors.
Tensors are memory-mapped; F32, F16 and BF16 become float32 when asked for.
"""

import glob
import hashlib
import json
import os
import struct
from dataclasses import dataclass

import numpy as np

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it lies in a file: `raw` are its bytes."""

    dtype: str
    shape: tuple
    raw: np.ndarray

    @classmethod
    def of(cls, data, dtype="F32"):
        """`data`, a float32 array, as `dtype` (rounded to nearest even)."""
        data = np.ascontiguousarray(data, dtype="<f4")
        stored = {"F32": lambda: data, "F16": lambda: data.astype("<f2"), "BF16": lambda: to_bfloat16(data)}[dtype]()
        return cls(dtype, data.shape, np.ascontiguousarray(stored).reshape(-1).view(np.uint8))

    def float32(self):
        """A copy as float32 array."""
        if self.dtype == "F32":
            data = self.raw.view("<f4").copy()
        elif self.dtype == "F16":
            data = self.raw.view("<f2").astype("<f4")
        elif self.dtype == "BF16":
            data = (self.raw.view("<u2").astype("<u4") << 16).view("<f4")
        else:
            raise ValueError(f"type {self.dtype} is not supported; supported are F32, F16 and BF16")
        return data.reshape(self.shape)


def to_bfloat16(data):
    """The upper halves of float32 `data`, rounded to nearest even, as uint16."""
    bits = data.view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def save(path, tensors, metadata=None):
    """Writes `tensors` ({name: float32 array}) in ascending order of name; replaces `path` in one step."""
    header = {"__metadata__": metadata} if metadata else {}
    offset, chunks = 0, []
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name], dtype="<f4")
        header[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": [offset, offset + data.nbytes]}
        offset += data.nbytes
        chunks.append(data.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))
    os.replace(path + ".tmp", path)


def read(path):
    """All tensors of `path` as {name: StoredTensor}, memory-mapped."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        shape = tuple(entry["shape"])
        if end > len(data) or end - begin != ITEM_BYTES[entry["dtype"]] * int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"{path}: tensor {name} does not fit its bytes")
        tensors[name] = StoredTensor(entry["dtype"], shape, data[begin:end])
    return tensors


def read_folder(folder):
    """All tensors of a Hugging Face folder: model.safetensors, or the shards that its index names."""
    index = f"{folder}/model.safetensors.index.json"
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            files = sorted(set(json.load(f)["weight_map"].values()))
    else:
        files = [os.path.basename(path) for path in glob.glob(f"{folder}/model.safetensors")]
    if not files:
        raise FileNotFoundError(f"{folder} has neither model.safetensors nor model.safetensors.index.json")
    tensors = {}
    for file in files:
        tensors.update(read(f"{folder}/{file}"))
    return tensors


def load(path):
    """All tensors of `path` as {name: float32 array}."""
    return {name: tensor.float32() for name, tensor in read(path).items()}


def fingerprint(tensors):
    """`sha256:<hex>` over name, dtype, dimensions and bytes of every tensor in ascending byte order of name.

    `tensors` is {name: StoredTensor, or float32 array}.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda n: n.encode("utf-8")):
        tensor = tensors[name]
        if not isinstance(tensor, StoredTensor):
            tensor = StoredTensor.of(tensor)
        digest.update(name.encode("utf-8") + b"\0" + tensor.dtype.encode("ascii") + b"\0")
        for size in tensor.shape:
            digest.update(struct.pack("<Q", size))
        digest.update(tensor.raw)
    return "sha256:" + digest.hexdigest()


def fingerprint_of_numbers(lists):
    """`sha256:<hex>` over lists of numbers in the order given, each as its length and its float32."""
    digest = hashlib.sha256()
    for numbers in lists:
        digest.update(struct.pack("<Q", len(numbers)) + np.ascontiguousarray(numbers, dtype="<f4").tobytes())
    return "sha256:" + digest.hexdigest()
