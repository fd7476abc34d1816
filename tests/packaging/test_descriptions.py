"""What describes the package elsewhere says what the package says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return value


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUNDLE, SERVER = load("manifest.json"), load("server.json")


def test_every_description_has_the_version_of_the_package() -> None:
    [package] = SERVER["packages"]
    assert {BUNDLE["version"], SERVER["version"], package["version"]} == {PROJECT["version"]}
    assert (package["identifier"], BUNDLE["name"]) == (PROJECT["name"], PROJECT["name"])
    assert BUNDLE["license"] == PROJECT["license"]
    assert BUNDLE["compatibility"]["runtimes"]["python"] == PROJECT["requires-python"]


def test_the_registry_finds_its_name_in_the_readme_and_its_limits_kept() -> None:
    """The registry's rules: a reverse-DNS name, at most 100 characters of description, an exact version."""
    assert f"mcp-name: {SERVER['name']} " in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", SERVER["name"])
    assert len(SERVER["description"]) <= 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", SERVER["version"])
    assert set(SERVER) <= {"$schema", "name", "title", "description", "version", "repository", "packages", "websiteUrl"}


def test_the_bundle_starts_what_is_there() -> None:
    assert (ROOT / BUNDLE["server"]["entry_point"]).exists()
    assert "dragoman" in PROJECT["scripts"]


def test_the_image_copies_what_its_build_needs_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    needed = {"pyproject.toml", "src", PROJECT["readme"], *PROJECT["license-files"], "constraints.txt"}
    assert copied == needed
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in needed} <= set(kept)
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER dragoman"
    assert lines[-2:] == ['ENTRYPOINT ["dragoman"]', 'CMD ["serve"]']
