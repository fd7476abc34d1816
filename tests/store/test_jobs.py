"""Jobs: one for each key, one end, one owner."""

import copy
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dragoman.schemas import Notice, Started, Text
from dragoman.store import (
    CallLog,
    JobCancelRequested,
    JobDetached,
    JobEnded,
    JobGone,
    JobRow,
    JobStarted,
    KeyTaken,
    LogPage,
    Store,
    StoreError,
    Together,
    TurnStarted,
    open_store,
)
from dragoman.store.call_logs import MAX_PAGES, PAGE_BYTES
from dragoman.store.identity import Identity

pytestmark = pytest.mark.anyio


def _taken(error: StoreError) -> None:
    assert isinstance(error, KeyTaken)


async def test_a_job_is_kept_from_its_start_to_its_end(store: Store) -> None:
    started = JobStarted(
        *("j1", "mcp", f"Why\n is {'x' * 300}?", "claude", "c", '{"prompt": "\ud83d"}', 99.0, "client", "key"),
        digest="d",
        created_at=5.0,
    )
    await store.write(started)
    row = store.job("j1")
    assert row is not None
    assert row == JobRow(
        *("j1", row.server_id, "c", "claude", "mcp", "running", 5.0, None, 99.0, f"Why is {'x' * 192}…"),
        *("client", "key", "d"),
        detached=False,
        folder=None,
        shepherd_pid=None,
        shepherd_start=None,
        cancel_requested=False,
    )
    assert store.job_by_key("client", "key") == row
    assert await store.job_request("j1") == '{"prompt": "\ufffd"}'
    assert await store.job_reply("j1") is None
    assert await store.write(JobEnded("j1", "completed", '{"model": "m"}', "codex", 7.0, "because")) is True
    row = store.job("j1")
    assert row is not None
    assert (row.status, row.ended_at, row.provider) == ("completed", 7.0, "codex")
    assert await store.job_reply("j1") == ('{"model": "m"}', "because")


async def test_an_unknown_job_is_none(store: Store) -> None:
    assert store.job("j") is None
    assert store.job_by_key("s", "k") is None
    assert await store.job_reply("j") is None
    with pytest.raises(JobGone, match="job 'j' is not there"):
        await store.write(JobEnded("j", "completed"))
    with pytest.raises(JobGone):
        await store.write(JobCancelRequested("j"))
    with pytest.raises(JobGone):
        await store.write(JobDetached("j", 1))


async def test_the_first_end_of_a_job_counts(store: Store) -> None:
    await store.write(JobStarted("j", "mcp", "why?"))
    assert await store.write(JobEnded("j", "cancelled", "first")) is True
    assert await store.write(JobEnded("j", "completed", "second")) is False
    row = store.job("j")
    assert row is not None
    assert (row.status, await store.job_reply("j")) == ("cancelled", ("first", ""))


async def test_a_key_is_one_jobs_within_its_scope(store: Store) -> None:
    await store.write(JobStarted("j1", "mcp", "why?", scope="a", key="k", digest="d1"))
    await store.write(JobStarted("j2", "mcp", "why?", scope="b", key="k"))
    with pytest.raises(KeyTaken, match="the idempotency key is that of job 'j1'; fetch that job") as caught:
        await store.write(
            Together((TurnStarted("c", "j3", "why?"), JobStarted("j3", "mcp", "why?", scope="a", key="k")))
        )
    assert (caught.value.job_id, caught.value.digest) == ("j1", "d1")
    assert store.job("j3") is None
    assert store.conversation("c") is None
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301 - our own
        assert (again.job_id, str(again)) == ("j1", str(caught.value))
    for number in (4, 5):
        await store.write(JobStarted(f"j{number}", "mcp", "no key"))


async def test_a_job_can_give_its_key_up_to_the_next(store: Store) -> None:
    await store.write(JobStarted("j1", "mcp", "why?", scope="a", key="k"))
    await store.write(JobEnded("j1", "failed"))
    await store.write(JobStarted("j2", "mcp", "why?", scope="a", key="k", instead_of="j1"))
    with pytest.raises(KeyTaken) as caught:
        await store.write(JobStarted("j3", "mcp", "why?", scope="a", key="k", instead_of="j1"))
    assert caught.value.job_id == "j2"
    row = store.job_by_key("a", "k")
    assert row is not None
    assert row.id == "j2"


