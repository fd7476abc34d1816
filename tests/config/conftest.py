"""A user's configuration folder and a project, both empty."""

from pathlib import Path

import platformdirs
import pytest


@pytest.fixture
def user_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the user's own configuration."""
    folder = tmp_path / "user-config"
    folder.mkdir()

    def user_config_path(*_: object, **__: object) -> Path:
        return folder

    monkeypatch.setattr(platformdirs, "user_config_path", user_config_path)
    return folder


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user_folder: Path) -> Path:
    """A git repository, which is the current folder."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder
