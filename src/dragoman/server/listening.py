"""The socket that a server over HTTP listens on: on this machine only."""

from __future__ import annotations

import errno
import socket

ADDRESSES = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1", "[::1]": "::1"}
"""The hosts that may be configured. `localhost` is one address, so that one port is enough."""
BACKLOG = 128


class ListenError(Exception):
    """The address cannot be listened on: why, and what to do."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class HostRefusedError(ListenError):
    """Others than this machine could connect."""


def address_of(host: str) -> str:
    """The address of a host that may be listened on.

    Raises:
        HostRefusedError: the host is not this machine alone.
    """
    address = ADDRESSES.get(host.lower())
    if address is None:
        raise HostRefusedError(
            f"the host {host!r} is refused: whoever can reach the server could use your logins, and there are no "
            "access tokens yet",
            "listen on 127.0.0.1, localhost or ::1; from another machine use a tunnel, such as ssh -L",
        )
    return address


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that a client that knows the port is not refused. Port 0: any free one.

    Raises:
        HostRefusedError: the host is not this machine alone.
        ListenError: the port is in use, or not ours to use.
    """
    address = address_of(host)
    # The protocol is named because asyncio sets TCP_NODELAY only then; without it an answer in two parts takes 40 ms.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _explained(error, address, port) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where clients find it, without a path."""
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _explained(error: Exception, address: str, port: int) -> ListenError:
    another = "choose another with --port, or any free one with --port 0"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return ListenError(f"port {port} of {address} is in use, perhaps by another dragoman", another)
    if code == errno.EACCES:
        return ListenError(f"port {port} is not yours to listen on", another)
    if code in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return ListenError(f"this machine has no address {address}", "use --host 127.0.0.1")
    return ListenError(f"port {port} of {address} cannot be listened on: {error}", another)
