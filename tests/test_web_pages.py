from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import html
import io
import json
import random
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import to_thread
from fastapi import Request
from starlette.datastructures import FormData

from bounceml import Classifier, tables, text
from bounceml.values import FIELDS, Reply
from bounceml.web import asked, pages, view
from bounceml.web.app import create
from bounceml.web.settings import Settings

FULL = "452 4.2.2 <ann@example.com>: Mailbox is full, please try again later"
DEAD = "550 5.1.1 <joe@example.com>: user unknown"
MAIL = b"""From: MAILER-DAEMON@mx.example.net
To: kim@example.org
Subject: failure notice

<joe@example.com>:
550 5.1.1 no such user here
"""
TABLE = (
    "id,recipient,reply\n"
    "1,joe@example.com,550 5.1.1 user unknown\n"
    "2,ann@example.com,452 4.2.2 mailbox full\n"
    "3,bob@example.net,550 5.1.1 no such user\n"
    "4,eve@example.net,554 5.7.1 blocked using zen.spamhaus.org\n"
)


class Client:
    """Asks an application without a network."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def _asked(self, method: str, address: str, **given: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 4000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, address, **given)

    def get(self, address: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._asked("GET", address, **given))

    def post(self, address: str, **given: Any) -> httpx.Response:
        return asyncio.run(self._asked("POST", address, **given))


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "added.jsonl"


@pytest.fixture(scope="module")
def client(added: Path) -> Client:
    return Client(create(Settings(add_to=added)))


@pytest.fixture(scope="module")
def small() -> Client:
    """A service that takes little, and no corrections."""
    return Client(create(Settings(max_rows=3, max_bytes=20_000)))


def explained(client: Client, pasted: str, lang: str = "en", **fields: str) -> str:
    """The words and tags of the answer, without those of the form."""
    answer = client.post("/", params={"lang": lang}, data={"text": pasted, "do": "explain"} | fields)
    assert answer.status_code == 200
    return answer.text.partition('<section id="answer"')[2]


def words(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", page))


# --- the start page ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de-DE,zh;q=0.4,en;q=0.3", "zh-CN"),
        ("fr", "en"),
        ("zh;q=0, en;q=0.1", "en"),
        ("zh;q=.x.", "en"),
        ("", "en"),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(client: Client, accepted: str, lang: str) -> None:
    answer = client.get("/", headers={"Accept-Language": accepted})
    assert answer.headers["content-language"] == lang
    assert f'<html lang="{lang}">' in answer.text


def test_a_long_wish_for_a_language_takes_no_time(client: Client) -> None:
    begun = time.process_time()
    assert client.get("/", headers={"Accept-Language": f"{'a' * 20_000}!"}).headers["content-language"] == "en"
    assert time.process_time() - begun < 2


def test_the_form_is_answered_while_all_threads_are_taken(client: Client) -> None:
    async def statuses() -> list[int]:
        limiter = to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        await limiter.acquire_on_behalf_of("another request")
        addresses = ("/", pages._assets()["page.js"].address)
        return [(await asyncio.wait_for(client._asked("GET", address), 10)).status_code for address in addresses]

    assert asyncio.run(statuses()) == [200, 200]


def test_a_monitor_may_ask_for_the_headers_alone(client: Client) -> None:
    answer = asyncio.run(client._asked("HEAD", "/"))
    assert answer.status_code == 200
    assert answer.headers["content-language"] == "en"


def test_the_address_names_another_language(client: Client) -> None:
    answer = client.get("/?lang=zh", headers={"Accept-Language": "en"})
    assert "邮件为什么被退回" in answer.text
    assert client.get("/?lang=xx").headers["content-language"] == "en"


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else sorted(re.findall(r"\{\w+\}", str(value)))


def test_both_languages_have_the_same_texts_with_the_same_gaps() -> None:
    texts = pages._texts()
    assert _shape(texts["en"]) == _shape(texts["zh"])


def test_every_text_has_its_place_on_a_page() -> None:
    folder = Path(pages.__file__).parent
    used = "".join(path.read_text(encoding="utf-8") for path in [*folder.glob("templates/*"), *folder.glob("*.py")])
    for key in pages._texts()["en"]:
        built = key.startswith("decided_")
        assert re.search(rf"""t\.{key}\b|"{key}"|\['{key}'\]""", used) or built, key


def test_a_page_needs_nothing_but_its_own_files_and_no_inline_code(client: Client) -> None:
    for page in (client.get("/").text, explained(client, FULL), explained(client, f"{FULL}\n{DEAD}")):
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        assert all(address.startswith(("/", "#")) for address in re.findall(r'(?:src|action|href)="([^"]*)"', page))


def test_static_files_may_be_kept_for_good_as_their_address_changes_with_them(client: Client) -> None:
    for address in re.findall(r'(?:src|href)="(/static/[^"]*)"', client.get("/").text):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert hashlib.sha256(answer.content).hexdigest().startswith(address.partition("?v=")[2])
    assert client.get("/static/settings.py").status_code == 404


def test_headers_let_forms_name_their_origin(client: Client) -> None:
    assert client.get("/").headers["referrer-policy"] == "same-origin"
    assert client.get("/").headers["cache-control"] == "no-store"


# --- one reply --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("audience", tables.AUDIENCES)
def test_the_answer_tells_cause_and_remedy_to_all_three(client: Client, lang: str, audience: str) -> None:
    page = words(explained(client, FULL, lang, audience=audience))
    for other in tables.AUDIENCES:
        verdict = Classifier.load(lang=lang, audience=other).classify(FULL)
        assert verdict.cause in page
        assert verdict.remedy in page
    first = Classifier.load(lang=lang, audience=audience).classify(FULL)
    assert page.index(first.remedy) == min(
        page.index(Classifier.load(lang=lang, audience=other).classify(FULL).remedy) for other in tables.AUDIENCES
    )


def test_the_answer_says_how_sure_it_is_in_words_and_per_cent(client: Client, classifier: Classifier) -> None:
    doubtful = "550 message refused by the policy of this site, it may be spam or too big"
    confidence = classifier.classify(doubtful).confidence
    assert confidence < 0.95
    page = words(explained(client, doubtful))
    assert f"{pages._sureness(confidence, pages._texts()['en']['sureness'])}, {confidence:.0%}" in page


def test_certainty_is_never_rounded_to_all_or_nothing() -> None:
    assert [pages._percent(share) for share in (0, 0.001, 0.5, 0.994, 0.998, 1)] == ["0%", "<1%", "50%", "99%", ">99%", "100%"]


def test_only_a_proven_dead_address_is_to_be_dropped(client: Client) -> None:
    assert "Send no more mail to it" in explained(client, DEAD)
    page = explained(client, FULL)
    assert "Keep it" in page
    assert "Send no more mail" not in page


def test_the_words_that_decided_are_marked(client: Client) -> None:
    assert '<mark class="level-3">full</mark>' in explained(client, FULL)


def test_a_blocklist_leads_to_the_page_that_the_tables_know(client: Client) -> None:
    page = explained(client, "554 5.7.1 client host [192.0.2.25] blocked using zen.spamhaus.org")
    assert f'href="{tables.blocklist_of("zen.spamhaus.org").page}" rel="noreferrer noopener"' in page  # type: ignore[union-attr]
    unknown = explained(client, "554 5.7.1 client host [192.0.2.25] blocked using list.example.com")
    assert "href=" not in unknown


def test_details_of_the_reply_are_told(client: Client) -> None:
    page = words(explained(client, "450 4.2.0 <ann@example.com>: greylisted, retry in 300 seconds"))
    assert "in 5 min at the earliest" in page
    assert "450 refused for now" in page
    assert f"4.2.0 {tables.status_meanings()['2.0'].meaning}" in page
    assert "Was joe@gmail.com meant?" in words(explained(client, "<joe@gmial.com>: Host not found, name=gmial.com type=MX"))
    assert "S02 · 对方邮箱空间不足" in words(explained(client, FULL, "zh"))
    assert "5.1.1: " in words(explained(client, "550 5.1.1"))  # the source of the code that decided


def test_unknown_is_said_to_be_unknown_and_what_one_can_do(client: Client) -> None:
    for lang, said, tip in (("en", "We do not know why", "postmaster@"), ("zh", "暂时无法判断原因", "postmaster@")):
        page = words(explained(client, "550 failed for unspecified reasons", lang))
        assert said in page
        assert tip in page
        assert "Very sure" not in page


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_example_has_an_answer(client: Client, number: int, lang: str) -> None:
    example = pages._texts()[lang]["example"][number]
    answer = client.post("/", params={"lang": lang}, data={"example": str(number), "text": "what stood there"})
    verdict = Classifier.load(lang=lang).classify(example["text"])
    assert verdict.category != "unknown"
    assert tables.taxonomy().categories[verdict.category].name[lang] in words(answer.text.partition('<section id="answer"')[2])
    assert html.escape(example["text"]) in answer.text.replace("&#34;", "&quot;")


# --- what was pasted --------------------------------------------------------------------------------------------


def test_a_reply_of_several_lines_is_one(client: Client) -> None:
    page = words(explained(client, "550-5.1.1 The account that you tried to reach\r\n550 5.1.1 does not exist"))
    assert "No such user" in page
    assert "2 replies" not in page


def test_lines_with_codes_are_replies_of_their_own(client: Client) -> None:
    assert "2 replies" in words(explained(client, f"{FULL}\r\n\r\n{DEAD}\r\n"))
    assert "2 replies" in words(explained(client, "ann@example.com 452 mailbox full\n<joe@example.com>: 550 user unknown"))


def test_lines_that_were_read_as_one_may_be_read_each(client: Client) -> None:
    lines = "mailbox full\nuser unknown"
    assert "read as one bounce" in words(explained(client, lines))
    assert "2 replies" in words(explained(client, lines, do="lines"))
    assert "2 replies" in words(explained(client, lines, do="filter", each="1"))
    assert "2 replies" not in words(explained(client, lines, each="1"))  # of an answer before


def test_many_marks_behind_an_address_take_no_time() -> None:
    begun = time.process_time()
    assert asked.is_read_as_one(f"a@{';' * 30_000}\nx", by_line=False)
    assert time.process_time() - begun < 1


def test_a_table_that_was_copied_is_a_table(client: Client) -> None:
    for delimiter in ",;\t":
        page = explained(client, "\n" + TABLE.replace(",", delimiter).replace("\n", "\r\n"))
        assert recipients(page) == ["joe@example.com", "ann@example.com", "bob@example.net", "eve@example.net"]
    one = words(explained(client, "recipient,reply\njoe@example.com,550 5.1.1 user unknown"))
    assert "joe@example.com" in one
    assert "read as one bounce" not in one
    assert "read as one bounce" in words(explained(client, "Sorry, there was an error,\nuser unknown"))
    assert "4 replies" not in words(explained(client, TABLE, do="lines"))  # the header is a line, too


def test_half_a_surrogate_pair_is_a_question_mark(client: Client, added: Path) -> None:
    asking = asked.of_form(FormData({"text": "550 user \ud800 unknown", "words": "\udcff"}), [])
    assert asking.pasted == "550 user ? unknown"
    request = Request({"type": "http", "app": client.app, "headers": [], "query_string": b""})
    pages._corrected(request, FormData({"text": "550 user \ud800 unknown", "category": "unknown"}))
    assert json.loads(added.read_text(encoding="utf-8").splitlines()[-1])["text"] == "550 user ? unknown"


@pytest.mark.parametrize("do", asked.SHAPES)
@pytest.mark.parametrize("rows", [1, 2])
def test_half_a_surrogate_pair_in_a_file_is_no_error_of_ours(client: Client, do: str, rows: int) -> None:
    line = b'{"text": "550 \\ud800 user unknown at \\ud800.example.com", "recipient": "\\udcff@\\ud800.example.com", "\\ud800": 1}\n'
    answer = client.post("/", files={"files": ("a.jsonl", line * rows)}, data={"do": do.replace("page", "explain")})
    assert answer.status_code == 200


def test_a_bounce_that_was_copied_from_a_mail_program_tells_its_recipients(client: Client) -> None:
    notice = """This is the mail system at host mail.example.org.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients.

