"""Copies the Node example into the build folder and installs its packages there."""

import os
import shutil
import subprocess
import sys

from client.demo.server_process import REPOSITORY


def main():
    npm = os.environ.get("MEMGATE_NPM", "")
    if not npm or npm.endswith("-NOTFOUND"):
        sys.exit("npm was not found when the build was configured; install the packages nodejs and npm")
    folder = os.environ["MEMGATE_NODE_EXAMPLE"]
    shutil.copytree(os.path.join(REPOSITORY, "client", "examples", "node"), folder, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run([npm, "ci", "--no-fund", "--no-audit"], cwd=folder, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"npm ci failed in {folder}; it needs the network once")


if __name__ == "__main__":
    main()
