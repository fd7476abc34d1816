"""Stands between an MCP client and a server over stdio: ``python tap.py LOG WITHHELD COMMAND…``.

It writes down what each said, a line of JSON for each message, with the key ``client`` or ``server``; a server's
notification with the method WITHHELD is not passed on (``-``: all are). It is a program of its own, with nothing but
the standard library, because a client starts it in an environment of its own.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from io import RawIOBase
from types import FrameType
from typing import IO


def main() -> None:
    """Run the command, whose signals and end are the tap's own."""
    file, withheld, *command = sys.argv[1:]
    # Unbuffered: two threads write, each message whole.
    with open(file, "ab", buffering=0) as log:  # noqa: PTH123 - as all here, without what takes long to import
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None
        assert server.stdout is not None

        def pass_on(number: int, frame: FrameType | None) -> None:
            server.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        threading.Thread(target=copy, args=(log, "client", sys.stdin.buffer, server.stdin), daemon=True).start()
        copy(log, "server", server.stdout, sys.stdout.buffer, withheld)
        code = server.wait()
    os._exit(code if code >= 0 else 128 - code)


def copy(log: RawIOBase, who: str, source: IO[bytes], target: IO[bytes], withheld: str = "-") -> None:
    """Line by line, until there are no more."""
    try:
        for line in source:
            message = json.loads(line)
            log.write(json.dumps({who: message}).encode() + b"\n")
            if message.get("method") != withheld:
                target.write(line)
                target.flush()
    except (BrokenPipeError, ValueError):
        pass
    finally:
        target.close()


if __name__ == "__main__":
    main()
