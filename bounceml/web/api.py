"""Verdicts as JSON: POST /v1/classify; the categories: GET /v1/taxonomy; another model: POST /v1/reload.

A body of JSON is one reply, or a list of them. Any other body, and each file of a form, is read as ``bounceml predict`` reads a file. What
is written of a verdict is what ``predict --to jsonl`` writes, by the same encoder.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable, Iterator
from functools import cache
from typing import Annotated, Any, BinaryIO, Literal, NotRequired, get_type_hints

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, TypeAdapter, ValidationError, create_model
from starlette.datastructures import UploadFile
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from bounceml import stream, tables
from bounceml.classifier import Classifier
from bounceml.errors import BouncemlError, InputError, UsageError
from bounceml.parsing import rows
from bounceml.stream import Entry
from bounceml.values import FIELDS, Evidence, Reply, Score, Verdict
from bounceml.web import answers, uploads
from bounceml.web.answers import JSON, LINES
from bounceml.web.guard import MULTIPART, Refused, body_type, invalid, problems
from bounceml.web.served import Served
from bounceml.web.settings import Settings, is_loopback
from bounceml.work import Part, Worker
from bounceml.writers import jsonl

router = APIRouter(tags=["verdicts"])

_SHORT = 2048  # bytes of a body that is answered at once: it takes 20 ms at most, and the way to a thread and back 0.1 ms
_FILES = 100  # of a form
_PIECE = 64 * 2**10  # bytes of an answer that are sent at once: a client has the timeout for each

# What a body is read as: the suffix of the name that a file of its kind would have; none: by its content.
_KINDS = {
    "text/plain": "",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "message/rfc822": ".eml",
    "application/mbox": ".mbox",
    LINES: ".jsonl",
    "application/jsonl": ".jsonl",
    "application/gzip": "",
    "application/zstd": "",
    "application/octet-stream": "",
}

# --- what is asked, what is answered ----------------------------------------------------------------------------


Lang = Annotated[Literal["en", "zh"], Query(description="Language of cause and remedy")]
Audience = Annotated[Literal["sender", "admin", "recipient"], Query(description="Who reads cause and remedy")]


class One(TypedDict):
    """One reply, with what its verdict shall carry."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # where pydantic looks for it
    text: str
    id: NotRequired[str | int | None]
    recipient: NotRequired[str | None]


