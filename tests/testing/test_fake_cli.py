"""The fake CLI does what its script says, and nothing else."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from dragoman.processes import Child, Command, Spawner
from dragoman.testing import FakeCli, Liveness, fake_cli

pytestmark = pytest.mark.anyio
ENV = {"SEEN": "yes", "HIDDEN": "no"}


async def run(
    folder: Path, *steps: dict[str, Any], stdin: bytes = b"", argv: tuple[str, ...] = ()
) -> tuple[int, bytes, bytes]:
    """The fake's exit code, stdout and stderr."""
    async with Spawner() as spawner:
        return await finish(await start(spawner, folder, *steps, argv=argv), stdin)


async def start(spawner: Spawner, folder: Path, *steps: dict[str, Any], argv: tuple[str, ...] = ()) -> Child:
    return await spawner.spawn(Command([str(FakeCli(folder).script(*steps)), *argv], ENV, folder))


async def finish(child: Child, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    out, err = bytearray(), bytearray()

    async def read_out() -> None:
        while chunk := await child.read_stdout():
            out.extend(chunk)

    async def read_err() -> None:
        while chunk := await child.read_stderr():
            err.extend(chunk)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_out)
            tasks.start_soon(read_err)
            await child.write(stdin)
            child.close_stdin()
            await child.wait()
    code = child.exit_code
    child.close()
    assert code is not None
    return code, bytes(out), bytes(err)


async def test_text_lines_and_bytes_are_written_where_they_belong(tmp_path: Path) -> None:
    code, out, err = await run(
        tmp_path,
        {"out": "é\n"},
        {"out_b64": base64.b64encode(b"\xff\x00").decode()},
        {"line": {"text": "ü\u2028"}},
        {"line": "plain"},
        {"err": "oh"},
        {"line": [1], "to": "stderr"},
        {"split": "abc", "bytes_per_write": 2},
        {"repeat": 2, "steps": [{"out": "!"}]},
        {"exit": 7},
    )
    assert code == 7
    assert out == "é\n".encode() + b"\xff\x00" + '{"text": "ü\u2028"}\nplain\nabc!!'.encode()
    assert err == b"oh[1]\n"


async def test_stdin_is_read_by_line_or_whole_and_can_be_echoed(tmp_path: Path) -> None:
    code, out, _ = await run(
        tmp_path,
        {"read": "line"},
        {"echo_stdin": True, "as": "text", "pick": "prompt"},
        {"read": "all"},
        {"echo_stdin": True},
        {"echo_stdin": True, "as": "raw"},
        stdin=b'{"prompt": "hi"}\nsecond\nthird',
    )
    assert code == 0
    assert out == b'{"text": "hi"}\n{"stdin": "second\\nthird"}\nsecond\nthird'


async def test_it_tells_its_arguments_folder_and_environment(tmp_path: Path) -> None:
    _, out, _ = await run(
        tmp_path,
        {"argv": True},
        {"cwd": True},
        {"env": ["SEEN", "ABSENT"]},
        {"env": True, "as": "all"},
        argv=("--x=1", "y"),
    )
    argv, cwd, some, everything = map(json.loads, out.splitlines())
    assert argv == {"argv": ["--x=1", "y"]}
    assert Path(cwd["cwd"]).samefile(tmp_path)  # noqa: ASYNC240 - nothing else waits here
    assert some == {"env": {"SEEN": "yes"}}
    # PWD and the like come from the shell of the launcher, LC_CTYPE from Python's own start.
    assert everything["all"].items() >= ENV.items()


@pytest.mark.parametrize(("count", "width", "size"), [(1000, 100, 1000), (1001, 100, 1100), (5_000_000, 0, 5_000_000)])
async def test_a_flood_is_as_long_as_asked_rounded_up_to_a_line(
    tmp_path: Path, count: int, width: int, size: int
) -> None:
    _, out, _ = await run(tmp_path, {"spew": count, "line_bytes": width})
    assert len(out) == size
    assert {len(line) for line in out.split(b"\n")} == ({99, 0} if width else {size})


async def test_a_flood_of_json_is_json(tmp_path: Path) -> None:
    _, _, err = await run(tmp_path, {"spew": 3000, "line_bytes": 150, "json_key": "text", "to": "stderr"})
    lines = err.splitlines()
    assert len(lines) == 20
    assert all(set(json.loads(line)["text"]) == {"x"} and len(line) == 149 for line in lines)