async def test_of_two_servers_that_use_a_key_at_once_one_starts(path: Path) -> None:
    async with open_store(path, on_error=_taken) as one, open_store(path) as two:
        for number in range(20):
            one.post(JobStarted(f"one{number}", "mcp", "why?", scope="a", key=f"k{number}"))
            with suppress(KeyTaken):
                await two.write(JobStarted(f"two{number}", "mcp", "why?", scope="a", key=f"k{number}"))
            owner = "one" if two.job(f"two{number}") is None else "two"
            row = two.job_by_key("a", f"k{number}")
            assert row is not None
            assert row.id == f"{owner}{number}"
        await one.write(JobStarted("last", "mcp", "why?"))
        assert len(await one.jobs()) == 21


async def test_a_cancel_is_seen_by_others_while_the_job_runs(path: Path) -> None:
    async with open_store(path) as one, open_store(path) as two:
        await one.write(JobStarted("j", "mcp", "why?"))
        seen = one.data_changed()
        assert one.data_changed(seen) == 0
        assert await two.write(JobCancelRequested("j")) is True
        assert one.data_changed(seen) not in (0, seen)
        row = one.job("j")
        assert row is not None
        assert row.cancel_requested
        await one.write(JobEnded("j", "cancelled"))
        assert await two.write(JobCancelRequested("j")) is False


async def test_a_detached_job_names_its_shepherd(store: Store) -> None:
    own = Identity.own()
    await store.write(JobStarted("j", "mcp", "why?", detached=True))
    await store.write(JobDetached("j", own.pid, folder="/x"))
    row = store.job("j")
    assert row is not None
    assert (row.detached, row.folder, row.shepherd_pid, row.shepherd_start) == (True, "/x", own.pid, own.start_time)
    assert (row.shepherd_start is not None) is (sys.platform == "linux")


async def test_a_list_of_jobs_has_the_newest_first(store: Store) -> None:
    for number in range(5):
        await store.write(JobStarted(f"j{number}", "mcp", "why?"))
    assert [row.id for row in await store.jobs(2)] == ["j4", "j3"]
    assert [row.id for row in await store.jobs(2, skip=3)] == ["j1", "j0"]


async def test_what_happened_in_a_call_is_read_by_page(store: Store) -> None:
    await store.write(CallLog("k", (Started(provider="claude"), Text(text="Pa"))))
    await store.write(CallLog("k", (Text(text="ris\n\u2028"),)))
    assert await store.call_log("k") == LogPage(
        ({"type": "started", "provider": "claude"}, {"type": "text", "text": "Pa"}), 1, 2
    )
    assert await store.call_log("k", 2) == LogPage(({"type": "text", "text": "ris\n\u2028"},), 2, 2)
    assert await store.call_log("k", 3) is None
    assert await store.call_log("nobody") is None


async def test_a_long_log_has_pages_of_a_size_and_all_events(store: Store) -> None:
    events = [Text(text=f"{number} {'x' * 1000}") for number in range(200)]
    await store.write(CallLog("k", events))
    first = await store.call_log("k")
    assert first is not None
    assert first.pages == -(-200 // -(-PAGE_BYTES // len(events[0].model_dump_json())))
    pages = [await store.call_log("k", page) for page in range(1, first.pages + 1)]
    assert [event["text"] for page in pages if page for event in page.events] == [event.text for event in events]


async def test_a_log_past_all_bounds_ends_with_a_notice(store: Store) -> None:
    for _ in range(3):
        await store.write(CallLog("k", [Notice(message="x" * PAGE_BYTES)] * (MAX_PAGES // 2)))
    last = await store.call_log("k", MAX_PAGES)
    assert last == LogPage(
        ({"type": "notice", "message": "what happened later is not kept here"},), MAX_PAGES, MAX_PAGES
    )
