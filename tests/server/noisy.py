"""A server whose provider's adapter, and a program it starts, write to stdout whenever they can."""

import os
import subprocess
import sys
from pathlib import Path

import anyio

from dragoman.adapters.base import Installed, Plan, Turn
from dragoman.config import Configuration
from dragoman.server import serve_stdio
from dragoman.testing import FakeAdapter

NOISE = "not the protocol"


class NoisyAdapter(FakeAdapter):
    def plan(self, turn: Turn, found: Installed) -> Plan:
        print(NOISE)
        print(NOISE, end="")
        os.write(1, NOISE.encode())
        subprocess.run(("echo", NOISE), check=True)
        return super().plan(turn, found)


if __name__ == "__main__":
    configuration = Configuration.model_validate({"providers": {"fake": {"command": sys.argv[1]}}})
    anyio.run(lambda: serve_stdio(configuration, adapters={"fake": NoisyAdapter()}, folder=Path.cwd()))
