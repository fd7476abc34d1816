"""For testing adapters and whatever stands on Dragoman: a scripted fake CLI, a contract that checks itself."""

from dragoman.testing.adapter import FakeAdapter
from dragoman.testing.conformance import ConformanceError, check_adapter, play
from dragoman.testing.fakes import FakeCli, Liveness

__all__ = ["ConformanceError", "FakeAdapter", "FakeCli", "Liveness", "check_adapter", "play"]
