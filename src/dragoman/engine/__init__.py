"""One way for every call: route, limit, run, record; and the processes that calls own."""

from dragoman.engine.call import Call
from dragoman.engine.engine import Engine
from dragoman.engine.events import EventLog
from dragoman.engine.jobs.jobs import Job, Jobs

__all__ = ["Call", "Engine", "EventLog", "Job", "Jobs"]
