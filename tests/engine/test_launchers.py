"""npm's launchers, as package managers lay them out: passed over where it is certain what is behind them."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dragoman.adapters.base import NpmPackage, Profile
from dragoman.adapters.claude import PROFILE as CLAUDE
from dragoman.adapters.codex import PROFILE as CODEX
from dragoman.config import ProviderSettings
from dragoman.engine.providers import launchers
from dragoman.engine.providers.finding import Missing, Program, find_program
from dragoman.engine.providers.launchers import Hollow, Real, real_program

PACKAGE = NpmPackage(
    "@acme/parrot", native="@acme/parrot-{os}-{cpu}", program="vendor/*/parrot", env=(("PARROT_ROOT", "{package}/x"),)
)
HERE = f"{sys.platform}-{ {'x86_64': 'x64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }"
NATIVE = f"@acme/parrot-{HERE}"
OPTIONAL = {NATIVE: "1.2.3", "@acme/parrot-plan9-mips": "1.2.3"}
ELF = b"\x7fELF and more"
SCRIPT = b"#!/usr/bin/env node\n"

pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="the layouts are those of POSIX")


def put(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(0o755)
    return file


def package(folder: Path, **manifest: object) -> Path:
    put(folder / "package.json", json.dumps(manifest).encode())
    return folder


class Npm:
    """An installation of the imaginary parrot. `link` is what is on PATH."""

    def __init__(self, folder: Path, *, launcher: bytes = SCRIPT, optional: Mapping[str, str] = OPTIONAL) -> None:
        self.modules = folder / "lib" / "node_modules"
        self.root = package(
            self.modules / "@acme" / "parrot",
            name="@acme/parrot",
            version="1.2.3",
            bin={"parrot": "bin/parrot.js"},
            optionalDependencies=optional,
        )
        self.script = put(self.root / "bin" / "parrot.js", launcher)
        self.link = folder / "bin" / "parrot"
        self.link.parent.mkdir(parents=True, exist_ok=True)
        self.link.symlink_to(os.path.relpath(self.script, self.link.parent))

    def native(
        self, modules: Path | None = None, *, name: str = NATIVE, version: str = "1.2.3", content: bytes = ELF
    ) -> Path:
        """Install the platform's package beside the launcher's, or in other ``node_modules``."""
        folder = package((modules or self.modules) / name, name=name, version=version)
        return put(folder / "vendor" / "some-triple" / "parrot", content)

    def found(self) -> Real | Hollow | None:
        return real_program(self.link, PACKAGE)


@pytest.fixture
def npm(tmp_path: Path) -> Npm:
    return Npm(tmp_path)


def test_the_program_beside_the_launcher_is_found_with_what_the_launcher_would_set(npm: Npm) -> None:
    program = npm.native(version=f"1.2.3-{HERE}")
    assert npm.found() == Real(program, {"PARROT_ROOT": f"{npm.root}/x"})


def test_the_program_below_the_launcher_is_found(npm: Npm) -> None:
    program = npm.native(npm.root / "node_modules")
    assert npm.found() == Real(program, {"PARROT_ROOT": f"{npm.root}/x"})


def test_the_links_of_pnpm_are_followed(tmp_path: Path) -> None:
    store = Npm(tmp_path / ".pnpm" / "parrot@1.2.3")
    hidden = tmp_path / ".pnpm" / "native@1.2.3" / "node_modules"
    program = store.native(hidden)
    (store.modules / NATIVE).symlink_to(hidden / NATIVE, target_is_directory=True)
    found = store.found()
    assert isinstance(found, Real)
    assert found.path == program


def test_a_variant_of_the_platform_is_found_when_it_is_the_only_one(tmp_path: Path) -> None:
    npm = Npm(tmp_path, optional={NATIVE: "1.2.3", f"{NATIVE}-musl": "1.2.3"})
    npm.native(name=f"{NATIVE}-musl")
    assert isinstance(npm.found(), Real)
    npm.script.touch()
    npm.native()
    assert npm.found() is None


def test_a_launcher_without_its_program_is_hollow_and_says_what_to_run(npm: Npm) -> None:
    found = npm.found()
    assert isinstance(found, Hollow)
    assert NATIVE in found.reason
    assert found.next_step == "run `npm install -g --include=optional @acme/parrot`"
    npm.native()
    assert isinstance(npm.found(), Real)


def test_a_native_program_in_the_launchers_place_needs_no_other(tmp_path: Path) -> None:
    npm = Npm(tmp_path, launcher=ELF)
    npm.native()
    assert npm.found() is None


def _other_version(npm: Npm) -> None:
    npm.native(version="1.2.30")


def _other_platform(npm: Npm) -> None:
    npm.native(name="@acme/parrot-plan9-mips")


def _no_native_program(npm: Npm) -> None:
    npm.native(content=SCRIPT)


def _not_executable(npm: Npm) -> None:
    npm.native().chmod(0o644)


def _two_programs(npm: Npm) -> None:
    put(npm.native().parents[1] / "other-triple" / "parrot", ELF)


def _other_package(npm: Npm) -> None:
    npm.native()
    package(npm.root, name="@acme/cockatoo", version="1.2.3", bin="bin/parrot.js", optionalDependencies={NATIVE: "1"})


def _other_script(npm: Npm) -> None:
    npm.native()
    package(npm.root, name="@acme/parrot", version="1.2.3", bin="bin/else.js", optionalDependencies={NATIVE: "1"})


def _no_optional_dependencies(npm: Npm) -> None:
    package(npm.root, name="@acme/parrot", version="1.2.3", bin="bin/parrot.js")


def _broken_manifest(npm: Npm) -> None:
    npm.native()
    put(npm.root / "package.json", b"{")


def _deep_manifest(npm: Npm) -> None:
    npm.native()
    put(npm.root / "package.json", b"[" * 100_000)


def _strange_manifest(npm: Npm) -> None:
    npm.native()
    put(npm.root / "package.json", b'["@acme/parrot"]')


def _strange_native_manifest(npm: Npm) -> None:
    put(npm.native().parents[2] / "package.json", b'{"version": 3}')


def _shim(npm: Npm) -> None:
    npm.native()
    npm.link.unlink()
    put(npm.link, f'#!/bin/sh\nexec node "{npm.script}" "$@"\n'.encode())


def _dead_link(npm: Npm) -> None:
    npm.native()
    npm.script.unlink()


@pytest.mark.parametrize(
    "doubt",
    [
        _other_version,
        _other_platform,
        _no_native_program,
        _not_executable,
        _two_programs,
        _other_package,
        _other_script,
        _no_optional_dependencies,
        _broken_manifest,
        _deep_manifest,
        _strange_manifest,
        _strange_native_manifest,
        _shim,
        _dead_link,
    ],
    ids=lambda doubt: doubt.__name__.strip("_"),
)
def test_on_any_doubt_the_launcher_is_left_as_it_is(npm: Npm, doubt: object) -> None:
    assert callable(doubt)
    doubt(npm)
    assert npm.found() is None


def test_a_launcher_outside_of_node_modules_is_left_as_it_is(tmp_path: Path) -> None:
    root = package(tmp_path / "src", name="@acme/parrot", bin="cli.js", optionalDependencies={NATIVE: "1"})
    assert real_program(put(root / "cli.js", SCRIPT), PACKAGE) is None


def test_what_was_found_is_remembered_until_a_file_changes(npm: Npm, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    look = launchers._look  # pyright: ignore[reportPrivateUsage] - what is counted

    def counted(launcher: Path, package: NpmPackage) -> Real | Hollow | None:
        looked.append(launcher)
        return look(launcher, package)

    monkeypatch.setattr(launchers, "_look", counted)
    program = npm.native()
    assert npm.found() == npm.found()
    assert len(looked) == 1
    # An update: another version of both.
    package(npm.root, name="@acme/parrot", version="2.0.0", bin="bin/parrot.js", optionalDependencies={NATIVE: "2.0.0"})
    npm.script.unlink()
    put(npm.script, SCRIPT)
    assert npm.found() is None
    npm.native(version="2.0.0")
    npm.script.touch()
    assert npm.found() == npm.found() is not None
    assert len(looked) == 3
    program.unlink()
    assert npm.found() is None


def profile(tmp_path: Path) -> tuple[Profile, dict[str, str]]:
    parrot = Profile("parrot", "Parrot", "Talks.", ("parrot",), "install it", npm=PACKAGE)
    return parrot, {"PATH": str(tmp_path / "bin")}


def test_a_provider_starts_the_real_program_and_shows_what_is_on_the_path(tmp_path: Path, npm: Npm) -> None:
    program = npm.native()
    parrot, environ = profile(tmp_path)
    env = {"PARROT_ROOT": f"{npm.root}/x"}
    assert find_program(parrot, ProviderSettings(), environ) == Program((str(program),), npm.link, env)
    configured = ProviderSettings.model_validate({"command": [str(npm.link), "--quiet"]})
    assert find_program(parrot, configured, environ) == Program((str(program), "--quiet"), npm.link, env)


def test_a_hollow_provider_is_missing_with_its_next_step(tmp_path: Path, npm: Npm) -> None:
    parrot, environ = profile(tmp_path)
    found = find_program(parrot, ProviderSettings(), environ)
    assert isinstance(found, Missing)
    assert str(npm.link) in found.reason
    assert "npm install" in found.next_step


@pytest.mark.parametrize("known", [CLAUDE, CODEX], ids=["claude", "codex"])
def test_the_platforms_packages_have_names_that_node_gives_them(known: Profile) -> None:
    assert known.npm is not None
    assert known.npm.native.format(os="linux", cpu="x64") == f"{known.npm.name}-linux-x64"