class Several(TypedDict):
    """Replies; a string is one without id and recipient."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    replies: list[str | One]


def _which(body: Any) -> str:
    return "several" if isinstance(body, dict) and "replies" in body else "one"


Asked = Annotated[Annotated[One, Tag("one")] | Annotated[Several, Tag("several")], Discriminator(_which)]
_ASKED: TypeAdapter[Any] = TypeAdapter(Asked)


def _described(kind: type, fields: Iterable[str], **instead: Any) -> Any:
    """Return the description of a named tuple as it is in JSON, for OpenAPI; ``instead`` has the types of fields that are named tuples."""
    described: Any = {name: (hint, ...) for name, hint in (get_type_hints(kind) | instead).items() if name in fields}
    return create_model(kind.__name__, __config__=ConfigDict(extra="allow"), **described)


_Evidence: Any = _described(Evidence, Evidence._fields)
_Score: Any = _described(Score, Score._fields)
# What is carried behind the fields is extra.
_Verdict: Any = _described(Verdict, FIELDS, evidence=list[_Evidence], alternatives=list[_Score])


class Answer(BaseModel):
    """The verdicts, in the order of the replies."""

    verdicts: list[_Verdict]


_EXAMPLES: dict[str, dict[str, Any]] = {
    "one": {"summary": "One reply", "value": {"text": "552 5.2.2 <joe@example.com>: mailbox full"}},
    "one_zh": {"summary": "一条退信", "value": {"text": "550 5.1.1 收件人邮箱不存在", "recipient": "wang@example.com"}},
    "several": {
        "summary": "Several replies",
        "value": {"replies": ["452 4.2.2 mailbox full", {"id": "7", "text": "550 用户不存在", "recipient": "li@example.org"}]},
    },
}
_LINES_EXAMPLE = '{"id": "7", "text": "550 5.1.1 no such user"}\n{"id": "8", "text": "552 邮箱空间已满"}\n'


_LINES_TOLD: dict[int | str, dict[str, Any]] = {
    200: {"content": {LINES: {"schema": {"type": "string", "description": "One verdict a line"}}}}
}


def _body_described() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    file = {"schema": {"type": "string", "format": "binary"}}
    upload = {
        "type": "object",
        "properties": {"file": {"type": "array", "maxItems": _FILES, "items": {"type": "string", "format": "binary"}}},
    }
    content: dict[str, Any] = {JSON: {"schema": _ASKED.json_schema(), "examples": _EXAMPLES}}
    content["multipart/form-data"] = {"schema": upload}
    content |= {kind: text if kind.startswith(("text/", "message/")) else file for kind in _KINDS}
    content[LINES] = {"schema": {"type": "string"}, "example": _LINES_EXAMPLE}
    content["text/plain"] = {"schema": {"type": "string"}, "example": "550 5.1.1 no such user\n552 5.2.2 mailbox full\n"}
    return {"requestBody": {"required": True, "content": content}}


def answered_examples(served: Served) -> dict[str, Any]:
    """Return what the first example is answered with, by language, for OpenAPI."""
    given = _EXAMPLES["one"]["value"]["text"]
    return {
        lang: {"summary": summary, "value": {"verdicts": [served.classifier(lang).classify(given).to_dict()]}}
        for lang, summary in (("en", "In English"), ("zh", "中文"))
    }


# --- replies of a body ------------------------------------------------------------------------------------------


def _replies(body: bytes, most: int) -> list[Reply]:
    """Return the replies of a body of JSON."""
    try:
        asked = _ASKED.validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid(one | {"loc": ("body", *one["loc"][1:])} for one in wrong) from None  # the first is the name of the form
    given: list[str | One] = asked.get("replies", [asked])
    if len(given) > most:
        raise _too_many(most)
    found: list[Reply] = []
    for one in given:
        if isinstance(one, str):
            found += rows.from_text(one)
        else:
            number = one.get("id")
            known = rows.Known(None if number is None else str(number), None, one.get("recipient"), None, None)
            found += rows.replies_in(one["text"], known)
    return found


def _too_many(most: int) -> Refused:
    return Refused(413, "Too many replies", f"a request may have {most} replies; send them in parts, or use bounceml predict")


def _entries(upload: BinaryIO, name: str, column: str | None, settings: Settings) -> list[Entry]:
    """Return the entries of an upload; all of them, so that nothing of it can be refused once an answer has begun."""
    found, count = [], 0
    try:
        with uploads.opened(upload, name, settings.max_bytes) as (file, name):
            for entry in stream.of_file(file, name, column=column):
                count += len(entry.items)
                if count > settings.max_rows:
                    raise _too_many(settings.max_rows)
                found.append(entry)
    except uploads.TooLargeError as error:
        raise Refused(413, "Too large", str(error)) from None
    except InputError as error:
        raise Refused(415, "Not readable here", str(error)) from None
    return found


def _parts(worker: Worker, entries: list[Entry]) -> Iterator[Part]:
    for _, parts in worker.answers(entries):
        yield from parts


# --- how it is answered -----------------------------------------------------------------------------------------


def _worker(classifier: Classifier, explain: bool) -> Worker:
    encode = answers.counting(jsonl.encode)
    return Worker(classifier, lambda _: encode, explain)


def _encoded(parts: Iterable[Part], media_type: str) -> Iterable[bytes]:
    lines: Iterator[bytes] = (part.encoded for part in parts)
    return lines if media_type == LINES else answers.as_object(lines)


def _wanted(request: Request, otherwise: str) -> str:
    """Return the media type that the client accepts (RFC 9110 section 12.5.1), of the two there are."""
    accepted = request.headers.get("accept", "")
    if (LINES in accepted) != (JSON in accepted):
        return LINES if LINES in accepted else JSON
    return otherwise


@router.post(
    "/v1/classify",
    summary="Why did these mails bounce?",
    response_model=Answer,
    responses=_LINES_TOLD | problems(400, 415, 422),
    openapi_extra=_body_described(),
)
async def classify(
    request: Request,
    lang: Lang = "en",
    audience: Audience = "sender",
    scheme: Annotated[
        str | None, Query(description="Add the label of this tool, as scheme_label", json_schema_extra={"enum": [*tables.schemes()]})
    ] = None,
    column: Annotated[str | None, Query(description="The column of a table that holds the reply")] = None,
    explain: Annotated[bool, Query(description="Put the words that moved the model into evidence")] = False,
) -> Response:
    """Judge a reply, a list of them, or what a file holds: a mail, a mailbox, a log, a table.

    The verdict's fields are those of `bounceml predict --to jsonl`. Files are answered as JSON lines unless `Accept` asks for JSON.
    A log line that tells of several recipients has a verdict for each. Nothing is stored.
    """
    served: Served = request.app.state.served
    settings: Settings = request.app.state.settings
    try:
        worker = _worker(served.classifier(lang, audience, scheme), explain)
    except UsageError as error:
        raise Refused(422, "Not as documented", str(error)) from None
    kind = body_type(request.headers)
    if kind == JSON:
        body = await request.body()
        if len(body) > _SHORT:
            replies = await run_in_threadpool(_replies, body, settings.max_rows)
            return _streamed(worker.parts(replies), _wanted(request, JSON))
        media_type = _wanted(request, JSON)
        parts = worker.parts(_replies(body, settings.max_rows))
        return Response(b"".join(_encoded(parts, media_type)), media_type=media_type)
    if kind == MULTIPART:
        entries = await _of_form(request, column)
    elif kind in _KINDS:
        file = io.BytesIO(await request.body())
        entries = await run_in_threadpool(_entries, file, f"upload{_KINDS[kind]}", column, settings)
    else:
        raise Refused(415, "Not readable here", f"say in Content-Type what the body is: {JSON}, multipart/form-data, {', '.join(_KINDS)}")
    return _streamed(_parts(worker, entries), _wanted(request, LINES))


def _streamed(parts: Iterator[Part], media_type: str) -> Response:
    """Return an answer that is made while it is sent, in threads."""
    return StreamingResponse(_pieces(_encoded(parts, media_type)), media_type=media_type)


async def _pieces(blocks: Iterable[bytes]) -> AsyncIterator[memoryview]:
    async for block in iterate_in_threadpool(blocks):
        for begin in range(0, len(block), _PIECE):
            yield memoryview(block)[begin : begin + _PIECE]


async def _of_form(request: Request, column: str | None) -> list[Entry]:
    settings: Settings = request.app.state.settings
    found: list[Entry] = []
    async with request.form(max_files=_FILES) as form:
        for _, part in form.multi_items():
            if not isinstance(part, UploadFile):
                raise Refused(400, "Not a file", "this form takes files alone; lang, column and the like belong in the query")
            found += await run_in_threadpool(_entries, part.file, part.filename or "upload", column, settings)
            if sum(len(entry.items) for entry in found) > settings.max_rows:
                raise _too_many(settings.max_rows)
    return found


# --- the categories, and another model --------------------------------------------------------------------------


class Group(BaseModel):
    """Categories of one kind."""

    id: str
    name: str


class CategoryTold(BaseModel):
    """A category and what follows from it, where the reply tells nothing else."""

    id: str
    group: str
    name: str
    cause: str
    remedy: str
    permanence: str
    who_acts: str
    action: str
    may_suppress: bool
    documented: str | None


class Taxonomy(BaseModel):
    """All categories."""

    groups: list[Group]
    categories: list[CategoryTold]


@cache
def _taxonomy(lang: str) -> bytes:
    known = tables.taxonomy()
    groups = [Group(id=name, name=texts[lang]) for name, texts in known.groups.items()]
    told = [
        CategoryTold.model_validate(category._asdict() | {field: getattr(category, field)[lang] for field in ("name", "cause", "remedy")})
        for category in known.categories.values()
    ]
    return Taxonomy(groups=groups, categories=told).model_dump_json().encode()


@router.get("/v1/taxonomy", summary="The categories", response_model=Taxonomy, responses=problems(422))
async def taxonomy(lang: Annotated[Literal["en", "zh"], Query(description="Language of the texts")] = "en") -> Response:
    """Return the categories in one language; the texts are those for the sender."""
    return Response(_taxonomy(lang), media_type=JSON)


class Loaded(BaseModel):
    """The model that is served now."""

    model: str


@router.post("/v1/reload", summary="Take a new model over", tags=["operation"], responses=problems(409))
def reload(request: Request) -> Loaded:
    """Load model, policy and rules anew from where they were named at the start; the other worker processes follow within a second.

    No request is dropped. What cannot be read, or judges plain replies wrongly, is not taken over: 409 says why, and the old one stays.
    Where no token is set, only programs on this machine may ask.
    """
    served: Served = request.app.state.served
    settings: Settings = request.app.state.settings
    if settings.token is None and not (request.client and is_loopback(request.client.host)):
        raise Refused(403, "Only from this machine", "start the service with a token to reload it from elsewhere")
    try:
        served.reload()
    except BouncemlError as error:
        raise Refused(409, "The old model stays", str(error)) from None
    return Loaded(model=served.model)
