"""A command-line tool that does what a script says. Standard library only: ``python -I -S fake_cli.py SCRIPT [ARG…]``.

SCRIPT is a JSON file (or ``--inline`` and the JSON itself): a list of steps, done in order; then it exits with 0. The
first key of a step names it, the others are its options. Text goes to stdout unless a step takes ``to``.

    {"out": TEXT}  {"err": TEXT}  {"out_b64": BASE64}          bytes as they are
    {"line": OBJECT or TEXT}                                   one line, an object as JSON; option ``to``
    {"split": TEXT, "bytes_per_write": 1}                      text in small writes
    {"spew": BYTES, "line_bytes": 100, "json_key": KEY}        that many bytes, in whole lines; 0: no newline at all.
                                                               With a key each line is {KEY: "xxx…"}. Option ``to``
    {"sleep": SECONDS}  {"repeat": N, "steps": [...]}
    {"read": "line" or "all"}                                  stdin, kept for the next step
    {"echo_stdin": true, "as": "stdin", "pick": KEY}           what was read last, or a key of it read as JSON
    {"argv": true}  {"cwd": true}  {"env": true or [NAME…]}    what the child sees of each, for checks
    {"close": "stdin" or "stdout" or "stderr"}
    {"ignore": ["TERM", "INT", "HUP"]}                         signals without effect, also in later grandchildren
    {"on_signal": {"TERM": [steps]}}                           steps instead of the signal's effect
    {"stop_self": true}  {"signal_self": "SEGV"}  {"exit": N}
    {"connect": PORT, "as": NAME}                              a liveness connection to 127.0.0.1; see `Liveness`
    {"wait": "gate" or PORT}                                   for one byte on the last connection, or the one to PORT
    {"pause": true}                                            stay alive until the connection ends
    {"grandchild": {...}}                                      a process of its own; see `_grandchild`
    {"when_arg": TEXT, "steps": [...]}                         steps only if TEXT is among the arguments
    {"count_start": FILE}                                      count the starts of this program in FILE …
    {"by_start": [[steps], [steps]]}                           … and do the steps of this start, or else the last ones

``echo_stdin``, ``argv``, ``cwd`` and ``env`` write the line {AS: …}; with ``"as": "raw"`` the bare text.

Exit codes of its own: 64 the script is wrong (stderr says where), 70 the test went away while it waited. Whatever the
script says, it lives no longer than `LIFETIME_S`.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False  # importing typing, and signal or socket before they are needed, would double the start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    Step = dict[str, Any]

LIFETIME_S = 300
"""After this long an alarm ends a fake and each of its grandchildren, so that none outlives a broken test."""
BLOCK = 1 << 20

_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
_GRANDCHILD_OPTIONS = {"setsid", "double_fork", "clear_env", "hold_stdout", "ignore_term", "connect", "as", "steps"}


class ScriptError(Exception):
    """The script cannot be done."""


class Fake:
    """The state between steps."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = arguments
        self.last_read = b""
        self.unread = b""
        self.connections: dict[int, Any] = {}
        self.starts = 1

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            name = next(iter(step))
            VERBS[name][0](self, step[name], step)

    # Output

    def out(self, text: str, step: Step) -> None:
        _write(1, text.encode())

    def err(self, text: str, step: Step) -> None:
        _write(2, text.encode())

    def out_b64(self, text: str, step: Step) -> None:
        import base64

        _write(1, base64.b64decode(text))

    def line(self, value: object, step: Step) -> None:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        _write(_STREAMS[step.get("to", "stdout")], text.encode() + b"\n")

    def split(self, text: str, step: Step) -> None:
        data, size = text.encode(), step.get("bytes_per_write", 1)
        for start in range(0, len(data), size):
            _write(1, data[start : start + size])

    def spew(self, count: int, step: Step) -> None:
        stream, width, key = _STREAMS[step.get("to", "stdout")], step.get("line_bytes", 100), step.get("json_key")
        head, tail = (json.dumps({key: "\0"}) + "\n").encode().split(b"\\u0000") if key else (b"", b"\n")
        line = head + b"x" * max(width - len(head) - len(tail), 0) + tail if width else b"x"
        block = line * max(BLOCK // len(line), 1)
        whole = -(-count // len(line)) * len(line)
        while whole > 0:
            _write(stream, block if whole >= len(block) else block[:whole])
            whole -= len(block)

    # Input

    def read(self, what: str, step: Step) -> None:
        while what == "all" or b"\n" not in self.unread:
            chunk = os.read(0, BLOCK)
            if not chunk:
                break
            self.unread += chunk
        head, newline, rest = (self.unread, b"", b"") if what == "all" else self.unread.partition(b"\n")
        self.last_read, self.unread = head + newline, rest

    def echo_stdin(self, _: object, step: Step) -> None:
        text = self.last_read.decode("utf-8", "replace")
        self._report("stdin", json.loads(text)[step["pick"]] if "pick" in step else text, step)

    # What it sees

    def argv(self, _: object, step: Step) -> None:
        self._report("argv", self.arguments, step)

    def cwd(self, _: object, step: Step) -> None:
        self._report("cwd", os.getcwd(), step)  # noqa: PTH109 - pathlib takes longer than all the rest

    def env(self, names: bool | list[str], step: Step) -> None:
        seen = {name: value for name, value in os.environ.items() if isinstance(names, bool) or name in names}
        self._report("env", seen, step)

    def _report(self, key: str, value: object, step: Step) -> None:
        key = step.get("as", key)
        if key == "raw":
            _write(1, value.encode() if isinstance(value, str) else json.dumps(value).encode() + b"\n")
        else:
            self.line({key: value}, {})

    # Its life

    def sleep(self, seconds: float, step: Step) -> None:
        time.sleep(seconds)  # the script says so

    def repeat(self, count: int, step: Step) -> None:
        for _ in range(count):
            self.run(step["steps"])

    def close(self, stream: str, step: Step) -> None:
        # The null device takes its place: a closed number would be given to the next thing that is opened.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, _STREAMS[stream])
        os.close(null)

    def exit(self, code: int, step: Step) -> None:
        os._exit(code)

    def ignore(self, names: list[str], step: Step) -> None:
        import signal

        for name in names:
            signal.signal(_signal(name), signal.SIG_IGN)

    def on_signal(self, steps_of: dict[str, list[Step]], step: Step) -> None:
        import signal

        for name, steps in steps_of.items():
            signal.signal(_signal(name), self._handler(steps))

    def _handler(self, steps: list[Step]) -> Callable[[int, object], None]:
        return lambda _number, _frame: self.run(steps)

    def stop_self(self, _: object, step: Step) -> None:
        os.kill(os.getpid(), _signal("STOP"))

    def signal_self(self, name: str, step: Step) -> None:
        import resource
        import signal

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if name not in ("KILL", "STOP"):
            signal.signal(_signal(name), signal.SIG_DFL)
        os.kill(os.getpid(), _signal(name))

    # The test's hand on it

    def connect(self, port: int, step: Step) -> None:
        import socket

        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(f"{os.getpid()} {step.get('as', 'cli')}\n".encode())
        self.connections[port] = connection

    def wait(self, gate: str | int, step: Step) -> None:
        gates: dict[int | str, Any] = {"gate": list(self.connections.values())[-1]} if self.connections else {}
        connection = {**gates, **self.connections}.get(gate)
        if connection is None:
            raise ScriptError(f"'wait': {gate!r} before any 'connect' to it")
        try:
            released = connection.recv(1)
        except ConnectionError:
            released = b""
        if not released:
            os._exit(70)

    def pause(self, _: object, step: Step) -> None:
        try:
            while self.connections and list(self.connections.values())[-1].recv(BLOCK):
                pass
        except ConnectionError:
            return
        if not self.connections:
            time.sleep(LIFETIME_S)  # nobody holds it: until the alarm, or a signal

    def grandchild(self, options: Step, step: Step) -> None:
        if os.fork():
            if options.get("double_fork"):
                os.wait()
            return
        _grandchild(options)

    # Which steps

    def when_arg(self, argument: str, step: Step) -> None:
        if argument in self.arguments:
            self.run(step["steps"])

    def count_start(self, path: str, step: Step) -> None:
        # One appended byte per start; the position after it is the count, also with several starts at once.
        counter = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(counter, b".")
        self.starts = os.lseek(counter, 0, os.SEEK_CUR)
        os.close(counter)

    def by_start(self, scripts: list[list[Step]], step: Step) -> None:
        self.run(scripts[min(self.starts, len(scripts)) - 1])


def _grandchild(options: Step) -> NoReturn:
    """Become the grandchild and never return.

    Options: ``setsid`` (a session of its own), ``double_fork`` (its parent ends), ``clear_env`` (nothing in its
    environment), ``hold_stdout`` (it keeps stdout and stderr open), ``ignore_term``, ``connect`` and ``as`` (a
    liveness connection), ``steps`` (done before it pauses for good).
    """
    if options.get("setsid"):
        os.setsid()
    if options.get("double_fork") and os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0,) if options.get("hold_stdout") else (0, 1, 2):
        os.dup2(null, number)
    script = [{"ignore": ["TERM"]}] if options.get("ignore_term") else []
    if "connect" in options:
        script.append({"connect": options["connect"], "as": options.get("as", "grandchild")})
    script += [*options.get("steps", ()), {"pause": True}]
    # A new program and not only a fork: just so its environment can be truly empty, as after `env -i`.
    environment: Mapping[str, str] = {} if options.get("clear_env") else os.environ
    argv = [sys.executable, "-I", "-S", __file__, "--inline", json.dumps(script)]
    os.execve(sys.executable, argv, environment)  # noqa: S606 - no shell is wanted


def _write(stream: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]


def _signal(name: str) -> int:
    import signal

    return getattr(signal, f"SIG{name}")


VERBS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "out": (Fake.out, ()),
    "err": (Fake.err, ()),
    "out_b64": (Fake.out_b64, ()),
    "line": (Fake.line, ("to",)),
    "split": (Fake.split, ("bytes_per_write",)),
    "spew": (Fake.spew, ("line_bytes", "json_key", "to")),
    "read": (Fake.read, ()),
    "echo_stdin": (Fake.echo_stdin, ("as", "pick")),
    "argv": (Fake.argv, ("as",)),
    "cwd": (Fake.cwd, ("as",)),
    "env": (Fake.env, ("as",)),
    "sleep": (Fake.sleep, ()),
    "repeat": (Fake.repeat, ("steps",)),
    "close": (Fake.close, ()),
    "exit": (Fake.exit, ()),
    "ignore": (Fake.ignore, ()),
    "on_signal": (Fake.on_signal, ()),
    "stop_self": (Fake.stop_self, ()),
    "signal_self": (Fake.signal_self, ()),
    "connect": (Fake.connect, ("as",)),
    "wait": (Fake.wait, ()),
    "pause": (Fake.pause, ()),
    "grandchild": (Fake.grandchild, ()),
    "when_arg": (Fake.when_arg, ("steps",)),
    "count_start": (Fake.count_start, ()),
    "by_start": (Fake.by_start, ()),
}


