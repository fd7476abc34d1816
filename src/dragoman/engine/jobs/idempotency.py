"""Idempotency keys: a question that comes again with its key gets the job that was started for it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from dragoman import store as records
from dragoman.engine.jobs.job_logs import UNREADABLE
from dragoman.engine.record import Recorder, store_failure
from dragoman.schemas import ErrorCode, LLMError, LLMRequest, error_of

_NO_PART_OF_IT = {"idempotency_key", "background", "if_busy", "timeouts"}


@dataclass(frozen=True)
class Holder:
    """The job that has a key."""

    job_id: str
    digest: str | None
    """What tells its question from others."""

    def is_for(self, request: LLMRequest) -> bool:
        """Whether it was started for the same question."""
        return self.digest == digest(request)


class Keys:
    """Those of the jobs that this process holds are here, and in the store all that it could write."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._holders: dict[tuple[str, str], Holder] = {}
        """By scope and key."""

    def hold(self, request: LLMRequest, scope: str, job_id: str) -> None:
        """The job has the request's key, if it has one, until it is given up."""
        if request.idempotency_key is not None:
            self._holders[scope, request.idempotency_key] = Holder(job_id, digest(request))

    def give_up(self, job_id: str) -> None:
        """The job is not to be had here any more."""
        for scoped in [scoped for scoped, holder in self._holders.items() if holder.job_id == job_id]:
            del self._holders[scoped]

    def holder(self, request: LLMRequest, scope: str, key_returns: bool) -> Holder | None:
        """The job that was started with the request's key, in whichever process; None: there is none, or no key.

        Raises:
            LLMError: it is another question's for good, since `key_returns` is not so (code ``bad_request``), or the
                store cannot be read (``internal``).
        """
        key, store = request.idempotency_key, self._recorder.store
        if key is None:
            return None
        if (held := self._holders.get((scope, key))) is None:
            try:
                row = store.job_by_key(scope, key) if store else None
            except records.StoreError as error:
                raise store_failure(error, UNREADABLE) from error
            held = Holder(row.id, row.digest) if row is not None else None
        if held is not None and not held.is_for(request) and not key_returns:
            raise key_taken(request)
        return held


def key_taken(request: LLMRequest) -> LLMError:
    """That the request's key is for good that of another question."""
    used = f"the idempotency key {request.idempotency_key!r} was used for another question"
    return error_of(ErrorCode.BAD_REQUEST, used, next_step="use a new key for a new question, or none")


def key_in_use(request: LLMRequest, job_id: str) -> LLMError:
    """That the request's key is that of another question until its job has ended."""
    used = f"another question with the idempotency key {request.idempotency_key!r} is being answered"
    return error_of(ErrorCode.BAD_REQUEST, used, next_step=f"fetch job {job_id!r}, then ask again")


def digest(request: LLMRequest) -> str:
    """What tells a question from others: not its key, nor how it is waited for."""
    return sha256(request.model_dump_json(exclude=_NO_PART_OF_IT).encode()).hexdigest()
