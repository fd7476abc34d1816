"""Our model in the real `llm`, over a fake engine: what it is asked, what comes back, and how it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

from dragoman.adapters.base import Installed, PrivateFile, Turn
from dragoman.adapters.llm_history import CONVERSATION, database
from dragoman.adapters.local import adapter
from dragoman.local.llm_plugin import CUT, DEFAULT_SYSTEM, HISTORY_CHARS, JSON_TOKENS, LEFT_OUT, UNSUPPORTED
from dragoman.local.machine import missing_features
from dragoman.local.model import Ending, ModelFailedError, answer
from dragoman.local.narrow import STRING_CHARS
from dragoman.local.weights import FETCH_COMMAND, SMOLLM2
from dragoman.schemas import Message

FAKE_ENGINE = """
import json, os
from types import SimpleNamespace as Space

def CommonParams():
    return Space(model=Space(path=""), cpuparams=Space(n_threads=0), cpuparams_batch=Space(n_threads=0))

class Server:
    def __init__(self, parameters):
        self.parameters = parameters

    def handle_chat_completions(self, request, callback):
        if "too long" in request["messages"][-1]["content"]:
            callback({"error": {"message": "request (9 tokens) exceeds the available context size (8 tokens)"}})
            return
        p = self.parameters
        said = {"request": request, "omp": os.environ["OMP_WAIT_POLICY"], "context": p.n_ctx, "port": p.port,
                "verbosity": p.verbosity, "key": bool(p.api_keys[0]), "threads": p.cpuparams.n_threads}
        if "refuse" in request["messages"][-1]["content"]:
            raise ValueError("Unable to generate parser: JSON schema error at #/items: schema must be an object")
        for piece in (json.dumps(said), " ü", None):
            callback({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
        reason = "length" if request["max_tokens"] == 1 else "stop"
        callback({"choices": [{"delta": {}, "finish_reason": reason}]})
        callback({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """A machine where the weights are present (an empty file of their size) and the engine is the fake one."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "xllamacpp.py").write_text(FAKE_ENGINE, encoding="utf-8")
    (tmp_path / "local").mkdir()
    with (tmp_path / "local" / SMOLLM2.file_name).open("wb") as file:
        file.truncate(SMOLLM2.size)
    return {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "DRAGOMAN_HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "fake"),
        "PYTHONUTF8": "1",
    }


def llm(
    environment: Mapping[str, str], prompt: str, *arguments: str, module: str = "llm"
) -> subprocess.CompletedProcess[str]:
    model = ["-m", "smollm2", "-d", ":memory:"] if module == "llm" else []
    return subprocess.run(
        [sys.executable, "-m", module, "prompt", *model, *arguments],
        input=prompt,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_a_person_can_ask_it_through_llm(environment: Mapping[str, str]) -> None:
    child = llm({**environment, "LLM_LOAD_PLUGINS": "dragoman"}, "Who?", "-u")
    said, text_end = child.stdout.rsplit("}", 1)
    said = json.loads(said + "}")
    assert text_end == " ü\n"
    assert said["request"]["messages"] == [
        {"role": "system", "content": DEFAULT_SYSTEM},
        {"role": "user", "content": "Who?"},
    ]
    assert (said["request"]["temperature"], said["request"]["max_tokens"]) == (0, 256)
    assert (said["omp"], said["context"], said["port"], said["verbosity"]) == ("PASSIVE", 8192, 0, -1)
    assert said["key"] is True
    assert 1 <= said["threads"] <= 4
    assert child.stderr == "Token usage: 5 input, 3 output\n"


def test_our_child_becomes_llm_with_the_caller_s_system_prompt(environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be rude")
    child = llm(environment, "Who?", f"--sf={tmp_path / 'system.txt'}", module="dragoman.local")
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.rsplit("}", 1)[0] + "}")["request"]["messages"][0]["content"] == "Be rude"


def test_options_and_schema_reach_the_engine(environment: Mapping[str, str]) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    options = ["-o", "temperature", "0.5", "-o", "seed", "7", "-o", "max_tokens", "1"]
    child = llm({**environment, "LLM_LOAD_PLUGINS": "dragoman"}, "Who?", *options, "--schema", json.dumps(schema))
    request = json.loads(child.stdout.rsplit("}", 1)[0] + "}")["request"]
    assert (request["temperature"], request["seed"]) == (0.5, 7)
    assert request["response_format"] == {"type": "json_schema", "json_schema": {"schema": schema}}
    assert child.stderr == f"{CUT} 1\n"


def test_an_answer_to_a_schema_may_be_longer(environment: Mapping[str, str]) -> None:
    child = llm({**environment, "LLM_LOAD_PLUGINS": "dragoman"}, "Who?", "--schema", "name, age int")
    request = json.loads(child.stdout.rsplit("}", 1)[0] + "}")["request"]
    assert (request["max_tokens"], request["temperature"]) == (JSON_TOKENS, 0)
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"] == {"type": "string", "maxLength": STRING_CHARS}


def test_a_schema_that_the_engine_refuses_is_told_apart(environment: Mapping[str, str]) -> None:
    child = llm(environment, "refuse", "--schema", '{"type": "array"}', module="dragoman.local")
    assert (child.returncode, child.stdout) == (1, "")
    assert child.stderr == f"Error: smollm2 {UNSUPPORTED}: error at #/items: schema must be an object\n"


def heard(environment: Mapping[str, str], tmp_path: Path, *history: tuple[str, str]) -> tuple[list[str], str]:
    """What the engine is sent when this was said before, and what stderr says."""
    messages: list[Message] = []
    for question, reply in history:
        messages += [Message(role="user", content=question), Message(role="assistant", content=reply)]
    turn = Turn("t1", "Who?", system="Be rude", history=tuple(messages))
    (tmp_path / "conversation.db").write_bytes(database(turn.history, None, turn.system, CONVERSATION))
    argv = [
        f"--database={tmp_path / 'conversation.db'}" if isinstance(part, PrivateFile) else str(part)
        for part in adapter.plan(turn, Installed(Path())).channel.argv[1:]
    ]
    child = llm(environment, turn.prompt, *argv, module="dragoman.local")
    assert child.returncode == 0, child.stderr
    sent = json.loads(child.stdout.rsplit("}", 1)[0] + "}")["request"]["messages"]
    return [f"{each['role']}: {each['content']}" for each in sent], child.stderr


def test_what_was_said_before_reaches_the_engine_as_messages(environment: Mapping[str, str], tmp_path: Path) -> None:
    sent, stderr = heard(environment, tmp_path, ("One?", "1"), ("Two?", "2"))
    told = ["system: Be rude", "user: One?", "assistant: 1", "user: Two?", "assistant: 2", "user: Who?"]
    assert (sent, LEFT_OUT in stderr) == (told, False)


def test_what_is_too_much_is_left_out_from_the_beginning(environment: Mapping[str, str], tmp_path: Path) -> None:
    sent, stderr = heard(environment, tmp_path, ("Long", "x" * HISTORY_CHARS), ("Two?", "2"))
    assert sent == ["system: Be rude", "user: Two?", "assistant: 2", "user: Who?"]
    assert f"{LEFT_OUT} 1\n" in stderr


def test_a_prompt_that_is_too_long_is_an_error_of_llm(environment: Mapping[str, str]) -> None:
    child = llm(environment, "too long", module="dragoman.local")
    assert (child.returncode, child.stdout) == (1, "")
    assert child.stderr.startswith("Error: request (9 tokens) exceeds the available context size")


def test_without_weights_llm_says_what_to_run(environment: Mapping[str, str], tmp_path: Path) -> None:
    child = llm({**environment, "DRAGOMAN_HOME": str(tmp_path / "new"), "LLM_LOAD_PLUGINS": "dragoman"}, "Who?")
    assert child.returncode == 1
    assert FETCH_COMMAND in child.stderr
    assert not (tmp_path / "new").exists()
    child = llm({**environment, "DRAGOMAN_HOME": "~nobody-at-all/x", "LLM_LOAD_PLUGINS": "dragoman"}, "Who?")
    assert (child.returncode, child.stderr) == (
        1,
        "Error: DRAGOMAN_HOME is '~nobody-at-all/x', and nobody has that home\n",
    )


def test_an_engine_without_its_library_says_what_to_install(environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "fake" / "xllamacpp.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object')")
    child = llm(environment, "Who?", module="dragoman.local")
    assert child.returncode == 1
    assert "libgomp1" in child.stderr


def test_wrong_use_of_the_child_is_told() -> None:
    command = [sys.executable, "-m", "dragoman.local", "serve"]
    child = subprocess.run(command, env={}, capture_output=True, text=True, timeout=300, check=False)
    assert (child.returncode, child.stderr[:6]) == (2, "usage:")


def test_the_child_tells_the_version_of_the_llm_it_becomes() -> None:
    command = [sys.executable, "-m", "dragoman.local", "--version"]
    child = subprocess.run(command, env={}, capture_output=True, text=True, timeout=300, check=True)
    assert child.stdout == f"llm, version {version('llm')}\n"


def test_the_plugin_imports_neither_the_engine_nor_the_rest_of_us() -> None:
    code = (
        "import sys, dragoman.local.llm_plugin\n"
        "print([name for name in sys.modules if name.startswith(('xllamacpp', 'dragoman'))])"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, timeout=300, check=True
    )
    assert child.stdout.strip() == "['dragoman', 'dragoman.local', 'dragoman.local.llm_plugin']"


class Endless:
    """An engine that goes on until it is told to stop."""

    stopped = False

    def handle_chat_completions(self, _request: object, callback: object, /) -> None:
        assert callable(callback)
        while not callback({"choices": [{"delta": {"content": "a"}}]}):
            pass
        self.stopped = True


class Broken:
    """An engine that raises."""

    def handle_chat_completions(self, _request: object, _callback: object, /) -> None:
        raise RuntimeError("no luck")


def test_closing_the_answer_stops_the_engine() -> None:
    engine = Endless()
    pieces = answer(engine, [], temperature=0, max_tokens=1)
    assert next(pieces) == "a"
    pieces.close()
    assert engine.stopped


def test_an_engine_that_raises_fails_the_answer() -> None:
    with pytest.raises(ModelFailedError, match="no luck"):
        list(answer(Broken(), [], temperature=0, max_tokens=1))


def test_an_answer_without_usage_has_an_ending_all_the_same() -> None:
    class Terse:
        def handle_chat_completions(self, _request: object, callback: object, /) -> None:
            assert callable(callback)
            callback({"choices": [{"delta": {"content": "a"}, "finish_reason": "length"}]})

    pieces = answer(Terse(), [], temperature=0, max_tokens=1)
    assert next(pieces) == "a"
    with pytest.raises(StopIteration) as end:
        next(pieces)
    assert end.value.value == Ending("length", None, None)


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "missing"),
    [
        ("x86_64", "flags\t\t: fpu avx2 fma f16c bmi2\n", set[str]()),
        ("x86_64", "flags\t\t: fpu avx fma\n", {"avx2", "f16c", "bmi2"}),
        ("x86_64", "model name: x\n", set[str]()),
        ("aarch64", "Features: asimd\n", set[str]()),
    ],
)
def test_a_processor_without_avx2_is_known_before_it_dies(
    machine: str, cpuinfo: str, missing: set[str], tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert missing_features(tmp_path / "cpuinfo", machine) == missing
    assert missing_features(tmp_path / "nowhere", machine) == set()
