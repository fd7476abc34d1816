"""What becomes of a test whose real CLI cannot be had."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.toolchain import UnavailableError


def required(program: Callable[[], Path]) -> Path:
    """The program; where it cannot be had the test is skipped with the reason, and fails if ``CI`` is ``true``."""
    try:
        return program()
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
