"""The private folder of a call: what is put there, what is linked, and what is looked up in the user's settings."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dragoman.adapters.base import KeptFile, Launch, PrivatePath, UserFile, UserSetting
from dragoman.engine.attempt.arguments import spelled
from dragoman.engine.attempt.layout import (
    DAY_S,
    KEPT_S,
    SETTINGS_BYTES,
    forget_kept,
    forget_unused,
    kept_folders,
    lay_out,
    private_folder,
    read_settings,
)
from dragoman.processes import KeptFolder, PrivateFolder
from dragoman.processes.private import CLAIM

LOGIN = UserSetting(".tool/settings.json", r'"login"\s*:\s*"([a-z]+)"', below=("TOOL_HOME", "HOME"))


@pytest.fixture
def folder(tmp_path: Path) -> PrivateFolder:
    return PrivateFolder(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".tool").mkdir(parents=True)
    return tmp_path / "home"


def test_files_are_written_for_their_owner_only(folder: PrivateFolder) -> None:
    lay_out(Launch((), files={"home/.tool/settings.json": b"{}"}), folder, {})
    file = folder.path / "home" / ".tool" / "settings.json"
    assert file.read_bytes() == b"{}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_a_users_file_is_linked_and_outlives_the_folder(folder: PrivateFolder, home: Path) -> None:
    theirs = home / ".tool" / "login"
    theirs.write_text("secret")
    lay_out(Launch((), files={"login": UserFile((".tool/login",))}), folder, {"HOME": str(home)})
    link = folder.path / "login"
    assert link.is_symlink()
    link.write_text("renewed")
    folder.close()
    assert not link.is_symlink()
    assert theirs.read_text() == "renewed"


def test_the_first_file_that_there_is_counts_and_the_first_home_that_is_named(
    folder: PrivateFolder, home: Path, tmp_path: Path
) -> None:
    (home / "second").write_text("2")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "first").write_text("1")
    file = UserFile(("first", "second"), below=("TOOL_HOME", "HOME"))
    launch = Launch((), files={"a": file})
    lay_out(launch, folder, {"HOME": str(home)})
    assert (folder.path / "a").resolve() == (home / "second").resolve()
    folder.close()
    lay_out(launch, folder, {"HOME": str(home), "TOOL_HOME": str(tmp_path / "other")})
    assert (folder.path / "a").read_text() == "1"


@pytest.mark.parametrize("variables", [{}, {"HOME": "/nowhere"}])
def test_where_the_user_has_none_stands_what_is_said_or_nothing(
    folder: PrivateFolder, variables: dict[str, str]
) -> None:
    files = {"a": UserFile(("login",)), "b": UserFile(("login",), otherwise=b"")}
    lay_out(Launch((), files=files), folder, variables)
    assert {path.name for path in folder.path.iterdir()} == {CLAIM, "b"}
    assert (folder.path / "b").read_bytes() == b""


def test_variables_name_files_and_folders_of_it(folder: PrivateFolder) -> None:
    env = {"FILE": PrivatePath("file"), "FOLDER": PrivatePath("deep/folder"), "PLAIN": "text"}
    spelled = lay_out(Launch((), env=env, files={"file": b"x"}), folder, {})
    assert spelled == {"FILE": str(folder.path / "file"), "FOLDER": str(folder.path / "deep/folder"), "PLAIN": "text"}
    assert (folder.path / "deep" / "folder").is_dir()


def test_a_folder_that_cannot_be_filled_is_an_error(folder: PrivateFolder) -> None:
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        lay_out(Launch((), files={"a": b"", "a/b": b""}), folder, {})


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        (b'{"login": "google"}', {"login": "google"}),
        (b'{ // which\n "login" :\n "key",}', {"login": "key"}),
        (b'{"login": 1}', {}),
        (b"\xff\xfe", {}),
        (b" " * SETTINGS_BYTES + b'"login": "late"', {}),
        (None, {}),
    ],
)
def test_a_choice_of_the_users_is_found_by_its_pattern(
    home: Path, content: bytes | None, chosen: dict[str, str]
) -> None:
    if content is not None:
        (home / ".tool" / "settings.json").write_bytes(content)
    assert read_settings({"login": LOGIN}, {"HOME": str(home)}) == chosen
    assert read_settings({"login": LOGIN}, {}) == {}


def test_settings_that_may_not_be_read_tell_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".tool" / "settings.json").write_bytes(b'{"login": "google"}')

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    assert read_settings({"login": LOGIN}, {"HOME": str(home)}) == {}


class TestAFolderThatIsKept:
    @pytest.fixture(autouse=True)
    def state(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "state"))
        return tmp_path / "state"

    def test_it_is_found_again_by_its_name_and_is_nobody_elses(self, state: Path) -> None:
        launch = Launch((), keeps="s1")
        first = private_folder(launch, "tool")
        first.write("home/session", b"said before")
        first.close()
        assert first.made is None, "somebody else would remove it"
        again = private_folder(launch, "tool")
        assert (again.path / "home" / "session").read_bytes() == b"said before"
        assert stat.S_IMODE(again.path.stat().st_mode) == 0o700
        assert state in again.path.parents
        assert private_folder(Launch((), keeps="s2"), "tool").path != again.path
        assert private_folder(launch, "other").path != again.path

    def test_it_is_removed_when_nobody_has_used_it_for_long(self) -> None:
        used, unused = (private_folder(Launch((), keeps=name), "tool") for name in ("used", "unused"))
        for folder in (used, unused):
            folder.write("home/session", b"said before")
        now = used.path.stat().st_mtime
        os.utime(unused.path, (now - KEPT_S - 1, now - KEPT_S - 1))
        forget_unused(now)
        assert (used.path / "home" / "session").exists()
        assert not unused.path.exists()

    def test_it_is_removed_sooner_where_conversations_are(self) -> None:
        folder = private_folder(Launch((), keeps="s1"), "tool")
        folder.write("home/session", b"said before")
        now = folder.path.stat().st_mtime
        forget_unused(now + 1.9 * DAY_S, 2)
        assert folder.path.exists()
        forget_unused(now + 2.1 * DAY_S, 2)
        assert not folder.path.exists()

    def test_it_is_removed_by_the_name_of_its_session_and_nothing_else_is(self, state: Path) -> None:
        folders = [private_folder(Launch((), keeps=name), "tool") for name in ("s1", "s2", "s3")]
        for folder in folders:
            folder.write("home/session", b"said before")
        forget_kept(
            [("tool", "s1"), ("tool", "s2/inside"), ("tool", ".."), ("tool", ""), ("tool", "none"), ("x", "s3")]
        )
        assert [folder.path.exists() for folder in folders] == [False, False, True]
        assert kept_folders().is_dir()

    def test_a_file_of_a_session_is_removed_with_all_that_stands_beside_it_and_when_it_is_old(self) -> None:
        kept = KeptFolder(lambda: kept_folders() / "tool")
        [word] = spelled([KeptFile("--session=", "s1.db", b"begun")], PrivateFolder(), kept)
        file = Path(word.removeprefix("--session="))
        assert file.read_bytes() == b"begun"
        file.write_bytes(b"gone on with")
        assert spelled([KeptFile("--session=", "s1.db")], PrivateFolder(), kept) == [word]
        assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"gone on with", 0o600)
        others = [kept.write(name, b"") for name in ("s1.db-journal", "s10.db", "s2.db")]
        forget_kept([("tool", "s1")])
        assert [each.exists() for each in (file, *others)] == [False, False, True, True]
        now = others[1].stat().st_mtime
        os.utime(others[2], (now - KEPT_S - 1, now - KEPT_S - 1))
        forget_unused(now)
        assert [each.exists() for each in others[1:]] == [True, False]

    def test_a_login_that_was_linked_and_is_gone_is_not_written_over(self, home: Path) -> None:
        theirs = home / ".tool" / "login"
        theirs.write_text("secret")
        files = {"login": UserFile((".tool/login",), otherwise=b""), "settings": b"{}"}
        launch = Launch((), keeps="s1", files=files)
        lay_out(launch, private_folder(launch, "tool"), {"HOME": str(home)})
        lay_out(launch, private_folder(launch, "tool"), {"HOME": str(home)})
        folder = private_folder(launch, "tool")
        assert (folder.path / "login").is_symlink()
        lay_out(launch, folder, {"HOME": str(home.parent)})
        assert not (folder.path / "login").is_symlink()
        assert (folder.path / "login").read_bytes() == b""
        assert theirs.read_text() == "secret"
