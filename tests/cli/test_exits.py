"""Exit codes: a closed table."""

from dragoman.cli.exits import CLASSES, EXIT_CODES, explain
from dragoman.schemas import ErrorCode


def test_every_failure_has_an_exit_code_and_no_other_word_has_one() -> None:
    assert set(EXIT_CODES) == {code.value for code in ErrorCode}
    assert sum(len(names) for _, names in CLASSES) == len(ErrorCode)


def test_no_failure_ends_like_success_or_like_wrong_usage() -> None:
    assert {0, 2, 141}.isdisjoint(EXIT_CODES.values())


def test_every_exit_code_is_explained_once_and_in_order() -> None:
    codes = [code for code, _ in explain()]
    assert codes == sorted({0, 2, 141, *EXIT_CODES.values()})
