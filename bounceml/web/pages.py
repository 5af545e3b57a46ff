"""The page for people: one form, and the answer under it. It works without its script, which only adds comfort."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import cache, partial
from importlib.resources import files
from itertools import chain, islice
from typing import Any, BinaryIO, NamedTuple, cast

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, StreamingResponse

from bounceml import __version__, labelled, report, review, tables
from bounceml.classifier import Classifier
from bounceml.errors import UsageError
from bounceml.report import page as report_page
from bounceml.report import table as report_table
from bounceml.stream import Entry
from bounceml.templates import environment
from bounceml.values import Finding, Reply
from bounceml.web import answers, asked, metrics, view
from bounceml.web.asked import Asked, DeclinedError
from bounceml.web.guard import FORMS, Refused, body_type
from bounceml.web.served import Served
from bounceml.web.settings import Settings
from bounceml.work import Worker
from bounceml.writers import format_of

router = APIRouter(include_in_schema=False)
_log = logging.getLogger("bounceml.web")

_LANGUAGE = re.compile(r"\s*([a-zA-Z]{1,8})(?:-[\w-]*)?\s*(?:;\s*q=([\d.]+)\s*)?")
_LONGEST_HEADER = 200  # characters of Accept-Language that are read
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_CHUNK = 65_536


# --- words and assets -------------------------------------------------------------------------------------------


@cache
def _texts() -> dict[str, Any]:
    """The words of the page by language."""
    return tomllib.loads((files("bounceml.web") / "texts.toml").read_text(encoding="utf-8"))


class _Asset(NamedTuple):
    content: bytes
    media_type: str
    address: str


@cache
def _assets() -> dict[str, _Asset]:
    """The static files by name; their addresses change with their content, so that browsers may keep them for good."""
    found = {}
    for name, media_type in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        content = (files("bounceml.web") / "static" / name).read_bytes()
        found[name] = _Asset(content, media_type, f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}")
    return found


def _percent(part: float, whole: float = 1.0) -> str:
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 1:
        return "<1%"
    return ">99%" if 99.5 <= share < 100 else f"{share:.0f}%"


def _time(seconds: int, units: Mapping[str, str]) -> str:
    """Return a time in the largest unit that makes a whole number of at least two.

    >>> _time(5400, {"minute": "{count} min", "hour": "{count} h"})
    '90 min'
    """
    unit, size = next((unit, size) for unit, size in _UNITS if (seconds >= 2 * size and seconds % size == 0) or size == 1)
    return units[unit].format(count=seconds // size)


def _sureness(confidence: float, words: Iterable[Mapping[str, Any]]) -> str:
    return str(next(row["word"] for row in words if confidence >= row["from"]))


_TEMPLATES = environment("bounceml.web")
_TEMPLATES.filters |= {"percent": _percent, "time": _time, "sureness": _sureness, "shown": view.shown}


def _language(request: Request) -> str:
    """The language that the address asks for, or that the browser prefers (RFC 9110 section 12.5.4)."""
    wanted = request.query_params.get("lang")
    if wanted in tables.LANGUAGES:
        return wanted
    items = request.headers.get("accept-language", "")[:_LONGEST_HEADER].split(",")
    found = [match.groups() for item in items if (match := _LANGUAGE.fullmatch(item))]
    ranked = sorted(found, key=lambda item: -_quality(item[1]))
    return next((tag.lower() for tag, quality in ranked if tag.lower() in tables.LANGUAGES and _quality(quality)), tables.LANGUAGES[0])


def _quality(given: str | None) -> float:
    try:
        return float(given or 1)
    except ValueError:
        return 0.0


def _html(template: str, lang: str, status: int = 200, **shown: object) -> HTMLResponse:
    words = _texts()[lang]
    report_words = report_page.texts()[lang]
    content = _TEMPLATES.get_template(template).render(
        lang=lang,
        t=words,
        actions=report_words["action"],
        actors=report_words["actor"],
        kinds={kind: report_words[kind] for kind in ("hard", "soft", "block", "unknown")},
        taxonomy=tables.taxonomy(),
        assets={name: asset.address for name, asset in _assets().items()},
        version=__version__,
        longest=view.LONGEST,
        **shown,
    )
    # A form that is sent under "no-referrer" has the origin "null" (Fetch standard, "append a request Origin header"), which cannot be
    # told from that of a foreign page; other sites learn nothing under this policy either.
    headers = {
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Content-Language": words["html_lang"],
        "Vary": "Accept-Language",
    }
    return HTMLResponse(content.encode("utf-8", "replace"), status, headers)  # JSON may hold half a surrogate pair


def _page(request: Request, lang: str, asking: Asked, status: int = 200, **shown: object) -> HTMLResponse:
    settings: Settings = request.app.state.settings
    shown = {"problem": None, "answer": None, "overview": None, "stored": None, "as_one": False} | shown
    return _html(
        "page.html",
        lang,
        status,
        asking=asking,
        settings=settings,
        model=_served(request).model,
        audiences=tables.AUDIENCES,
        **shown,
    )


def _served(request: Request) -> Served:
    found: Served = request.app.state.served
    return found


# --- the routes -------------------------------------------------------------------------------------------------


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """Answer a file that the page needs."""
    asset = _assets().get(name)
    if asset is None:
        return Response(status_code=404)
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"})


@router.api_route("/", methods=["GET", "HEAD"])
async def start(request: Request) -> HTMLResponse:
    """Answer the empty form."""
    lang = _language(request)
    return _page(request, lang, asked.of_form(FormData(), []))


@router.post("/")
async def explain(request: Request) -> Response:
    """Answer what was pasted and uploaded: as the page, or as the file that was asked for."""
    _see_form(request)
    settings: Settings = request.app.state.settings
    async with request.form(max_part_size=settings.max_bytes) as form:
        return await run_in_threadpool(_answer, request, form, time.monotonic() + settings.timeout)


@router.post("/correct")
async def correct(request: Request) -> HTMLResponse:
    """Store a correction, where corrections are taken."""
    _see_form(request)
    async with request.form() as form:
        return await run_in_threadpool(_corrected, request, form)


def _see_form(request: Request) -> None:
    if body_type(request.headers) not in FORMS:
        raise Refused(415, "Not readable here", "this address takes what the form of the page sends; programs may ask /v1/classify")


def _answer(request: Request, form: FormData, until: float) -> Response:
    lang = _language(request)
    asking = asked.of_form(form, _texts()[lang]["example"])
    if not asking.explicit:
        return _page(request, lang, asking)
    if asking.empty:
        return _declined(request, lang, asking, DeclinedError(400, "empty"))
    settings: Settings = request.app.state.settings
    classifier = _served(request).classifier(lang, asking.audience)
    replies = asked.replies(asking, settings, until, _texts()[lang])
    try:
        return _SHAPES[asking.shape](request, asking, classifier, replies)
    except DeclinedError as declined:
        return _declined(request, lang, asking, declined)


def _declined(request: Request, lang: str, asking: Asked, declined: DeclinedError) -> HTMLResponse:
    problem = _texts()[lang][declined.why].format(**declined.filled)
    return _page(request, lang, asking, declined.status, problem=problem)


# --- the shapes of an answer ------------------------------------------------------------------------------------


def _as_page(request: Request, asking: Asked, classifier: Classifier, replies: Iterator[Reply]) -> Response:
    lang = classifier.voice.lang
    first = list(islice(replies, 2))
    if not first:
        raise DeclinedError(400, "nothing_found")
    if len(first) == 1 and first[0].error is None:
        finding = classifier.find(first[0], explained=True)
        metrics.count([finding])
        others = [_served(request).classifier(lang, audience) for audience in tables.AUDIENCES if audience != asking.audience]
        return _page(
            request,
            lang,
            asking,
            answer=view.answer(finding, others),
            as_one=asked.is_read_as_one(asking.pasted, asking.by_line),
            stored=_stored(request, first[0]),
        )
    found = view.overview(_counted(map(classifier.find, chain(first, replies))), asking.rows)
    return _page(request, lang, asking, overview=found)


def _counted(findings: Iterable[Finding]) -> Iterator[Finding]:
    stream = iter(findings)
    while some := list(islice(stream, 1024)):
        metrics.count(some)
        yield from some


def _stored(request: Request, reply: Reply) -> str | None:
    """What a correction of this reply would store; None where none is taken."""
    return review.example_of(reply) if request.app.state.settings.add_to else None


def _as_rows(
    name: str, file_name: str, media_type: str, request: Request, asking: Asked, classifier: Classifier, replies: Iterator[Reply]
) -> Response:
    """Write the verdicts to a temporary file, so that what cannot be answered is known before the answer begins."""
    form = format_of(name)
    out = io.TextIOWrapper(tempfile.TemporaryFile(), "utf-8", "backslashreplace", newline="", write_through=True)  # noqa: SIM115  # _content closes it
    try:
        worker = Worker(classifier, lambda first: answers.counting(form.begin(first, out)))
        entry = Entry(name, 1, [None], lambda items, first: replies)
        form.write((part.encoded for _, answered in worker.answers([entry]) for part in answered), out, classifier.voice.lang)
    except BaseException:
        out.close()
        raise
    return _download(_content(out), media_type, file_name)


def _content(out: io.TextIOWrapper) -> Iterator[bytes]:
    with out:
        file = cast(BinaryIO, out.buffer)
        file.seek(0)
        while piece := file.read(_CHUNK):
            yield piece


def _download(content: Iterable[bytes], media_type: str, file_name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "Cache-Control": "no-store"}
    return StreamingResponse(content, media_type=media_type, headers=headers)


def _as_report(name: str, request: Request, asking: Asked, classifier: Classifier, replies: Iterator[Reply]) -> Response:
    summary = report.figures(replies, classifier).summary()
    if name == "csv":
        return _download([report_table.render(summary).encode()], "text/csv", "report.csv")
    if name == "json":
        return _download([json.dumps(summary, ensure_ascii=False, indent=1).encode()], "application/json", "report.json")
    content = report_page.render(summary, classifier.voice.lang, None, "report.csv", "report.json")
    policy = _POLICY.search(content)
    assert policy is not None, "the report names the policy that its script needs"
    return HTMLResponse(content, headers={"Content-Security-Policy": f"{policy[1]}; frame-ancestors 'none'", "Cache-Control": "no-store"})


_Shape = Callable[[Request, Asked, Classifier, Iterator[Reply]], Response]
_SHAPES: dict[str, _Shape] = {
    "page": _as_page,
    "csv": partial(_as_rows, "csv", "bounces.csv", "text/csv"),
    "jsonl": partial(_as_rows, "jsonl", "bounces.jsonl", "application/x-ndjson"),
    "suppression": partial(_as_rows, "suppression", "suppression.csv", "text/csv"),
    "report.html": partial(_as_report, "html"),
    "report.csv": partial(_as_report, "csv"),
    "report.json": partial(_as_report, "json"),
}


# --- corrections ------------------------------------------------------------------------------------------------


def _corrected(request: Request, form: FormData) -> HTMLResponse:
    lang = _language(request)
    settings: Settings = request.app.state.settings
    given, category = (asked.field(form, name) for name in ("text", "category"))
    if settings.add_to is None:
        return _not_corrected(lang, 404, "correct_off")
    if not given.strip():
        return _not_corrected(lang, 400, "correct_empty")
    if category not in tables.taxonomy().categories:
        return _not_corrected(lang, 400, "correct_bad")
    row = review.Question(1, "", review.example_of(Reply(given)), (), "web page").row(category, date.today())
    try:
        labelled.add(settings.add_to, row)
    except UsageError as error:
        _log.error("a correction was not stored: %s", error)
        return _not_corrected(lang, 503, "correct_failed")
    return _html("corrected.html", lang, problem=None, row=row)


def _not_corrected(lang: str, status: int, why: str) -> HTMLResponse:
    return _html("corrected.html", lang, status, problem=_texts()[lang][why], row=None)
