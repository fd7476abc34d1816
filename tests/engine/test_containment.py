"""What the engine does when those that watch over its children are killed."""

import os
import signal
import sys

import anyio
import pytest

from dragoman.processes.tree import parent
from dragoman.schemas import ErrorCode, LLMRequest
from dragoman.testing import FakeCli, Liveness
from dragoman.testing.fakes import Step
from tests.engine.conftest import MakeEngine

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers and /proc"),
]
HIDDEN: Step = {"grandchild": {"setsid": True, "double_fork": True, "hold_stdout": True}}


def watchers(live: Liveness, name: str = "cli") -> tuple[int, int]:
    """The shepherd of the process that connected under this name, and its guardian.

    Not any guardian below this process: that of an earlier test may be just leaving.
    """
    shepherd = parent(next(peer.pid for peer in live.peers if peer.name == name))
    return shepherd, parent(shepherd)


@pytest.mark.parametrize("guardian_first", [False, True])
async def test_a_call_whose_shepherd_is_killed_fails_as_crashed_and_its_tree_goes(
    make_engine: MakeEngine, cli: FakeCli, *, guardian_first: bool
) -> None:
    once = {"retry": {"max_attempts": 1}}
    async with Liveness() as live, make_engine(configuration=once) as engine:
        hidden: Step = {"grandchild": {**HIDDEN["grandchild"], "connect": live.port}}
        cli.script({"ignore": ["TERM"]}, hidden, {"line": {"text": "part"}}, live.connect(), {"pause": True})
        with anyio.fail_after(60):
            call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
            await live.connected(2)
            shepherd, guardian = watchers(live)
            for pid in (guardian, shepherd) if guardian_first else (shepherd,):
                os.kill(pid, signal.SIGKILL)
            reply = await call.outcome()
            assert reply.error is not None
            assert (reply.error.code, reply.text) == (ErrorCode.CRASHED, "part")
            await live.all_gone()


async def test_calls_go_on_and_new_ones_start_when_the_guardian_is_killed(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    async with Liveness() as live, make_engine() as engine:
        cli.script(
            live.connect(), {"wait": "gate"}, {"line": {"text": "ok"}}, {"line": {"done": {"finish_reason": "stop"}}}
        )
        with anyio.fail_after(60):
            first = engine.submit(LLMRequest(prompt="hi", provider="fake"))
            await live.connected()
            _, guardian = watchers(live)
            os.kill(guardian, signal.SIGKILL)
            second = engine.submit(LLMRequest(prompt="hi", provider="fake"))
            await live.connected(2)
            await live.release()
            assert ((await first.outcome()).text, (await second.outcome()).text) == ("ok", "ok")
            await live.all_gone()


async def test_what_is_swept_after_a_crash_is_not_the_attempt_that_came_after_it(
    make_engine: MakeEngine, cli: FakeCli
) -> None:
    async with Liveness() as live, make_engine(configuration={"retry": {"max_attempts": 2}}) as engine:
        deaf: Step = {"grandchild": {"setsid": True, "ignore_term": True, "connect": live.port, "as": "deaf"}}
        cli.scripts(
            [deaf, live.connect("first"), {"pause": True}],
            [live.connect("second"), {"wait": "gate"}, {"line": {"text": "ok"}}, {"line": {"done": {}}}],
        )
        with anyio.fail_after(60):
            call = engine.submit(LLMRequest(prompt="hi", provider="fake"))
            first = await live.connected(2)
            shepherd, guardian = watchers(live, "first")
            for pid in (guardian, shepherd):
                os.kill(pid, signal.SIGKILL)
            await live.connected(3)
            for peer in first:
                await peer.gone.wait()
            await live.release("second")
            reply = await call.outcome()
            assert (reply.status, reply.text, len(reply.attempts)) == ("completed", "ok", 2), reply
            await live.all_gone()
