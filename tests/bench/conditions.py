"""Under which conditions something was measured: the machine, the engine, the command."""

import functools
import hashlib
import os
import shlex
import subprocess

from client.demo.server_process import BUILD, REPOSITORY, SERVER

SOURCES = ("CMakeLists.txt", "engine", "proto", "server")  # what a server is built from
# Options that say where things lie and what becomes of the figures, not what is measured.
FLAGS_OF_NO_MATTER = ("--document", "--fresh", "--report")
PATHS_OF_NO_MATTER = ("--json", "--models")
PATHS = ("--llama-cpp", "--model", "--random-model", "--tokenizer")  # what lies there matters


@functools.cache
def file_hash(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def processor():
    """Model name and number of cores."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} cores"


def source_folder():
    """What the build folder was configured from."""
    try:
        with open(os.path.join(BUILD, "CMakeCache.txt"), encoding="utf-8") as f:
            found = [line.partition("=")[2].strip() for line in f if line.startswith("CMAKE_HOME_DIRECTORY:")]
    except FileNotFoundError:
        found = []
    return found[0] if found else REPOSITORY


def commit():
    """The last commit that changed what a server is built from, with "+" for changes since; "" outside of git."""
    def git(*words):
        done = subprocess.run(["git", "-C", source_folder(), *words, "--", *SOURCES], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""
    try:
        name = git("log", "-1", "--format=%h")
        return name + "+" if name and git("status", "--porcelain") else name
    except FileNotFoundError:  # no git
        return ""


def engine_name(commit, server_hash):
    """How the documents call a server: by the commit, if known, and the beginning of the hash of its file."""
    return f"{commit} (server {server_hash[:8]})" if commit else f"server {server_hash[:8]}"


def engine():
    """The engine of this build folder."""
    return engine_name(commit(), file_hash(SERVER))


def span(dates):
    """The first of ISO dates, and the last one if it is another."""
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"


def documented_command(program, words):
    """The command that measures what `program` with the arguments `words` wrote, on whatever machine."""
    kept, rest = [program], list(words)
    while rest:
        option, given, value = rest.pop(0).partition("=")
        if option in FLAGS_OF_NO_MATTER:
            continue
        if option in (*PATHS_OF_NO_MATTER, *PATHS):
            if not given and rest:
                rest.pop(0)
            kept += [option, "DIR"] if option in PATHS else []
        else:
            kept.append(shlex.quote(option + given + value))
    return " ".join(kept)
