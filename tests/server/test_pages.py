"""Answers that are larger than a client shows: nothing is lost, and nothing is cut silently."""

import json

import pytest
from mcp_types import ResourceLink, TextResourceContents

from dragoman.schemas import ErrorCode, ErrorInfo, LLMError, LLMResponse
from dragoman.server.pages import FRAME_BYTES, beginning, cuts, json_bytes, page_of, paged
from dragoman.testing import FakeCli
from tests.server.conftest import Connect
from tests.server.results import DONE, failure, structured, texts

pytestmark = pytest.mark.anyio

TEXTS = {
    "empty": "",
    "short": "Paris",
    "paragraphs": "\n\n".join(f"Paragraph {number}: " + "some words " * 20 for number in range(60)),
    "one line": "x" * 20_000,
    "quotes": '"\\\n' * 5_000,
    "wide": "日本語のテキスト、" * 1_500,
    "emoji": "🦉" * 4_000,
    "control": "\x01" * 3_000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("size", [500, 1_000, 7_777])
def test_pages_joined_are_the_text_and_none_is_too_large(text: str, size: int) -> None:
    pages = [text[start:end] for start, end in cuts(text, size)]
    assert "".join(pages) == text
    assert all(len(json.dumps(page, ensure_ascii=False).encode()) - 2 <= size for page in pages)
    # A page is never much smaller than it could be.
    assert len(pages) <= 1 + len(json.dumps(text, ensure_ascii=False).encode()) // (size * 0.7)


def test_a_page_ends_at_the_end_of_a_line_where_there_is_one() -> None:
    pages = [TEXTS["paragraphs"][start:end] for start, end in cuts(TEXTS["paragraphs"], 2_000)]
    assert all(page.endswith("\n") for page in pages[:-1])


def test_a_page_that_is_not_there_is_refused() -> None:
    assert page_of("x" * 2_000, 2, FRAME_BYTES + 1_000) == ("x" * 1_000, None)
    with pytest.raises(LLMError, match="there is no page 3; there are only 2 pages"):
        page_of("x" * 2_000, 3, FRAME_BYTES + 1_000)
    with pytest.raises(LLMError, match="there is no page 2; there is only one page"):
        page_of("", 2, 5_000)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("size", [12, 100, 5_000])
def test_a_beginning_is_marked_and_takes_no_more_than_it_may(text: str, size: int) -> None:
    shown = beginning(text, size)
    assert len(json.dumps(shown, ensure_ascii=False).encode()) - 2 <= size
    assert shown == text or (shown.endswith(" […]") and text.startswith(shown.removesuffix(" […]")))


def pages_of(reply: LLMResponse, answer_bytes: int) -> list[LLMResponse]:
    pages = [paged(reply, 1, answer_bytes)]
    while (page := pages[-1].next_page) is not None:
        pages.append(paged(reply, page, answer_bytes))
    assert "".join(page.text for page in pages) == reply.text
    assert max(json_bytes(page.public()) for page in pages) <= answer_bytes
    return pages


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("message", ["why " * 1_000, "\x01🦉" * 500, "why"])
def test_an_error_has_room_on_every_page_and_where_there_is_none_it_says_where_all_of_it_is(
    text: str, message: str
) -> None:
    error = ErrorInfo.of(ErrorCode.CRASHED, message, stderr_tail="é" * 2_000)
    reply = LLMResponse(status="failed", text=text, provider="fake", error=error, job_id="id", call_id="id")
    for page in pages_of(reply, 9_000):
        assert page.error is not None
        if page.error != error:
            assert page.error.message.removesuffix(" […]") in message
            assert "the error is shortened here; the resource dragoman://jobs/id has all of it" in page.notices
    assert pages_of(reply.model_copy(update={"text": ""}), 20_000)[0].error == error


def test_a_value_beside_a_text_is_on_the_first_page_if_it_fits_and_else_it_is_told_where_it_is() -> None:
    reply = LLMResponse(status="completed", text=TEXTS["paragraphs"], job_id="id", call_id="id")
    where = "there is no `data` on this page; the resource dragoman://jobs/id has it, and the texts of all pages"
    for value, is_there in ((["x" * 100], True), (["x" * 8_900], False)):
        first, *others = pages_of(reply.model_copy(update={"data": value}), 9_000)
        assert (first.data == value, any(where in notice for notice in first.notices)) == (is_there, not is_there)
        assert all(page.data is None and where in page.notices[0] for page in others)
        assert others
    brief = reply.model_copy(update={"text": "short"})
    assert pages_of(brief.model_copy(update={"data": ["x" * 8_900]}), 9_000)[0].data is None
    assert pages_of(brief.model_copy(update={"data": ["x" * 8_500]}), 9_000)[0].notices == ()


async def test_a_large_answer_is_read_by_page_with_the_tool_and_as_a_resource(connect: Connect, cli: FakeCli) -> None:
    whole = TEXTS["paragraphs"] + TEXTS["wide"]
    cli.script({"read": "all"}, {"line": {"text": whole}}, DONE)
    async with connect(server={"answer_bytes": 10_000}) as client:
        result = await client.call_tool("ask_fake", {"prompt": "hi"})
        reply = structured(result)
        assert (reply["status"], reply["next_page"]) == ("completed", 2)
        assert len(json.dumps(reply, ensure_ascii=False).encode()) <= 10_000
        assert texts(result)[0] == reply["text"]
        assert f'job_id "{reply["job_id"]}" and page 2' in texts(result)[-1]
        [link] = [block for block in result.content if isinstance(block, ResourceLink)]
        parts, resources = [reply["text"]], [reply["text"]]
        while "next_page" in reply:
            [content] = (await client.read_resource(f"{link.uri.removesuffix('2')}{reply['next_page']}")).contents
            assert isinstance(content, TextResourceContents)
            resources.append(content.text)
            page = {"action": "result", "job_id": reply["job_id"], "page": reply["next_page"]}
            result = await client.call_tool("job", page)
            reply = structured(result)
            parts.append(reply["text"])
        assert "".join(parts) == whole
        assert resources == parts
        beyond = failure(
            await client.call_tool("job", {"action": "result", "job_id": reply["job_id"], "page": len(parts) + 1})
        )
        assert beyond["code"] == "bad_request"
        assert cli.starts == 1


async def test_the_size_is_that_of_the_client_by_its_name(connect: Connect, cli: FakeCli) -> None:
    cli.script({"read": "all"}, {"line": {"text": "x" * 20_000}}, DONE)
    async with connect(called="codex-mcp-client") as client:
        small = structured(await client.call_tool("ask_fake", {"prompt": "hi"}))
    async with connect(called="claude-code") as client:
        large = structured(await client.call_tool("ask_fake", {"prompt": "hi"}))
    assert (len(small["text"]) < 10_000, small["next_page"]) == (True, 2)
    assert (len(large["text"]), "next_page" in large) == (20_000, False)
