"""Who is below whom, and that nobody else is signalled."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dragoman.processes import tree
from dragoman.testing import FakeCli, Liveness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and pidfds"),
]


def started(program: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([program])


@pytest.fixture(params=["pidfd", "no pidfd"])
def _pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_pid: int, _flags: int = 0) -> int:
        raise PermissionError(1, "not here")

    if request.param == "no pidfd":
        monkeypatch.setattr(os, "pidfd_open", forbidden)


@pytest.mark.usefixtures("_pidfd")
async def test_a_pid_that_was_given_to_a_stranger_after_it_was_listed_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Liveness() as live:
        deaf = {"setsid": True, "ignore_term": True, "connect": live.port, "as": "below"}
        ours = FakeCli(tmp_path, "ours").script({"grandchild": deaf}, live.connect("ours"), {"pause": True})
        theirs = FakeCli(tmp_path, "theirs").script(live.connect("stranger"), {"pause": True})
        with started(ours) as root, started(theirs) as stranger:
            try:
                with anyio.fail_after(60):
                    await live.connected(3)
                listed = tree.descendants

                def with_a_stranger(pid: int) -> Iterator[int]:
                    yield stranger.pid
                    yield from listed(pid)

                monkeypatch.setattr(tree, "descendants", with_a_stranger)
                tree.signal_below(root.pid, signal.SIGKILL)
                with anyio.fail_after(60):
                    await next(peer for peer in live.peers if peer.name == "below").gone.wait()
                assert sorted(peer.name for peer in live.alive) == ["ours", "stranger"]
            finally:
                root.kill()
                stranger.kill()


async def test_nobody_is_below_what_is_gone() -> None:
    assert tree.is_below(os.getpid(), os.getppid())
    assert not tree.is_below(os.getppid(), os.getpid())
    assert not tree.is_below(0, os.getpid())
    assert tree.parent(2**30) == 0
