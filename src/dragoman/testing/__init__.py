"""For testing adapters and whatever stands on Dragoman: fake CLIs and processes, a contract that checks itself."""

from dragoman.testing.adapter import FakeAdapter
from dragoman.testing.conformance import ConformanceError, check_adapter, play
from dragoman.testing.fakes import FakeCli, Liveness
from dragoman.testing.process import FakeProcess

__all__ = ["ConformanceError", "FakeAdapter", "FakeCli", "FakeProcess", "Liveness", "check_adapter", "play"]
