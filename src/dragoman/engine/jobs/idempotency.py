"""Idempotency keys: a question that comes again with its key gets the job that was started for it."""

from __future__ import annotations

from hashlib import sha256

from dragoman import store as records
from dragoman.engine.jobs.job_logs import UNREADABLE
from dragoman.engine.record import Recorder, store_failure
from dragoman.schemas import ErrorCode, LLMRequest, error_of

_NO_PART_OF_IT = {"idempotency_key", "background", "if_busy", "timeouts"}


class Keys:
    """Those of the jobs that run in this process are here, and all of them in the store."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._holders: dict[tuple[str, str], tuple[str, str]] = {}
        """The job of each scope and key, and what tells its question from others."""

    def hold(self, request: LLMRequest, scope: str, job_id: str) -> None:
        """The job has the request's key, if it has one, until it is given up."""
        if request.idempotency_key is not None:
            self._holders[scope, request.idempotency_key] = job_id, digest(request)

    def give_up(self, job_id: str) -> None:
        """The job runs no more."""
        for scoped in [scoped for scoped, (holder, _) in self._holders.items() if holder == job_id]:
            del self._holders[scoped]

    def holder(self, request: LLMRequest, scope: str) -> str | None:
        """The job that was started with the request's key, in whichever process; None: there is none, or no key.

        Raises:
            LLMError: the key was used for another question (code ``bad_request``), or the store cannot be read.
        """
        key, store = request.idempotency_key, self._recorder.store
        if key is None:
            return None
        if (held := self._holders.get((scope, key))) is not None:
            job_id, its_digest = held
        else:
            try:
                row = store.job_by_key(scope, key) if store else None
            except records.StoreError as error:
                raise store_failure(error, UNREADABLE) from error
            if row is None:
                return None
            job_id, its_digest = row.id, row.digest
        check_same(its_digest, request)
        return job_id


def check_same(its_digest: str | None, request: LLMRequest) -> None:
    """Whether a key's job was started for the same question.

    Raises:
        LLMError: for another one (code ``bad_request``).
    """
    if its_digest != digest(request):
        used = f"the idempotency key {request.idempotency_key!r} was used for another question"
        raise error_of(ErrorCode.BAD_REQUEST, used, next_step="use a new key for a new question, or none")


def digest(request: LLMRequest) -> str:
    """What tells a question from others: not its key, nor how it is waited for."""
    return sha256(request.model_dump_json(exclude=_NO_PART_OF_IT).encode()).hexdigest()