def test_a_reader_that_goes_away_ends_it_like_other_programs(tmp_path: Path) -> None:
    program = FakeCli(tmp_path).script({"spew": 1_000_000_000})
    with subprocess.Popen([program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE


async def test_a_closed_stream_ends_for_its_reader_while_the_fake_lives(spawner: Spawner, tmp_path: Path) -> None:
    async with Liveness() as live:
        child = await start(
            spawner, tmp_path, {"out": "x"}, {"close": "stdout"}, live.connect(), {"wait": "gate"}, {"exit": 3}
        )
        with anyio.fail_after(60):
            assert await child.read_stdout() == b"x"
            assert await child.read_stdout() == b""
            await live.connected()
            assert child.exit_code is None
            await live.release()
            assert await child.wait() == 3
        child.close()


async def test_ignored_signals_have_no_effect_and_handled_ones_do_their_steps(spawner: Spawner, tmp_path: Path) -> None:
    async with Liveness() as live:
        child = await start(
            spawner,
            tmp_path,
            {"ignore": ["INT", "HUP"]},
            {"on_signal": {"TERM": [{"out": "told\n"}, {"exit": 5}]}},
            live.connect(),
            {"sleep": 100},
        )
        with anyio.fail_after(60):
            await live.connected()
            child.signal(signal.SIGINT)
            child.signal(signal.SIGHUP)
            child.signal(signal.SIGTERM)
            assert await finish(child) == (5, b"told\n", b"")


async def test_it_ends_by_the_signal_it_sends_itself(tmp_path: Path) -> None:
    code, out, _ = await run(tmp_path, {"out": "half a li"}, {"signal_self": "SEGV"})
    assert (code, out) == (-signal.SIGSEGV, b"half a li")


def test_it_can_stop_itself_and_be_continued(tmp_path: Path) -> None:
    program = FakeCli(tmp_path).script({"stop_self": True}, {"exit": 4})
    with subprocess.Popen([program], env=ENV, stdin=subprocess.DEVNULL) as child:
        # It must be our own child to be seen stopping; no sleeping until it shows.
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        child.send_signal(signal.SIGCONT)
        assert child.wait(60) == 4


async def test_a_version_is_told_and_starts_are_counted_without_it(spawner: Spawner, tmp_path: Path) -> None:
    cli = FakeCli(tmp_path, name="tool", version="3.1.4")
    path = cli.scripts([{"out": "first"}], [{"out": "second"}])
    said: list[bytes] = []
    assert cli.starts == 0
    for argv in (["--version"], [], [], []):
        _, out, _ = await finish(await spawner.spawn(Command([str(path), *argv], ENV, tmp_path)))
        said.append(out)
    assert said == [b"tool 3.1.4\n", b"first", b"second", b"second"]
    assert cli.starts == 3


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"dance": 1}], r"script\[0\]: unknown step 'dance'; there are out, err"),
        ([{"out": "x", "loud": True}], r"step 'out' has no option 'loud'"),
        ([{"repeat": 2, "steps": [{"out": "x"}, {"dance": 1}]}], r"script\[0\].steps\[1\]: unknown step 'dance'"),
        ([{"on_signal": {"TERM": [{"dance": 1}]}}], "unknown step 'dance'"),
        ([{"by_start": [[{"dance": 1}]]}], "unknown step 'dance'"),
        ([{"grandchild": {"steps": [{"dance": 1}]}}], "unknown step 'dance'"),
        ([{"grandchild": {"wings": 1}}], "grandchild has no option 'wings'"),
        ([{"close": "door"}], "'close' does not take 'door'"),
        ([{"line": "x", "to": "door"}], "'to' is 'stdout' or 'stderr', not 'door'"),
        ({"out": "x"}, "expected a list of steps"),
        (["out"], "expected a step such as"),
    ],
)
async def test_a_wrong_script_does_nothing_and_exits_with_64(
    spawner: Spawner, tmp_path: Path, steps: object, words: str
) -> None:
    with pytest.raises(fake_cli.ScriptError, match=words):
        fake_cli.check(steps)
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"out": "done"}, *steps] if isinstance(steps, list) else steps), encoding="utf-8")
    program = [sys.executable, "-I", "-S", fake_cli.__file__, str(script)]
    code, out, err = await finish(await spawner.spawn(Command(program, ENV, tmp_path)))
    assert (code, out) == (64, b"")
    assert err.startswith(b"fake_cli: ScriptError: script")


async def test_a_gate_that_nobody_connected_to_is_a_wrong_script(tmp_path: Path) -> None:
    code, _, err = await run(tmp_path, {"wait": "gate"})
    assert code == 64
    assert b"before any 'connect'" in err
