"""The command as a process of its own, in a home of its own, with a fake `llm` as the only provider."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.adapters.llm import PROFILE
from dragoman.testing import FakeCli

DRAGOMAN = (sys.executable, "-m", "dragoman")


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: bytes
    err: str


@dataclass
class Shell:
    """Runs ``dragoman`` as a person would, from a folder with nothing in it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def make(cls, folder: Path) -> Shell:
        """A shell on a machine where no LLM CLI is installed."""
        for name in ("bin", "home", "work"):
            (folder / name).mkdir()
        variables = {
            "PATH": str(folder / "bin"),
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "DRAGOMAN_HOME": str(folder / "state"),
            "DRAGOMAN_PROVIDERS__LOCAL__ENABLED": "false",
            "DRAGOMAN_RETRY__MAX_ATTEMPTS": "1",
        }
        return cls(folder, variables)

    @property
    def work(self) -> Path:
        """The current folder of what is run."""
        return self.folder / "work"

    @property
    def config_file(self) -> Path:
        """The person's own configuration file, which does not exist yet."""
        return self.folder / "config" / "dragoman" / "config.toml"

    def llm(self, *steps: dict[str, Any], login: str = "ready") -> FakeCli:
        """Install a fake `llm`; its login check says `login`."""
        assert PROFILE.login is not None
        cli = FakeCli(self.folder / "bin", "llm", version="0.36")
        cli.script({"when_arg": PROFILE.login.argv[-1], "steps": [{"out": f"{login}\n"}, {"exit": 0}]}, *steps)
        return cli

    def configure(self, text: str) -> None:
        """Write the person's own configuration file."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(text, encoding="utf-8")

    def __call__(self, *words: str, stdin: bytes = b"", **variables: str) -> Ended:
        """Run ``dragoman WORDS`` to its end, with everything piped."""
        done = subprocess.run(
            (*DRAGOMAN, *words),
            input=stdin,
            capture_output=True,
            cwd=self.work,
            env=self.variables | variables,
            timeout=300,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())
