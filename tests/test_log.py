import json
import logging
import re
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.log import logger, redact, setup_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, level, show = logging.getLogger(), logging.getLogger().level, warnings.showwarning
    handlers = root.handlers[:]
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    logger.remove()
    logger.disable("dragoman")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)


def test_importing_the_package_and_its_log_prints_and_imports_nothing_else() -> None:
    result = run(
        "import dragoman, dragoman.log, sys\n"
        "exec(compile('from dragoman.log import logger; logger.error(1)', 'x', 'exec'), {'__name__': 'dragoman.x'})\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('pydantic', 'mcp')]\n"
        "assert not [m for m in sys.modules if m.startswith('dragoman.') and m != 'dragoman.log']"
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_lines_go_to_stderr_and_never_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    logger.bind(call="c1").info("ran {}", "claude")
    logger.debug("too low")
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"[\d:.]{12} INFO     \S*test_log: ran claude call=c1\n", err)


def test_a_second_setup_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("DEBUG")
    setup_logging("ERROR")
    logger.warning("quiet")
    logger.error("once")
    logging.getLogger("some.library").error("also once")
    err = capsys.readouterr().err
    assert "quiet" not in err
    assert err.count("once") == 2


def test_json_is_one_object_a_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO", json=True)
    logger.bind(call="c1", seconds=0.5, path=Path("x"), api_key="plain").info("a\nb")
    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event.pop("time").startswith("20")
    assert event.pop("logger").endswith("test_log")
    assert event == {
        "level": "INFO", "message": "a\nb", "call": "c1", "seconds": 0.5, "path": "x", "api_key": "[redacted]",
    }  # fmt: skip


def test_an_event_is_one_line_and_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    logger.info("{}", "one\n12:00:00.000 ERROR    forged\x1b[2J\u2028<red>{x}")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(r"one\n12:00:00.000 ERROR    forged\x1b[2J\u2028<red>{x}")


def test_stdlib_logging_and_warnings_are_routed_under_their_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO", json=True)
    library = logging.getLogger("some.library")
    library.info("hello %s", "there")
    library.debug("too low")
    library.log(35, "between")
    library.info("bad %d", "arguments")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(event["logger"], event["message"]) for event in events[:3]] == [
        ("some.library", "hello there"),
        ("some.library", "between"),
        ("some.library", "'bad %d' ('arguments',)"),
    ]
    assert events[3]["logger"] == "py.warnings"
    assert "DeprecationWarning: old" in events[3]["message"]


