"""All that `dragoman.store` offers."""

from dragoman.store.cache import AnswerCached, CachedAnswer, CacheTrimmed
from dragoman.store.call_logs import CallLog, LogPage
from dragoman.store.circuits import CircuitChanged, CircuitKey, CircuitRow
from dragoman.store.conversations import (
    ConversationDeleted,
    ConversationForked,
    ConversationImported,
    ConversationReset,
    SessionForgotten,
)
from dragoman.store.errors import (
    Conflict,
    ConversationExists,
    ConversationGone,
    JobGone,
    KeyTaken,
    StoreError,
    explain,
)
from dragoman.store.history import ConversationRow, Cursor, SessionRow, TurnRow
from dragoman.store.jobs import JobAdopted, JobCancelRequested, JobDetached, JobEnded, JobRow, JobStarted
from dragoman.store.records import (
    CallEnded,
    CallStarted,
    Orphan,
    OrphansEnded,
    Posted,
    ProcessEnded,
    ProcessStarted,
    Record,
    Together,
)
from dragoman.store.retention import Expire
from dragoman.store.search import Found, Search
from dragoman.store.stats import ProviderStats
from dragoman.store.store import Store, open_store
from dragoman.store.turns import TurnEnded, TurnStarted

__all__ = [
    "AnswerCached",
    "CacheTrimmed",
    "CachedAnswer",
    "CallEnded",
    "CallLog",
    "CallStarted",
    "CircuitChanged",
    "CircuitKey",
    "CircuitRow",
    "Conflict",
    "ConversationDeleted",
    "ConversationExists",
    "ConversationForked",
    "ConversationGone",
    "ConversationImported",
    "ConversationReset",
    "ConversationRow",
    "Cursor",
    "Expire",
    "Found",
    "JobAdopted",
    "JobCancelRequested",
    "JobDetached",
    "JobEnded",
    "JobGone",
    "JobRow",
    "JobStarted",
    "KeyTaken",
    "LogPage",
    "Orphan",
    "OrphansEnded",
    "Posted",
    "ProcessEnded",
    "ProcessStarted",
    "ProviderStats",
    "Record",
    "Search",
    "SessionForgotten",
    "SessionRow",
    "Store",
    "StoreError",
    "Together",
    "TurnEnded",
    "TurnRow",
    "TurnStarted",
    "explain",
    "open_store",
]
