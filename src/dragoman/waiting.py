"""Waiting for what runs in an event loop in another thread: what `dragoman.sync` is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import wait
from typing import Generic, Protocol, TypeVar, cast

from anyio.from_thread import BlockingPortal

from dragoman.schemas import LLMResponse
from dragoman.streams import ObjectStream as AsyncObjectStream
from dragoman.streams import Partial
from dragoman.streams import QueryStream as AsyncQueryStream

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Followed(Protocol[T_co]):
    """What is iterated over in the event loop."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    async def aclose(self) -> None: ...


class Loop:
    """The event loop in its own thread, and how to have something done there."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait for it. Whatever ends the wait, such as Ctrl-C, cancels it, and it is over when this returns."""
        future = self._portal.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            # KeyboardInterrupt lands here, in the caller's thread: nothing must go on without anyone waiting.
            future.cancel()
            wait([future])
            raise

    def follow(self, stream: _Followed[T]) -> Iterator[T]:
        """What the stream gives. Leaving the iteration early gives it up."""
        items, over = aiter(stream), object()

        async def following() -> T | object:
            return await anext(items, over)

        try:
            while (item := self(following)) is not over:
                yield cast("T", item)
        finally:
            self(stream.aclose)


class QueryStream(Generic[T]):
    """The twin of `dragoman.QueryStream`: ``for partial in stream``, and then `data`."""

    def __init__(self, loop: Loop, inner: AsyncQueryStream[T]) -> None:
        self._loop = loop
        self._inner = inner

    def __iter__(self) -> Iterator[Partial]:
        return self._loop.follow(self._inner)

    @property
    def data(self) -> T:
        """The value: an instance, where the schema was made from a class. `RuntimeError` until the end."""
        return self._inner.data

    @property
    def reply(self) -> LLMResponse | None:
        """The whole, once the iteration is over."""
        return self._inner.reply


class ObjectStream(Generic[T]):
    """The twin of `dragoman.ObjectStream`: ``for value in stream``."""

    def __init__(self, loop: Loop, inner: AsyncObjectStream[T]) -> None:
        self._loop = loop
        self._inner = inner

    def __iter__(self) -> Iterator[T]:
        return self._loop.follow(self._inner)

    @property
    def notices(self) -> list[str]:
        """The lines that were not valid, each with its number and what is wrong with it."""
        return self._inner.notices

    @property
    def reply(self) -> LLMResponse | None:
        """The whole, once the iteration is over."""
        return self._inner.reply
