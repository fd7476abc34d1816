"""Jobs that have ended and are still in memory, so that whoever comes for one soon need not wait for the disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman import store as records
from dragoman.engine.call import Call
from dragoman.schemas import LLMResponse

if TYPE_CHECKING:
    from dragoman.store import Posted

MAX_ENDED = 100
MAX_BYTES = 32 * 1024 * 1024
"""As much as one call may hold: 16 MiB of text and as much of other events."""
VALUE_SHARE = 4
"""What a value weighs, as a share of the JSON it was read from."""
AGAIN_S = 10.0
"""How long after the disk refused an end it is written again: it may be full for a while only."""


@dataclass(slots=True)
class _Ended:
    call: Call
    reply: LLMResponse
    size: int
    end: Posted | None
    """What becomes of the record of its end; None: there is no store."""
    log: Posted | None
    """The same of what happened in it."""

    @property
    def is_on_disk(self) -> bool:
        return all(posted is not None and posted.done and posted.error is None for posted in (self.end, self.log))

    @property
    def is_nowhere_else(self) -> bool:
        """Whether it is not on the disk, nor about to be."""
        return any(posted is None or posted.error is not None for posted in (self.end, self.log))

    @property
    def end_was_refused(self) -> bool:
        """Whether it runs for whoever reads of it, until its end is written after all."""
        error = None if self.end is None else self.end.error
        return error is not None and not isinstance(error, records.Conflict)  # such as one that was deleted meanwhile

    @property
    def has_open_end(self) -> bool:
        """Whether its end may have to be written again."""
        return self.end_was_refused or (self.end is not None and not self.end.done)


class EndedJobs:
    """The newest `MAX_ENDED`, as long as they hold no more than `MAX_BYTES`. `forget` is told the ids of the others.

    Only those that are on disk go. One that was not written yet stays, and of those that cannot be written, which can
    be had nowhere else, the newest `MAX_ENDED`.
    """

    def __init__(
        self, forget: Callable[[str], object], write_end: Callable[[Call, LLMResponse], Posted | None]
    ) -> None:
        self._forget = forget
        self._write_end = write_end
        self._again_at = 0.0
        self._jobs: dict[str, _Ended] = {}
        self._size = 0

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs

    @property
    def is_too_much(self) -> bool:
        """Whether more is held than is to be, since it was not written yet."""
        return self._is_too_much and any(not job.is_nowhere_else for job in self._jobs.values())

    @property
    def have_open_ends(self) -> bool:
        """Whether some of their ends are not on the disk yet."""
        return any(job.has_open_end for job in self._jobs.values())

    def add(self, call: Call, reply: LLMResponse, other_bytes: int, end: Posted | None, log: Posted | None) -> None:
        """A job ended; `other_bytes`: what its events hold besides text."""
        size = _weight(call, reply) + other_bytes
        self._size += size
        self._jobs[call.id] = _Ended(call, reply, size, end, log)
        self.let_go()

    def write_refused(self, *, at_once: bool = False) -> None:
        """Have the ends that the disk refused written again, if it is time for that or `at_once`.

        Whoever looks for such a job elsewhere sees one that runs.
        """
        refused = [job for job in self._jobs.values() if job.end_was_refused]
        if refused and (at_once or time.monotonic() >= self._again_at):
            self._again_at = time.monotonic() + AGAIN_S
            for job in refused:
                job.end = self._write_end(job.call, job.reply)

    def drop(self, job_id: str) -> None:
        """Let go of a job that is not wanted any more."""
        if job_id in self._jobs:
            self._remove(job_id)

    def let_go(self) -> None:
        """Let go of what is too much and need not be held."""
        for job_id, job in list(self._jobs.items()):
            if not self._is_too_much:
                return
            if job.is_on_disk:
                self._remove(job_id)
        nowhere_else = [job_id for job_id, job in self._jobs.items() if job.is_nowhere_else]
        for job_id in nowhere_else[:-MAX_ENDED]:
            self._remove(job_id)

    @property
    def _is_too_much(self) -> bool:
        return len(self._jobs) > MAX_ENDED or self._size > MAX_BYTES

    def _remove(self, job_id: str) -> None:
        self._size -= self._jobs.pop(job_id).size
        self._forget(job_id)


def _weight(call: Call, reply: LLMResponse) -> int:
    """What is held of it, but for its events."""
    # Not the bytes that are sent: a single emoji has every character of a text take four.
    text, asked = sys.getsizeof(reply.text), call.request
    value = 0 if reply.data is None else VALUE_SHARE * text
    return text + value + sys.getsizeof(asked.prompt) + sys.getsizeof(asked.system_prompt)
