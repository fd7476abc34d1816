"""Whether this machine's processor can run the model's engine."""

from __future__ import annotations

import platform
from pathlib import Path

_NEEDED = frozenset({"avx2", "fma", "f16c", "bmi2"})
"""What the engine's x86 wheel was compiled for; it does not look, it dies by SIGILL."""


def missing_features(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> frozenset[str]:
    """What the processor lacks. Empty when all is there, and where the system does not tell."""
    if (machine or platform.machine()) not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return frozenset() if flags is None else _NEEDED.difference(flags)
