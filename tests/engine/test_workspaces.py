"""Which folders a child may look at."""

from pathlib import Path

import pytest

from dragoman.engine.attempt.workspaces import check_folder, default_workspaces, new_file
from dragoman.schemas import ErrorCode, LLMError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    return folder


def code_of(folder: Path, *workspaces: Path) -> ErrorCode:
    with pytest.raises(LLMError) as caught:
        check_folder(folder, workspaces)
    assert caught.value.info.next_step
    return caught.value.code


def test_a_folder_inside_a_workspace_is_allowed(project: Path) -> None:
    assert check_folder(project / "inner", [project]) == (project / "inner").resolve()
    assert check_folder(Path("inner"), [project]) == (project / "inner").resolve()


def test_a_folder_outside_is_refused_however_it_is_written(project: Path) -> None:
    (project / "link").symlink_to(project.parent / "outside")
    for folder in (project.parent / "outside", project / ".." / "outside", project / "link", Path("/")):
        assert code_of(folder, project) is ErrorCode.POLICY
    assert code_of(project / "inner") is ErrorCode.POLICY


def test_what_is_no_folder_is_a_bad_request(project: Path) -> None:
    (project / "file").write_text("x")
    assert code_of(project / "missing", project) is ErrorCode.BAD_REQUEST
    assert code_of(project / "file", project) is ErrorCode.BAD_REQUEST
    assert code_of(Path("relative")) is ErrorCode.BAD_REQUEST
    (project / "loop").symlink_to(project / "loop")
    for name in ("~nobody-of-this-name/x", "a" * 300, "loop", "\0"):
        assert code_of(Path(name), project) is ErrorCode.BAD_REQUEST
        with pytest.raises(LLMError) as caught:
            new_file(f"{name}/talk.md", [project])
        assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_home_and_the_root_are_allowed_only_when_they_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project))
    assert default_workspaces(project) == ()
    assert default_workspaces(Path("/")) == ()
    assert default_workspaces(project / "inner") == ((project / "inner").resolve(),)
    assert code_of(project, project.parent) is ErrorCode.POLICY
    assert check_folder(project, [project]) == project.resolve()