def check(steps: object, where: str = "script") -> None:
    """Raise `ScriptError` for the first step that cannot be done, wherever it is nested."""
    if not isinstance(steps, list):
        raise ScriptError(f"{where}: expected a list of steps, got {steps!r}")
    for number, step in enumerate(_anything(steps)):
        place = f"{where}[{number}]"
        if not isinstance(step, dict) or not step:
            raise ScriptError(f"{place}: expected a step such as {{'out': 'text'}}, got {step!r}")
        name, *options = _anything(step)
        if name not in VERBS:
            raise ScriptError(f"{place}: unknown step {name!r}; there are {', '.join(VERBS)}")
        allowed = VERBS[name][1]
        if unknown := sorted(set(options) - set(allowed)):
            raise ScriptError(f"{place}: step {name!r} has no option {unknown[0]!r}; it takes {list(allowed)}")
        _check_value(name, _anything(step), place)


def _anything(value: Any) -> Any:  # noqa: ANN401 - JSON that was not looked at yet
    return value


def _check_value(name: str, step: Step, place: str) -> None:
    value = step[name]
    if "steps" in VERBS[name][1]:
        check(step.get("steps"), f"{place}.steps")
    elif name == "by_start":
        for number, steps in enumerate(value):
            check(steps, f"{place}.by_start[{number}]")
    elif name == "on_signal":
        for signal_name, steps in value.items():
            check(steps, f"{place}.on_signal.{signal_name}")
    elif name == "grandchild":
        if unknown := sorted(set(value) - _GRANDCHILD_OPTIONS):
            raise ScriptError(f"{place}: grandchild has no option {unknown[0]!r}; see {sorted(_GRANDCHILD_OPTIONS)}")
        check(value.get("steps", []), f"{place}.grandchild.steps")
    elif (name == "close" and value not in _STREAMS) or (name == "read" and value not in ("line", "all")):
        raise ScriptError(f"{place}: {name!r} does not take {value!r}")
    if step.get("to", "stdout") not in ("stdout", "stderr"):
        raise ScriptError(f"{place}: 'to' is 'stdout' or 'stderr', not {step['to']!r}")


def main(argv: Sequence[str]) -> NoReturn:
    import signal

    signal.alarm(LIFETIME_S)
    # As in other programs: a reader that went away ends it, without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if not argv:
        _fail("usage: fake_cli.py SCRIPT [ARG…], or fake_cli.py --inline JSON")
    try:
        if argv[0] == "--inline":
            text, arguments = argv[1], argv[2:]
        else:
            with open(argv[0], encoding="utf-8") as script:  # noqa: PTH123 - pathlib takes longer than all the rest
                text, arguments = script.read(), argv[1:]
        steps: Any = json.loads(text)
        check(steps)
        Fake(arguments).run(steps)
    except (ScriptError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _fail(f"{type(error).__name__}: {error}")
    os._exit(0)


def _fail(message: str) -> NoReturn:
    _write(2, f"fake_cli: {message}\n".encode())
    os._exit(64)


if __name__ == "__main__":
    main(sys.argv[1:])
