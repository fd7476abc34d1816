"""What happens in jobs, kept while they run and when they end.

So a server that is killed takes little with it, and whoever asks elsewhere sees how far a job is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from pydantic import TypeAdapter

from dragoman import store as records
from dragoman.engine.call import Call
from dragoman.engine.ids import MOST_PAGES
from dragoman.engine.record import Recorder, store_failure
from dragoman.schemas import Bound, Event, Retrying, Started, Text

if TYPE_CHECKING:
    from dragoman.store import LogPage, Posted

PAGE = 200
"""How many events of a job of this process are one page."""
KEEP_S = 2.0
"""How soon, and how often at first, what happens in a job is written down: most have ended by then."""
SELDOM = 10
"""Later it is written down whenever the job is older by a tenth, so that an hour of it is not cut into many pages."""
UNREADABLE = "the job could not be read"
CATCH_UP_S = 10.0
"""How long whoever looks at a job that was taken over just now waits until what its child had said before is read. It
takes some milliseconds, on a machine that is not held up."""
_EVENTS = TypeAdapter(list[Event])


@dataclass(slots=True)
class Heard:
    """What came of a job that has no reply."""

    text: str = ""
    provider: str | None = None
    session: str | None = None
    """The provider's own."""


class JobLogs:
    """See the module. What reads raises `LLMError` when the store cannot be read."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept: dict[str, tuple[int, float]] = {}
        """How many events of a job are written down, and when the next ones are to be."""

    def keep(self, calls: Iterable[Call]) -> None:
        """Write down what came since, where it is time to. What outlives us is heard again from its beginning."""
        now = time.monotonic()
        for call in calls:
            written, due = self._kept.get(call.id, (0, call.created + KEEP_S))
            if now < due or call.outlives_us or call.log.closed or not call.is_kept:
                continue
            if events := call.log.events[written:]:
                self._recorder.post(records.CallLog(call.id, events))
            self._kept[call.id] = written + len(events), now + max(KEEP_S, (now - call.created) / SELDOM)

    def ended(self, call: Call) -> Posted | None:
        """Write down the rest."""
        written, _ = self._kept.pop(call.id, (0, 0.0))
        if not call.is_kept:
            return None
        return self._recorder.post(records.CallLog(call.id, call.log.events[written:], anew=call.is_taken_over))

    async def page(self, job_id: str, call: Call | None, page: int) -> tuple[Sequence[Event], int | None]:
        """A page of what happened, and the number of the next one. `call`: if it runs, or ran, in this process."""
        if call is not None:
            await caught_up(call)
            events = call.log.events[PAGE * (page - 1) : PAGE * page]
            return events, page + 1 if len(call.log.events) > PAGE * page else None
        found = await self._read(job_id, min(page, MOST_PAGES))
        if found is None:
            return [], None
        return _EVENTS.validate_python(found.events), page + 1 if page < found.pages else None

    async def heard(self, job_id: str) -> Heard:
        """What is written down of a job."""
        heard, page, texts = Heard(), 0, list[str]()
        while (found := await self._read(job_id, page := page + 1)) is not None:
            for event in _EVENTS.validate_python(found.events):
                match event:
                    case Text():
                        texts.append(event.text)
                    case Retrying(starts_over=True):
                        texts.clear()
                    case Started():
                        heard.provider, heard.session = event.provider, None
                    case Bound():
                        heard.session = event.native_session
                    case _:
                        pass
        heard.text = "".join(texts)
        return heard

    async def _read(self, job_id: str, page: int) -> LogPage | None:
        store = await self._recorder.opened()
        try:
            return await store.call_log(job_id, page) if store else None
        except records.StoreError as error:
            raise store_failure(error, UNREADABLE) from error


async def caught_up(call: Call) -> None:
    """Return at once but for a job that was taken over just now: then, when what its child said before was read."""
    if call.taken_over_at is not None:
        with anyio.move_on_after(call.taken_over_at + CATCH_UP_S - time.monotonic()):
            await call.caught_up.wait()
