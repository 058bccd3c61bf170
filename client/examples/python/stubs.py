"""Makes Python modules from memgate's .proto files: protoc and grpc_python_plugin, no other packages.

    apt-get install protobuf-compiler protobuf-compiler-grpc python3-grpcio python3-protobuf

The usual `python3 -m grpc_tools.protoc` (package grpcio-tools) writes the same modules.
"""

import os
import shutil
import subprocess
import sys

PROTO = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", "proto"))


def generate(folder):
    """Writes memgate/v1/*_pb2.py, *_pb2_grpc.py and google/rpc/*_pb2.py into `folder`."""
    plugin = shutil.which("grpc_python_plugin")
    if plugin is None:
        raise FileNotFoundError("grpc_python_plugin is missing; it is in Debian's protobuf-compiler-grpc")
    sources = sorted(
        os.path.join(base, name) for base, _, names in os.walk(PROTO) for name in names if name.endswith(".proto"))
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_out={folder}",
                    f"--plugin=protoc-gen-grpc={plugin}", *sources], check=True)


def use(folder):
    """Lets `from memgate.v1 import inference_pb2` find the modules in `folder`."""
    sys.path.insert(0, folder)
    import google

    # Where `google` is an ordinary package, its subpackages are looked up beside it only.
    ours = os.path.join(folder, "google")
    if ours not in google.__path__:
        google.__path__.append(ours)


if __name__ == "__main__":
    generate(sys.argv[1] if len(sys.argv) > 1 else "stubs")
