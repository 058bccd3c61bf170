"""Reader and writer of the safetensors format for float32 tensors, and the fingerprint of a base model.

Layout: 8 bytes little-endian length of the header, a JSON header {name: {dtype, shape, data_offsets}}, raw tensors.
"""

import hashlib
import json
import os
import struct

import numpy as np

DTYPES = {"F32": np.dtype("<f4")}


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


def load(path):
    """Reads all tensors of `path` as {name: float32 array}."""
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(data[8 + length + begin : 8 + length + end], dtype=DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).copy()
    return tensors


def fingerprint(tensors):
    """`sha256:<hex>` over name, dtype, dimensions and bytes of every tensor in ascending byte order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors, key=lambda n: n.encode("utf-8")):
        data = np.ascontiguousarray(tensors[name], dtype="<f4")
        digest.update(name.encode("utf-8") + b"\0" + b"F32" + b"\0")
        for size in data.shape:
            digest.update(struct.pack("<Q", size))
        digest.update(data.tobytes())
    return "sha256:" + digest.hexdigest()
