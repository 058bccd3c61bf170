"""Checks that the layers of docs/design.md hold: who includes whom, and who sees which library."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Folder -> what it may include besides itself.
ALLOWED = {
    "engine/base": set(),
    "engine/kernels": {"engine/base"},
    "engine/checkpoint": {"engine/base", "engine/text"},  # the plain struct that a tokenizer is made of
    "engine/text": {"engine/base"},
    "engine/routing": {"engine/base"},
    "engine/sampling": {"engine/base", "engine/kernels"},
    "engine/structured": {"engine/base", "engine/text"},
    "engine/memory": {"engine/base", "engine/kernels", "engine/checkpoint"},
}
ALLOWED["engine/session"] = ALLOWED["engine/memory"] | {"engine/memory"}
ALLOWED["engine/attention"] = ALLOWED["engine/session"] | {"engine/session"}
ALLOWED["engine/model"] = ALLOWED["engine/attention"] | {"engine/attention"}
ALLOWED["engine/scheduling"] = ALLOWED["engine/model"] | {
    "engine/model", "engine/routing", "engine/sampling", "engine/structured", "engine/text"}
ALLOWED["engine"] = ALLOWED["engine/scheduling"] | {"engine/scheduling"}
# The server and the client reach the engine through its facade and the types that the facade names.
ALLOWED["server"] = {"engine", "engine/base", "engine/scheduling", "engine/text", "engine/sampling", "engine/routing",
                     "engine/session", "engine/structured", "engine/kernels"}
ALLOWED["client"] = {"engine/base"}

# Library header prefix -> the only folders that may include it.
LIBRARIES = {
    "dnnl": {"engine/kernels"},
    "hwy/": {"engine/kernels"},
    "immintrin": {"engine/kernels"},
    "omp.h": {"engine/kernels"},
    "grpc": {"server", "client"},
    "google/": {"server", "client"},
    "memgate/v1/": {"server", "client"},
    "prometheus/": {"server"},
    "spdlog/": {"server"},
    "pcre2": {"engine/text"},
    "unicode/": {"engine/text"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def folder_of(path):
    parts = path.split("/")
    if parts[0] == "engine":
        return "/".join(parts[:2]) if len(parts) > 2 else "engine"
    return parts[0]


def violations(path):
    relative = path.relative_to(ROOT).as_posix()
    own = folder_of(relative)
    for header in INCLUDE.findall(path.read_text(encoding="utf-8")):
        if header.split("/")[0] in ("engine", "server", "client", "tests"):
            target = folder_of(header)
            if target != own and target not in ALLOWED[own]:
                yield f"{relative}: {own} may not include {header}"
        for prefix, folders in LIBRARIES.items():
            if header.startswith(prefix) and own not in folders:
                yield f"{relative}: only {', '.join(sorted(folders))} may include {header}"


def main():
    files = [f for top in ("engine", "server", "client") for ext in ("*.h", "*.cc") for f in (ROOT / top).rglob(ext)]
    unknown = {folder_of(f.relative_to(ROOT).as_posix()) for f in files} - set(ALLOWED)
    found = [f"{folder}: not in the table of tests/include_check.py" for folder in sorted(unknown)]
    found += [line for f in sorted(files) for line in violations(f)]
    print("\n".join(found) or f"{len(files)} files keep to the layers")
    sys.exit(1 if found or not files else 0)


if __name__ == "__main__":
    main()
