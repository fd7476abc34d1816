"""What clients may read without calling a tool."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from pydantic import BaseModel

from dragoman.engine import Engine, Job
from dragoman.engine.ids import MOST_PAGES
from dragoman.schemas import LLMError
from dragoman.server.callers import Callers, RequestContext
from dragoman.server.pages import page_of, page_uri

PROVIDERS = "dragoman://providers"
PROVIDER = "dragoman://providers/{name}"
CONVERSATIONS = "dragoman://conversations"
CONVERSATION = "dragoman://conversations/{conversation_id}"
CONVERSATION_PAGE = "dragoman://conversations/{conversation_id}/pages/{page}"
JOBS = "dragoman://jobs"
JOB = "dragoman://jobs/{job_id}"
JOB_PAGE = page_uri("{job_id}", "{page}")
JOB_EVENTS = "dragoman://jobs/{job_id}/events/{page}"
JSON = "application/json"
TEXT = "text/plain"
LISTED = 50


def add_resources(server: MCPServer, engine: Engine, callers: Callers) -> None:
    """Add the pages of providers, conversations and jobs."""
    _add_providers(server, engine)
    _add_conversations(server, engine)
    _add_jobs(server, engine, callers)


def _add_providers(server: MCPServer, engine: Engine) -> None:
    @server.resource(
        PROVIDERS,
        name="providers",
        title="Providers",
        mime_type=JSON,
        description="Every LLM CLI Dragoman knows, and its state.",
    )
    async def providers() -> str:
        return _json(await engine.providers.statuses())

    @server.resource(
        PROVIDER, name="provider", title="Provider", mime_type=JSON, description="One of them, with its version."
    )
    async def provider(name: str) -> str:
        if name not in engine.providers.adapters:
            unknown = engine.providers.unknown(name).info
            raise ResourceNotFoundError(f"{unknown.message}; {unknown.next_step}")
        return _json(await engine.providers.status(name, deep=True))


def _add_conversations(server: MCPServer, engine: Engine) -> None:
    @server.resource(
        CONVERSATIONS, name="conversations", title="Conversations", mime_type=JSON, description="The latest ones."
    )
    async def conversations() -> str:
        return _json(await engine.conversations.list(limit=LISTED))

    @server.resource(
        CONVERSATION,
        name="conversation",
        title="Conversation",
        mime_type=JSON,
        description="Its first turns.",
    )
    async def conversation(conversation_id: str) -> str:
        return await page_of_turns(conversation_id, 1)

    @server.resource(
        CONVERSATION_PAGE, name="conversation page", title="Conversation", mime_type=JSON, description="More turns."
    )
    async def conversation_page(conversation_id: str, page: str) -> str:
        return await page_of_turns(conversation_id, _number(page))

    async def page_of_turns(conversation_id: str, page: int) -> str:
        try:
            info, turns, next_page = await engine.conversations.show(conversation_id, page)
        except LLMError as error:
            raise _not_found(error) from error
        more = {} if next_page is None else {"next_page": f"{CONVERSATIONS}/{conversation_id}/pages/{next_page}"}
        return _text({**_plain(info), "turns": list(map(_plain, turns)), **more})


def _add_jobs(server: MCPServer, engine: Engine, callers: Callers) -> None:
    @server.resource(JOBS, name="jobs", title="Jobs", mime_type=JSON, description="The latest ones.")
    async def jobs() -> str:
        return _json(await engine.jobs.listed(LISTED))

    @server.resource(JOB, name="job", title="Job", mime_type=JSON, description="Its reply, or what there is now.")
    async def job(job_id: str) -> str:
        try:
            return _text((await (await found(job_id)).so_far()).public())
        except LLMError as error:
            raise _not_found(error) from error

    @server.resource(
        JOB_PAGE, name="job page", title="Answer, by page", mime_type=TEXT, description="As large as your client takes."
    )
    async def job_page(job_id: str, page: str, context: RequestContext) -> str:
        try:
            return page_of((await found(job_id)).reply().text, _number(page), callers.of(context).answer_bytes)[0]
        except LLMError as error:
            raise _not_found(error) from error

    @server.resource(
        JOB_EVENTS, name="job events", title="What happened", mime_type=JSON, description="The event log of a job."
    )
    async def job_events(job_id: str, page: str) -> str:
        number = _number(page)
        try:
            events, next_page = await (await found(job_id)).events(number)
        except LLMError as error:
            raise _not_found(error) from error
        if number > 1 and not events:
            raise ResourceNotFoundError(f"there is no page {number}; read from page 1 on, as far as next_page goes")
        more = {} if next_page is None else {"next_page": f"{JOBS}/{job_id}/events/{next_page}"}
        return _text({"job_id": job_id, "events": list(map(_plain, events)), **more})

    async def found(job_id: str) -> Job:
        try:
            return await engine.jobs.find(job_id)
        except LLMError as error:
            raise _not_found(error) from error


def _not_found(error: LLMError) -> ResourceNotFoundError:
    return ResourceNotFoundError(f"{error.message}; {error.info.next_step}" if error.info.next_step else error.message)


def _number(page: str) -> int:
    """The number of a page, from 1. Not left to the SDK, to which a wrong one would be a fault of ours."""
    if not page.isdecimal() or not 0 < int(page) <= MOST_PAGES:
        raise ResourceNotFoundError(f"there is no page {page!r}; give a number from 1 on")
    return int(page)


def _plain(value: BaseModel) -> dict[str, object]:
    return value.model_dump(mode="json", exclude_none=True)


def _json(value: BaseModel | Sequence[BaseModel]) -> str:
    return _text(_plain(value) if isinstance(value, BaseModel) else [_plain(each) for each in value])


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
