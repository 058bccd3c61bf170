"""Measures and draws docs/figures/bounded_memory.svg: what a session costs while a long log streams into it.

A server with the demo model takes in a gateway log part by part. After each part the session's bytes, the bytes that a
full KV cache of its tokens would take, and the resident memory of the server process are read. From the root of the
repository, after `./dev build` (Debian: python3-matplotlib):

    python3 -m docs.figures.bounded_memory --tokens 200000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from client.demo.server_process import DEMO_MODEL, MEMGATE, REPOSITORY, ServerProcess

OUT = os.path.join(REPOSITORY, "docs", "figures", "bounded_memory")
MEGABYTE = 1e6


def resident_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def memgate(server, *words):
    done = subprocess.run([MEMGATE, *words, "--json", "--address", server.address], check=True, text=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def write_parts(folder, tokens, parts):
    """A log of `tokens` tokens, cut at line ends into `parts` files."""
    subprocess.run([sys.executable, "-m", "training.gateway_log", "--tokens", str(tokens), "--facts", "32",
                    "--questions", "1", "--seed", "1", "--tokenizer", os.path.join(DEMO_MODEL, "tokenizer.json"),
                    "--out", folder], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "log.txt"), encoding="utf-8") as f:
        lines = f.readlines()
    for i in range(parts):
        path = os.path.join(folder, f"part{i}.txt")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(lines[len(lines) * i // parts:len(lines) * (i + 1) // parts])
        yield path


def measure(tokens, parts):
    rows = []
    with tempfile.TemporaryDirectory() as folder, ServerProcess() as server:
        name = memgate(server, "sessions", "create")["name"]
        idle = resident_bytes(server.process.pid)
        for path in write_parts(folder, tokens, parts):
            memgate(server, "ingest", name, path)
            session = memgate(server, "sessions", "show", name)
            rows.append({"tokens": int(session["accounting"]["total_tokens"]),
                         "session_bytes": int(session["session_bytes"]),
                         "full_kv_bytes": int(session["full_kv_bytes"]),
                         "resident_growth_bytes": resident_bytes(server.process.pid) - idle})
            print(rows[-1], flush=True)
    return rows


def draw(rows):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "memgate"
    from matplotlib import pyplot

    tokens = [0] + [row["tokens"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6))
    axes.plot(tokens, [0] + [row["full_kv_bytes"] / MEGABYTE for row in rows], color="#b5482a",
              label="full KV cache of the same tokens")
    axes.plot(tokens, [rows[0]["session_bytes"] / MEGABYTE] * len(tokens), color="#1f6f8b", linewidth=2.5,
              label="memgate session (reserved)")
    axes.plot(tokens[1:], [row["resident_growth_bytes"] / MEGABYTE for row in rows], "o", markersize=3.5, color="#555555",
              label="growth of the server process (measured)")
    axes.set_xlabel("tokens taken in")
    axes.set_ylabel("MB")
    axes.set_xlim(0, tokens[-1])
    axes.set_ylim(0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(OUT + ".svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--parts", type=int, default=20)
    arguments = parser.parse_args()
    rows = measure(arguments.tokens, arguments.parts)
    with open(OUT + ".json", "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
        f.write("\n")
    draw(rows)


if __name__ == "__main__":
    main()
