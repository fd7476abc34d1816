"""A fake CLI as an executable file, and the socket by which a test sees its processes live and die."""

from __future__ import annotations

import json
import shlex
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from dragoman.testing import fake_cli

Step = dict[str, Any]
"""One step of a script; see `dragoman.testing.fake_cli` for what there is."""
PATIENCE_S = 60.0
"""Ends a wait in vain: what a test is about, a machine that is slow must not decide."""


class FakeCli:
    """An executable that plays a script, usable as the ``command`` of a provider.

    ``--version`` is answered with `version`, whatever the script says, and is not counted as a start.
    """

    def __init__(self, folder: Path, name: str = "fake", version: str = "1.2.3") -> None:
        self.path = folder / name
        self._name = name
        self._version = version
        self._script = folder / f"{name}.json"
        self._starts = folder / f"{name}.starts"

    @property
    def starts(self) -> int:
        """How often it was started."""
        return self._starts.stat().st_size if self._starts.exists() else 0

    def script(self, *steps: Step) -> Path:
        """Play these steps at every start. A later script replaces an earlier one.

        Raises:
            fake_cli.ScriptError: a step is unknown or wrong.
        """
        asked_version = {"when_arg": "--version", "steps": [{"out": f"{self._name} {self._version}\n"}, {"exit": 0}]}
        whole = [asked_version, {"count_start": str(self._starts)}, *steps]
        fake_cli.check(whole)
        _replace(self._script, json.dumps(whole), 0o600)
        # A shell and not a `#!` with the interpreter: that line is cut at 127 bytes on some systems, and at spaces.
        command = shlex.join([sys.executable, "-I", "-S", fake_cli.__file__, str(self._script)])
        _replace(self.path, f'#!/bin/sh\nexec {command} "$@"\n', 0o700)
        return self.path

    def scripts(self, *scripts: Sequence[Step]) -> Path:
        """Play the first of these at the first start, the second at the second …, the last one ever after."""
        return self.script({"by_start": [list(steps) for steps in scripts]})


@dataclass(slots=True)
class Peer:
    """A process that connected: it lives as long as its connection does."""

    pid: int
    name: str
    stream: anyio.abc.SocketStream
    gone: anyio.Event = field(default_factory=anyio.Event)


class Liveness:
    """Processes of a test, seen by the kernel's word: who connected lives, whose connection ended is dead.

    ::

        async with Liveness() as live:
            cli = FakeCli(folder).script(live.connect(), {"wait": "gate"}, {"line": {"text": "now"}})
            ...
            await live.connected()
            await live.release()
            await live.all_gone()

    Leaving it ends the fakes that wait or pause on their connection.
    """

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self._changed = anyio.Event()

    @property
    def port(self) -> int:
        """Where to connect, on 127.0.0.1."""
        return self._port

    @property
    def alive(self) -> list[Peer]:
        """Who connected and is not gone."""
        return [peer for peer in self.peers if not peer.gone.is_set()]

    def connect(self, name: str = "cli") -> Step:
        """The step that connects the fake CLI."""
        return {"connect": self.port, "as": name}

    async def __aenter__(self) -> Self:
        listeners = await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=0, family=socket.AddressFamily.AF_INET
        )
        self._listener = listeners.listeners[0]
        self._port = self._listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not the ORM's extra()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._listener.serve, self._watch)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        try:
            # Not told of the test's own error: it would come out wrapped in a group.
            await self._tasks.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._listener.aclose()

    async def connected(self, n: int = 1, timeout_s: float = PATIENCE_S) -> list[Peer]:
        """Wait until `n` processes have connected since the beginning; all of them, in the order they came.

        Raises:
            TimeoutError: fewer did.
        """
        with anyio.move_on_after(timeout_s):
            while len(self.peers) < n:
                await self._changed.wait()
        if len(self.peers) < n:
            raise TimeoutError(f"{len(self.peers)} of {n} processes connected within {timeout_s:g} s")
        return list(self.peers)

    async def all_gone(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until every process that connected is dead.

        Raises:
            TimeoutError: some live on.
        """
        with anyio.move_on_after(timeout_s):
            while self.alive:
                await self.alive[0].gone.wait()
        if self.alive:
            names = ", ".join(f"{peer.name} (pid {peer.pid})" for peer in self.alive)
            raise TimeoutError(f"still alive after {timeout_s:g} s: {names}")

    async def release(self, name: str | None = None) -> None:
        """Open the gate for everyone who lives, or for those of this name: one ``wait`` of each goes on."""
        for peer in self.alive:
            if name in (None, peer.name):
                # One that has ended just now, and of which that is not known yet, needs no gate.
                with suppress(anyio.BrokenResourceError):
                    await peer.stream.send(b".")

    async def _watch(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            hello = b""
            try:
                while not hello.endswith(b"\n"):
                    hello += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return  # killed before it said who it is
            pid, _, name = hello.decode().strip().partition(" ")
            peer = Peer(int(pid), name, stream)
            self.peers.append(peer)
            self._notify()
            try:
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                peer.gone.set()
                self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _replace(file: Path, text: str, mode: int) -> None:
    """Write a file at once: a fake may just be starting, and a program that is open for writing cannot be started."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.replace(file)
