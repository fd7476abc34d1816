"""A server over stdin and stdout whose engine is made as a test says: `python -m tests.server.scripted MADE`."""

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio

from dragoman.adapters.base import Adapter
from dragoman.config import Configuration
from dragoman.engine import Engine
from dragoman.server import serve_stdio


@dataclass(frozen=True)
class Made:
    """What an engine is made of."""

    configuration: Configuration
    adapters: dict[str, Adapter]
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder / "home")}

    @property
    def store_file(self) -> Path:
        return self.folder / "store.sqlite3"

    def engine(self) -> Engine:
        """An engine in this process."""
        return Engine(
            self.configuration,
            adapters=self.adapters,
            environ=self.environ,
            folder=self.folder,
            store_file=self.store_file,
        )

    async def serve(self) -> None:
        """Serve in this process over its stdin and stdout."""
        await serve_stdio(
            self.configuration,
            adapters=self.adapters,
            environ=self.environ,
            folder=self.folder,
            store_file=self.store_file,
        )


if __name__ == "__main__":
    made = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301 - written by the test
    anyio.run(made.serve)