<joe@example.com>: host mx.example.com[192.0.2.1] said: 552 5.2.2
    Mailbox full (in reply to RCPT TO command)

<ann@example.net>: host mx.example.net[192.0.2.2] said: 550 5.1.1
    No such user (in reply to RCPT TO command)
"""
    page = words(explained(client, notice))
    assert "2 replies" in page
    assert "joe@example.com" in page
    assert "Addresses to suppress1" in page.replace("\n", "")


def test_a_whole_mail_and_a_log_may_be_pasted(client: Client) -> None:
    assert "joe@example.com" in words(explained(client, MAIL.decode()))
    log = (
        "Nov 23 10:00:01 mail postfix/smtp[99]: 4VTx1k0ABC: to=<joe@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1,"
        " dsn=5.1.1, status=bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 user unknown (in reply to RCPT TO command))\n"
        "Nov 23 10:00:02 mail postfix/smtp[99]: 4VTx1k0ABD: to=<ann@example.com>, relay=mx.example.com[192.0.2.1]:25, delay=1,"
        " dsn=2.0.0, status=sent (250 OK)\n"
    )
    page = words(explained(client, log))
    assert "2 replies" in page
    assert "Failures: 1 · auto-replies, notices and delivered mails: 1 · not read: 0" in page


def test_nothing_is_no_answer_but_says_what_to_do(client: Client) -> None:
    answer = client.post("/", data={"text": " \n", "do": "explain"})
    assert answer.status_code == 400
    assert "Paste a bounce or choose a file first." in answer.text


@pytest.mark.parametrize("pasted", ["", DEAD])
def test_another_language_is_no_question(client: Client, pasted: str) -> None:
    answer = client.post("/?lang=zh", data={"text": pasted})
    assert answer.status_code == 200
    assert 'id="answer"' not in answer.text
    assert html.escape(pasted) in answer.text


# --- many rows --------------------------------------------------------------------------------------------------


def uploaded(client: Client, *files: tuple[str, bytes], lang: str = "en", **fields: str) -> str:
    answer = client.post("/", params={"lang": lang}, files=[("files", file) for file in files], data={"do": "explain"} | fields)
    assert answer.status_code == 200
    return answer.text.partition('<section id="answer"')[2]


def recipients(page: str) -> list[str]:
    return [words(cell).strip() for cell in re.findall(r'<th scope="row" data-name="[^"]*">(.*?)</th>', page)]


def test_several_files_are_one_table(client: Client) -> None:
    page = uploaded(client, ("a.csv", TABLE.encode()), ("b.eml", MAIL), ("c.log.gz", gzip.compress(DEAD.encode())))
    assert "6 replies" in words(page)
    assert recipients(page)[:4] == ["joe@example.com", "ann@example.com", "bob@example.net", "eve@example.net"]


def test_figures_add_up(client: Client) -> None:
    page = uploaded(client, ("a.csv", TABLE.encode()))
    counts = dict(re.findall(r'name="pick" value="(\w+)".*?<td class="number">(\d+)</td>', page))
    assert counts == {"user_unknown": "2", "mailbox_full": "1", "dnsbl_listed": "1"}
    assert '<dd class="value">2</dd>' in page


def test_dead_addresses_are_those_of_the_suppression_list(client: Client) -> None:
    twice = TABLE + "5,JOE@example.com,550 5.1.1 user unknown\n6,,550 5.1.1 user unknown\n"
    page = uploaded(client, ("a.csv", twice.encode()))
    listed = client.post("/", files={"files": ("a.csv", twice.encode())}, data={"do": "suppression"}).text.splitlines()
    assert f'<dd class="value">{len(listed) - 1}</dd>' in page
    assert "do not tell which: 1." in page


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"words": "EXAMPLE.NET"}, ["bob@example.net", "eve@example.net"]),
        ({"words": "mailbox"}, ["ann@example.com"]),
        ({"category": "dnsbl_listed"}, ["eve@example.net"]),
        ({"category": "no_such"}, ["joe@example.com", "ann@example.com", "bob@example.net", "eve@example.net"]),
        ({"pick": "user_unknown", "category": "dnsbl_listed"}, ["joe@example.com", "bob@example.net"]),
        ({"dead": "on", "words": "net"}, ["bob@example.net"]),
        ({"sort": "recipient"}, ["ann@example.com", "bob@example.net", "eve@example.net", "joe@example.com"]),
        ({"order": "recipient"}, ["ann@example.com", "bob@example.net", "eve@example.net", "joe@example.com"]),
        ({"sort": "category"}, ["eve@example.net", "ann@example.com", "joe@example.com", "bob@example.net"]),
        ({"words": "nothing like it"}, []),
    ],
)
def test_rows_are_filtered_and_sorted(client: Client, fields: dict[str, str], found: list[str]) -> None:
    assert recipients(uploaded(client, ("a.csv", TABLE.encode()), do="filter", **fields)) == found


def test_the_first_button_under_many_replies_is_the_filter_which_enter_presses(client: Client) -> None:
    page = client.post("/", data={"text": f"{FULL}\n{DEAD}", "do": "explain"}).text
    assert re.findall(r"<button[^>]*>", page)[0] == '<button name="do" value="filter" hidden>'
    assert re.findall(r"<button[^>]*>", client.get("/").text)[0].startswith('<button type="button"')


def test_a_new_question_forgets_the_filter(client: Client) -> None:
    assert len(recipients(uploaded(client, ("a.csv", TABLE.encode()), words="mailbox", order="recipient"))) == 4


def test_the_first_rows_of_many_are_the_first_in_their_order(classifier: Classifier) -> None:
    replies = [Reply("550 5.1.1 user unknown", recipient=f"u{number:05}@example.com") for number in range(3000, 0, -1)]
    found = view.overview(map(classifier.find, replies), asked.Filter(order="recipient"))
    assert [row.address for row in found.rows] == [f"u{number:05}@example.com" for number in range(1, view.SHOWN + 1)]
    assert found.found == found.total == found.dead == 3000
    plain = view.overview(map(classifier.find, replies), asked.Filter())
    assert [row.address for row in plain.rows] == [reply.recipient for reply in replies[: view.SHOWN]]


def test_how_many_rows_are_shown_is_told(client: Client) -> None:
    many = "id,recipient,reply\n" + "".join(f"{n},u{n}@example.com,550 5.1.1 user unknown\n" for n in range(1234))
    page = uploaded(client, ("a.csv", many.encode()))
    assert "Shown: 200 of 1,234." in page
    assert len(recipients(page)) == 200
    assert "Shown: 1 of 1 that fit; 1,234 in all." in uploaded(client, ("a.csv", many.encode()), do="filter", words="u1200@")


# --- files to take away -----------------------------------------------------------------------------------------


def taken(client: Client, do: str, content: bytes = TABLE.encode(), name: str = "a.csv") -> tuple[str, str]:
    answer = client.post("/", files={"files": (name, content)}, data={"do": do})
    assert answer.status_code == 200
    return answer.text, answer.headers["content-disposition"]


def test_rows_are_downloaded_as_predict_writes_them(client: Client, classifier: Classifier) -> None:
    found, disposition = taken(client, "jsonl")
    rows = [json.loads(line) for line in found.splitlines()]
    expected = [classifier.classify(Reply(row["reply"], row["id"], row["source"], row["recipient"])).to_dict() for row in rows]
    assert [{name: row[name] for name in FIELDS} for row in rows] == json.loads(json.dumps(expected))
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert disposition == 'attachment; filename="bounces.jsonl"'
    table, disposition = taken(client, "csv")
    assert table.startswith(",".join(FIELDS))
    assert len(table.splitlines()) == 5
    assert disposition == 'attachment; filename="bounces.csv"'


def test_the_suppression_list_guards_against_formulas(client: Client) -> None:
    found, disposition = taken(client, "suppression", b"recipient,reply\n=cmd@example.com,550 5.1.1 user unknown\n")
    assert found.splitlines()[1].startswith("'=cmd@example.com,user_unknown,hard")
    assert disposition == 'attachment; filename="suppression.csv"'


def test_pasted_text_is_downloaded_too_and_its_filter_does_not_matter(client: Client) -> None:
    answer = client.post("/", data={"text": f"{FULL}\n{DEAD}", "do": "jsonl", "words": "nothing like it"})
    assert [json.loads(line)["source"] for line in answer.text.splitlines()] == [None, None]


def test_the_report_runs_its_own_script_only(client: Client) -> None:
    answer = client.post("/?lang=zh", files={"files": ("a.csv", TABLE.encode())}, data={"do": "report.html"})
    script = re.search(r"<script>(.*)</script>", answer.text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["script-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "退信分析报告" in answer.text


def test_the_figures_of_the_report_are_the_files_it_names(client: Client) -> None:
    figures = json.loads(taken(client, "report.json")[0])
    assert figures["totals"]["failed"] == 4
    assert "causes,user_unknown,2" in taken(client, "report.csv")[0]


# --- too much, not readable -------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["explain", "filter", "csv", "jsonl", "suppression", "report.html", "report.csv"])
def test_too_many_rows_are_refused_in_words_whatever_was_asked(small: Client, do: str) -> None:
    answer = small.post("/", data={"text": f"{FULL}\n" * 4, "do": do})
    assert answer.status_code == 413
    assert "More than 3 replies" in answer.text
    assert FULL.partition(":")[2] in answer.text  # what was pasted is still there


def test_as_many_rows_as_allowed_are_answered(small: Client) -> None:
    assert "3 replies" in words(explained(small, f"{FULL}\n" * 3))


def test_a_bomb_is_refused(small: Client) -> None:
    answer = small.post("/", files={"files": ("a.log.gz", gzip.compress(b"550 " * 1_000_000))}, data={"do": "explain"})
    assert answer.status_code == 413
    assert "a.log.gz unpacks to more than fits here" in answer.text
    within = gzip.compress(gzip.compress(b"550 " * 1_000_000))
    assert "a.gz: compressed twice; unpack it once" in uploaded(small, ("a.gz", within))


@pytest.mark.parametrize("name", ["a.log.gz", "a.jsonl.gz"])
def test_blank_lines_are_rows_too(small: Client, name: str) -> None:
    answer = small.post("/", files={"files": (name, gzip.compress(b"\n" * 1000))}, data={"do": "explain"})
    assert answer.status_code == 413
    assert "More than 3 replies" in answer.text


def test_files_that_unpack_to_too_much_together_are_refused(small: Client) -> None:
    packed = gzip.compress(b"550 user unknown " + b" " * 100_000)
    uploaded(small, ("a.log.gz", packed))
    answer = small.post("/", files=[("files", ("a.log.gz", packed)), ("files", ("b.log.gz", packed))], data={"do": "explain"})
    assert answer.status_code == 413
    assert "b.log unpacks to more than fits here" in answer.text


@pytest.mark.parametrize("pasted", [f"{DEAD}\n{DEAD}", "recipient,reply\n\n\n", DEAD])
def test_nothing_more_is_read_when_nobody_waits(pasted: str) -> None:
    asking = asked.of_form(FormData({"text": pasted, "do": "explain"}), [])
    with pytest.raises(asked.DeclinedError) as declined:
        list(asked.replies(asking, Settings(), time.monotonic() - 1, pages._texts()["en"]))
    assert (declined.value.status, declined.value.why) == (503, "busy")


def test_the_time_to_read_is_that_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(asked, "replies", lambda asking, settings, until, words: iter(given.append(until) or [Reply(DEAD)]))  # type: ignore[func-returns-value]
    Client(create(Settings(timeout=500))).post("/", data={"text": DEAD, "do": "explain"})
    assert 400 < given[0] - time.monotonic() <= 500


@pytest.mark.parametrize(("lang", "said"), [("en", "Rename the column that does to reply"), ("zh", "请把该列改名为 reply")])
@pytest.mark.parametrize(("name", "content"), [("a.csv", b"id,what\n1,no\n"), ("a.jsonl", b'{"id": 1, "what": "no"}\n')])
def test_a_table_without_replies_is_told_what_to_mend(client: Client, name: str, content: bytes, lang: str, said: str) -> None:
    page = uploaded(client, (name, content), lang=lang)
    assert said in page
    assert name in page
    assert "--column" not in page


def test_what_cannot_be_read_has_its_row_and_says_why(client: Client) -> None:
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as packed:
        packed.writestr("a.csv", TABLE)
    cut = gzip.compress(TABLE.encode() * 50)[:-60]
    page = uploaded(client, ("a.zip", archive.getvalue()), ("b.csv.gz", cut), ("c.csv", TABLE.encode()))
    assert "a.zip: ZIP archives, workbooks and Parquet are not read here" in page
    assert "b.csv.gz: the gzip data are broken or cut off" in page
    assert "Failures: 4 · auto-replies, notices and delivered mails: 0 · not read: 2" in words(page)
    alone = uploaded(client, ("a.zip", archive.getvalue()), lang="zh")
    assert "不支持 ZIP 压缩包" in alone
    assert '<h2 id="answer-heading">未能读取</h2>' in alone


def test_an_empty_file_says_so(client: Client) -> None:
    answer = client.post("/", files={"files": ("a.log", b"\n\n")}, data={"do": "explain"})
    assert answer.status_code == 400
    assert "There is no reply in this." in answer.text


@pytest.mark.parametrize("name", ["a.eml", "a.csv", "a.jsonl", "a.log", "a.mbox", "a.json", "a.gz", "a"])
def test_any_bytes_have_an_answer(client: Client, name: str) -> None:
    dice = random.Random(name)
    for size in (1, 40, 3000):
        for head in (b"", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"{", b"From a\n", b"550 \xff\xfe"):
            content = head + dice.randbytes(size)
            answer = client.post("/", files={"files": (name, content)}, data={"do": "explain", "text": content.decode("latin-1")})
            assert answer.status_code in (200, 400)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain", "no kind"])
def test_what_no_form_sends_is_no_error_of_ours(client: Client, kind: str) -> None:
    for path in ("/", "/correct"):
        answer = client.post(path, content=b'--y\r\n{"text": 1}', headers={"Content-Type": kind})
        assert answer.status_code == (400 if kind.startswith("multipart/") else 415)


# --- hostile text -----------------------------------------------------------------------------------------------

EVIL = "550 <script>alert(1)</script> \u202eexe.gpj\u202c \x1b[2J <img src=x onerror=alert(2)> user unknown"


def harmless(page: str) -> None:
    assert "<script>alert" not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_hostile_reply_is_shown_as_what_it_is(client: Client, lang: str) -> None:
    answer = client.post("/", params={"lang": lang}, data={"text": EVIL, "do": "explain"})
    harmless(answer.text)
    shown = answer.text.partition('<section id="answer"')[2]
    assert "&lt;script&gt;" in shown
    assert r"\u202e" in words(shown)
    assert r"\u001b[2J" in words(shown)
    assert not re.search("[\u202e\x1b]", shown.replace(html.escape(text.visible("")), "").partition('name="text" value=')[0])


def test_hostile_rows_columns_and_filters_are_escaped(client: Client) -> None:
    table = f'id,recipient,reply\n1,"<script>alert(3)</script>\u202e@example.com","{EVIL}"\n2,a@example.com,552 full\n'
    page = uploaded(client, ("a.csv", table.encode()), do="filter", words='"><script>alert(4)</script>')
    harmless(page)
    page = uploaded(client, ("a.csv", table.encode()))
    harmless(page)
    assert "\u202e" not in page


def test_a_hostile_file_name_is_escaped_and_has_no_path(client: Client) -> None:
    name = "C:\\temp\\<img src=x onerror=alert(5)>\u202e.zip"
    page = uploaded(client, (name, b"PK\x03\x04"), ("b.csv", TABLE.encode()))
    harmless(page)
    assert "C:\\temp" not in page
    assert "\u202e" not in page


def test_a_long_reply_is_cut_on_the_page(client: Client) -> None:
    page = explained(client, f"550 user unknown {'x' * 50_000}")
    assert "The first 4,000 of 50,017 characters are shown." in page
    assert len(page) < 30_000
    page = explained(client, f"{DEAD}\n550 user unknown {'x' * 50_000}")
    assert len(page) < 40_000


# --- corrections ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_more_is_promised_of_a_correction_than_is_kept(client: Client, lang: str) -> None:
    page = explained(client, "550 5.7.99 <ann@corp.example.org>: the postbox of Ann Lee sleeps", lang)
    assert "Lee" in re.search(r'name="text" value="([^"]*)"', page)[1]  # type: ignore[index]
    assert {"en": "check that no name is left", "zh": "请确认其中没有姓名"}[lang] in page


def test_a_correction_is_stored_as_a_review_stores_it_and_as_it_was_shown(client: Client, added: Path) -> None:
    page = explained(client, "550 5.7.99 <ann.lee@corp.example.org>: the postbox of ann.lee sleeps, ticket 20261123004")
    shown = html.unescape(re.search(r'name="text" value="([^"]*)"', page)[1])  # type: ignore[index]
    assert "ann.lee" not in shown
    answer = client.post("/correct?lang=zh", data={"text": shown, "category": "mailbox_disabled"})
    assert answer.status_code == 200
    assert "谢谢" in answer.text
    row = json.loads(added.read_text(encoding="utf-8").splitlines()[-1])
    assert row["text"] == shown
    assert row["category"] == "mailbox_disabled"
    assert set(row) == {"text", "category", "language", "provider", "source"}
    from bounceml import labelled

    assert labelled.read_file(added)[-1].category == "mailbox_disabled"


def test_what_comes_to_the_correction_is_made_anonymous_whoever_sends_it(client: Client, added: Path) -> None:
    client.post("/correct", data={"text": "550 <real.name@corp.example.org> is away", "category": "unknown"})
    assert "real.name" not in added.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "why"), [({"text": DEAD, "category": "no_such"}, "Choose one"), ({"category": "unknown"}, "There was no text")]
)
def test_a_correction_that_says_nothing_is_not_stored(client: Client, added: Path, fields: dict[str, str], why: str) -> None:
    before = added.read_bytes() if added.exists() else b""
    answer = client.post("/correct", data=fields)
    assert answer.status_code == 400
    assert why in answer.text
    assert (added.read_bytes() if added.exists() else b"") == before


def test_a_correction_that_cannot_be_written_is_said_to_be_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(create(Settings(add_to=tmp_path / "no folder" / "added.jsonl")))
    answer = client.post("/correct", data={"text": "550 <real.name@example.com> is away", "category": "unknown"})
    assert answer.status_code == 503
    assert "could not be stored" in answer.text
    assert "no folder" in caplog.text
    assert "real.name" not in caplog.text


def test_where_no_corrections_are_taken_none_is_offered(small: Client) -> None:
    assert "/correct" not in explained(small, DEAD)
    assert small.post("/correct", data={"text": DEAD, "category": "unknown"}).status_code == 404


def test_a_foreign_page_cannot_have_a_correction_stored(client: Client, added: Path) -> None:
    before = added.read_bytes() if added.exists() else b""
    answer = client.post("/correct", data={"text": DEAD, "category": "unknown"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert (added.read_bytes() if added.exists() else b"") == before


def test_verdicts_of_the_page_are_counted(client: Client) -> None:
    def count() -> float:
        found = re.findall(r'bounceml_verdicts_total\{category="greylisted",decided_by="\w+"\} ([\d.]+)', client.get("/metrics").text)
        return sum(map(float, found))

    before, line = count(), "450 4.2.0 greylisted, come back later"
    explained(client, line)
    explained(client, f"{line}\n{line}")
    client.post("/", data={"text": f"{line}\n{line}", "do": "jsonl"})
    assert count() == before + 5