@pytest.mark.parametrize("as_json", [False, True])
def test_exceptions_are_logged_redacted_and_without_the_values_of_variables(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    setup_logging("INFO", json=as_json)
    local_value = "prompt-of-the-user"
    try:
        raise ValueError("bad key sk-ant-" + "a1b2c3d4" * 4) if local_value else RuntimeError
    except ValueError:
        logger.exception("failed")
    err = capsys.readouterr().err
    assert "ValueError: bad key [redacted]" in err
    assert "prompt-of-the-user" not in err


def test_a_file_is_written_as_well_for_the_user_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "log.txt"
    for message in ("one", "two"):
        setup_logging("INFO", file=file)
        logger.info(message)
    setup_logging("INFO")
    logger.info("three")
    assert [line.split()[-1] for line in file.read_text("utf-8").splitlines()] == ["one", "two"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().err.count("\n") == 3


def test_what_cannot_be_set_up_leaves_the_log_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging("INFO")
    with pytest.raises(ValueError, match="LOUD"):
        setup_logging("loud")
    with pytest.raises(OSError, match="directory"):
        setup_logging("ERROR", file=tmp_path)
    logger.info("still here")
    assert "still here" in capsys.readouterr().err


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    setup_logging("INFO")
    logger.error("plain")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    setup_logging("INFO")
    logger.error("red")
    monkeypatch.setenv("NO_COLOR", "1")
    setup_logging("INFO")
    logger.error("asked for none")
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("\x1b[31m") for line in lines] == [False, True, False]


BODY = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=36, max_size=60)
PREFIXES = st.sampled_from(
    ["sk-", "sk-ant-api03-", "sk-proj-", "sk-or-v1-", "AIza", "ghp_", "gho_", "github_pat_", "hf_", "gsk_", "xoxb-",
     "glpat-", "ya29.", "xai-", "npm_"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["OPENAI_API_KEY", "GITHUB_TOKEN", "DB_PASSWORD", "CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "api_key", "apiKey",
     "access_token", "refreshToken", "x-api-key", "client.secret", "password", "KEY_2", "MY_TOKENS"]
)  # fmt: skip
SIGNS = st.sampled_from(["=", " = ", ": ", '": "', '\\": \\"', "='", '="', ':"'])
# What may stand beside a key: anything but a letter or digit, which would be a part of it.
BESIDE = st.text(max_size=30).map(lambda text: text + " ") | st.sampled_from(
    ["", "\n", '"', "(", "\\n", "/", "_", "\t"]
)


@given(BESIDE, PREFIXES, BODY, BESIDE)
def test_a_planted_key_never_survives(before: str, prefix: str, body: str, after: str) -> None:
    assert body not in redact(f"{before}{prefix}{body}{after[::-1]}")


@given(BESIDE, NAMES, SIGNS, BODY, BESIDE)
def test_a_planted_assignment_never_survives(before: str, name: str, sign: str, body: str, after: str) -> None:
    assert body not in redact(f"{before}{name}{sign}{body}{after[::-1]}")


@given(BESIDE, BODY, st.sampled_from(["Bearer {}", "bearer  {}", "Authorization: Basic {}", '"authorization": "{}"']))
def test_a_planted_header_never_survives(before: str, body: str, header: str) -> None:
    assert body not in redact(before + header.format(body))


@given(BODY, BODY, BODY)
def test_a_planted_jwt_or_login_never_survives(one: str, two: str, three: str) -> None:
    text = redact(f"token eyJ{one}.eyJ{two}.{three} at https://user:{two}@host.example/path")
    assert not [part for part in (one, two, three) if part in text]
    assert "host.example/path" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PASSWORD=hunter2 next", "PASSWORD=[redacted] next"),
        ('{"api_key": "abc", "model": "m"}', '{"api_key": [redacted], "model": "m"}'),
        ("PASSWORD='two words' x", "PASSWORD=[redacted] x"),
        (r"{\"api_key\": \"abc\", \"model\": 1}", r"{\"api_key\": [redacted], \"model\": 1}"),
        ("PASSWORD=\"a\"b,c'd e'f x", "PASSWORD=[redacted],c'd e'f x"),
        ('PASSWORD=a,b"c d" x', "PASSWORD=[redacted] x"),
        ("Authorization: Bearer abc\nnext", "Authorization: [redacted]\nnext"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx", "[redacted]\nx"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
    ],
)
def test_what_is_masked_and_what_stays_around_it(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "monkey = banana, keyboard: none",
        '{"input_tokens": 812, "max_tokens": 100}',
        "unknown key: 'modle'",
        "task-3f2a9c1d4e5f60718293 finished",
        "https://example.com/a?b=c",
        "no bearer here, and the skeleton is fine",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("unit", ["a", "key", "sk-", "eyJ", "://a", "token=", '"', "\\", "-----BEGIN ", "=:", " "])
def test_redaction_takes_time_in_proportion_to_the_text(unit: str) -> None:
    """Four times the text may not take sixteen times as long: compared with itself, on a machine of any speed."""

    def cost(size: int) -> float:
        text = (unit * size)[:size]
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            redact(text)
            best = min(best, time.process_time() - begun)
        return best

    assert cost(256 * 1024) < 12 * cost(64 * 1024) + 0.02
