"""The real model with its real weights, asked as the `local` provider asks it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dragoman.adapters import local
from dragoman.adapters.base import Completed, Turn
from tests.adapters.oneshot import run

CACHE = Path(__file__).parents[2] / ".cache" / "weights"
CHILD = (sys.executable, "-m", "dragoman.local")
PIP_NEEDS = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.mark.weights
def test_the_capital_of_france_is_paris(tmp_path: Path) -> None:
    pip_settings = {name: value for name, value in os.environ.items() if name.startswith(PIP_NEEDS)}
    # HOME is for the fetch alone: pip finds the user's index there.
    fetch_environment = {"PATH": os.defpath, "HOME": str(Path.home()), "DRAGOMAN_HOME": str(CACHE), **pip_settings}
    subprocess.run([*CHILD, "fetch"], env=fetch_environment, check=True, timeout=300)

    environment: Mapping[str, str] = {"DRAGOMAN_HOME": str(CACHE)}
    question = Turn(id="t1", prompt="What is the capital of France?")
    heard = run(local.adapter, question, CHILD, environment, tmp_path)
    assert "Paris" in heard.text
    assert isinstance(heard.outcome, Completed), heard.outcome
    assert (heard.outcome.model, heard.outcome.billing) == (local.MODEL, "local")
    assert heard.outcome.usage is not None
    assert heard.outcome.usage.output_tokens
    assert heard.notices == [local.SMALL]
