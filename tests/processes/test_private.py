"""Private folders: whose they are, and who removes them."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from dragoman.processes import Command, KeptFolder, PrivateFolder, Spawner, remove_abandoned
from dragoman.processes.private import CLAIM, remove_private
from dragoman.processes.shepherd import remove_folder

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")]
KILLED = (
    "import os, signal\nfrom dragoman.processes import PrivateFolder\n"
    "PrivateFolder().write('system.txt', b'secret')\nos.kill(os.getpid(), signal.SIGKILL)\n"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_process_left_that_was_killed_before_anybody_knew_of_it_is_removed(temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], env={"TMPDIR": str(temporary)}, check=False)
    assert [file.read_bytes() for file in temporary.glob("*/system.txt")] == [b"secret"]
    remove_abandoned()
    assert list(temporary.iterdir()) == []


def test_of_a_file_for_which_there_is_no_room_nothing_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def full(descriptor: int, _: memoryview) -> int:
        opened.append(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unlink(file: Path) -> None:
        # Windows removes no file that somebody has open.
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])
        os.unlink(file)  # noqa: PTH108 - the other one is this one

    monkeypatch.setattr(Path, "unlink", unlink)
    kept = KeptFolder(lambda: temporary / "kept")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        kept.write("session.db", b"what was said")
    assert list((temporary / "kept").iterdir()) == []


def test_what_its_maker_had_no_time_to_claim_is_removed(temporary: Path) -> None:
    tempfile.mkdtemp(prefix="dragoman-")
    remove_abandoned()
    assert list(temporary.iterdir()) == []


def removed_by_a_shepherd(folder: Path) -> None:
    remove_folder(os.fsencode(folder))


@pytest.mark.parametrize("remove", [remove_private, removed_by_a_shepherd])
def test_the_claim_goes_last(remove: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PrivateFolder()
    for number in range(20):
        folder.write(f"{number}", b"")
        folder.write(f"folder{number}/file", b"")
    place, there, unlink = folder.path, list[list[str]](), os.unlink

    def watched(path: str | bytes | Path, **where: int) -> None:
        there.append([path.name for path in place.iterdir()])
        unlink(path, **where)

    monkeypatch.setattr(os, "unlink", watched)
    remove(place)
    assert not place.exists()
    assert there[-1] == [CLAIM]
    assert all(CLAIM in names for names in there)


def test_what_is_in_use_and_what_is_not_ours_stays(temporary: Path) -> None:
    used = PrivateFolder()
    used.write("file", b"")
    theirs = temporary / "dragoman-notes"
    theirs.mkdir()
    (theirs / "file").touch()
    (temporary / "dragoman-file").touch()
    linked = temporary / "dragoman-linked"
    linked.mkdir()
    (linked / CLAIM).symlink_to(theirs / "file")
    remove_abandoned()
    assert {path.name for path in temporary.iterdir()} == {used.path.name, theirs.name, "dragoman-file", linked.name}
    place = used.path
    used.close()
    assert not place.exists()


def test_a_folder_that_is_taken_for_abandoned_while_it_is_made_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, list[str]()

    def mkdtemp(**options: object) -> str:
        made.append(make(prefix="dragoman-", dir=temporary))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    folder = PrivateFolder()
    folder.write("file", b"")
    assert [str(path) for path in temporary.iterdir()] == made[1:] == [str(folder.path)]


async def test_a_shepherd_keeps_its_claim_when_its_server_has_none_any_more(temporary: Path, tmp_path: Path) -> None:
    async with Spawner() as spawner:
        folder = PrivateFolder()
        folder.write("file", b"")
        command = Command(["/bin/cat"], {}, tmp_path, remove=folder.made, claim=folder.claim)
        with anyio.fail_after(60):
            child = await spawner.spawn(command)
            folder.leave()
            remove_abandoned()
            assert (folder.path / "file").exists()
            child.close()
            assert await child.gone()
    assert list(temporary.iterdir()) == []  # noqa: ASYNC240 - nothing else waits here
