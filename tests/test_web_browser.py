"""The page in a real browser: Chromium, by Playwright, with axe-core for accessibility."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bounceml import labelled
from bounceml.web.app import create
from bounceml.web.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'bounceml[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'bounceml[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

Page = Any  # of Playwright, which may not be installed
Open = Callable[..., Page]

DEAD = "550 5.1.1 <joe@example.com>: user unknown"
CHINESE = "452 4.2.2 <wang@example.com>: 对方邮箱空间已满，请稍后再试"
MAIL = b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n<joe@example.com>:\n550 5.1.1 no such user here\n"
KINDS = ("550 5.1.1 user unknown", "452 4.2.2 mailbox full", "554 5.7.1 blocked using zen.spamhaus.org", "550 for no reason told")
TABLE = ("recipient,reply\n" + "".join(f"u{number:04}@example.com,{KINDS[number % 4]}\n" for number in range(1000))).encode()
LARGEST = 200_000
RESTING = "() => document.getAnimations().every((one) => one.playState !== 'running')"


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "added.jsonl"


@pytest.fixture(scope="module")
def address(added: Path) -> Iterator[str]:
    """A service on a free port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create(Settings(add_to=added, max_bytes=LARGEST, max_rows=1500))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Open]:
    """Opens the page; at the end, nothing was asked of another host, no dialog came up and no script failed."""
    asked: list[str] = []
    wrong: list[str] = []
    contexts: list[Any] = []

    def open_page(path: str = "/?lang=en", **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        context.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page = context.new_page()
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
    assert asked
    assert not [url for url in asked if not url.startswith((f"{address}/", "data:", "blob:"))]


def explain(page: Page, pasted: str) -> None:
    page.fill("#text", pasted)
    page.click("button.primary")
    page.wait_for_selector("#answer-heading")


def fill(page: Page, lines: int) -> None:
    """Fill the field at once: Playwright types, which takes seconds where a paste takes a tenth."""
    page.evaluate("(lines) => { document.getElementById('text').value = '550 user unknown\\n'.repeat(lines); }", lines)


def upload(page: Page, *files: tuple[str, bytes]) -> None:
    page.set_input_files("#files", [{"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in files])
    page.click("button.primary")
    page.wait_for_selector("#answer-heading")


def shown(page: Page, selector: str = "#answer") -> str:
    found: str = page.inner_text(selector)
    return found


def recipients(page: Page) -> list[str]:
    found: list[str] = page.locator(".rows tbody th").all_inner_texts()
    return found


def downloaded(page: Page, button: str) -> tuple[str, str]:
    with page.expect_download() as found:
        page.locator("#answer").get_by_role("button", name=button).click()
    return found.value.suggested_filename, Path(found.value.path()).read_text(encoding="utf-8")


# --- one reply --------------------------------------------------------------------------------------------------


def test_a_pasted_reply_is_answered_without_a_new_page(opened: Open) -> None:
    page = opened()
    page.evaluate("window.same = true")
    explain(page, DEAD)
    assert page.evaluate("window.same")
    assert shown(page, "#answer-heading") == "No such user"
    assert page.text_content("#status") == "No such user"  # a live region: it is read out
    assert page.evaluate("document.activeElement.id") == "answer"
    assert "Send no more mail to it" in shown(page)
    assert page.locator("mark.level-3").count() > 0


def test_a_chinese_reply_on_the_chinese_page(opened: Open) -> None:
    page = opened("/", locale="zh-CN")
    explain(page, CHINESE)
    assert shown(page, "#answer-heading") == "收件箱已满"
    assert "怎么办" in shown(page)
    assert page.get_attribute("html", "lang") == "zh-CN"


def test_keys_alone_are_enough(opened: Open) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    if page.evaluate("document.activeElement.id") != "text":  # the link moved the starting point, or the focus itself
        page.focus("#text")
    page.keyboard.type(DEAD)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answer-heading")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "copy"


def test_an_example_is_one_click(opened: Open) -> None:
    page = opened()
    page.get_by_role("button", name="Misspelt domain").click()
    page.wait_for_selector("#answer-heading")
    assert "Was joe@gmail.com meant?" in shown(page)
    assert "gmial.com" in page.input_value("#text")


def test_the_answer_is_copied(opened: Open, address: str) -> None:
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    explain(page, DEAD)
    page.click("#copy")
    page.wait_for_function("() => document.getElementById('copy').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("No such user")
    assert DEAD in copied


def test_another_language_keeps_what_was_pasted_and_answered(opened: Open) -> None:
    page = opened()
    explain(page, DEAD)
    page.click("#language")
    page.wait_for_selector("text=收件人不存在")
    assert page.input_value("#text") == DEAD
    assert page.get_attribute("html", "lang") == "zh-CN"
    assert page.url.endswith("/?lang=zh")
    page.click("button.primary")  # the page goes on working
    page.wait_for_function("() => document.activeElement.id === 'answer'")
    assert shown(page, "#answer-heading") == "收件人不存在"


def test_another_language_answers_nothing_that_was_not_asked(opened: Open) -> None:
    page = opened()
    page.fill("#text", DEAD)
    page.click("#language")
    page.wait_for_selector("text=邮件为什么被退回")
    assert page.input_value("#text") == DEAD
    assert page.locator("#answer").count() == 0


@pytest.mark.parametrize("status", [503, None])
def test_another_language_that_does_not_come_loses_nothing(opened: Open, status: int | None) -> None:
    page = opened()
    page.fill("#text", DEAD)
    page.route("**/*", lambda route: route.fulfill(status=status, body="busy") if status else route.abort())
    page.click("#language")
    page.wait_for_selector("#status:not(.spoken)")
    assert shown(page, "#status").endswith("Wait a moment and try again.")
    assert page.input_value("#text") == DEAD
    assert page.url.endswith("/?lang=en")


def test_a_newer_question_is_waited_for_when_the_older_one_ends(opened: Open) -> None:
    page = opened()
    held: list[Any] = []
    page.route("**/?lang=en", lambda route: held.append(route))  # Playwright writes to what it calls
    page.fill("#text", DEAD)
    for count in (1, 2):
        page.evaluate("document.getElementById('ask').requestSubmit(document.querySelector('.primary'))")
        until = time.monotonic() + 10
        while len(held) < count and time.monotonic() < until:
            page.wait_for_timeout(20)
    assert page.get_attribute(".primary", "aria-busy") == "true"
    held[1].continue_()
    page.wait_for_selector("#answer-heading")
    assert page.get_attribute(".primary", "aria-busy") is None


def test_another_audience_is_told_at_once(opened: Open) -> None:
    page = opened()
    explain(page, DEAD)
    before = shown(page, ".answer .todo")
    page.get_by_label("the mail admin").check()
    page.wait_for_function("(before) => document.querySelector('.answer .todo').innerText !== before", arg=before)


def test_without_its_script_the_page_answers_too(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    page.fill("#text", DEAD)
    page.click("button.primary")
    assert shown(page, "#answer-heading") == "No such user"
    assert page.url.endswith("#answer")
    assert page.input_value("#text") == DEAD
    assert not page.is_visible("#copy")
    page.set_input_files("#files", [{"name": "a.csv", "mimeType": "text/csv", "buffer": TABLE}])
    page.fill("#text", "")
    page.click("button.primary")
    assert "1,000 replies" in shown(page)
    assert "Choose the files again first" in shown(page)
    page.set_input_files("#files", [{"name": "a.csv", "mimeType": "text/csv", "buffer": TABLE}])
    name, content = downloaded(page, "Table (CSV)")
    assert (name, len(content.splitlines())) == ("bounces.csv", 1001)


def test_without_its_script_enter_in_the_filter_filters(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    page.fill("#text", f"{DEAD}\n{CHINESE}")
    page.click("button.primary")
    page.fill("#words", "wang")
    page.press("#words", "Enter")
    page.wait_for_selector("text=Shown: 1 of 1 that fit")
    assert "wang@example.com" in shown(page, ".rows")


# --- files and many rows ----------------------------------------------------------------------------------------


def test_a_mail_is_uploaded(opened: Open) -> None:
    page = opened()
    upload(page, ("bounce.eml", MAIL))
    assert shown(page, "#answer-heading") == "No such user"
    assert "joe@example.com" in shown(page)
    assert shown(page, "#files-chosen") == "Chosen: bounce.eml"


def test_files_are_dropped_and_removed(opened: Open) -> None:
    page = opened()
    files = {"a.eml": MAIL.decode(), "b.log": "552 full"}
    data = page.evaluate_handle(
        """(files) => {
            const data = new DataTransfer();
            for (const [name, content] of Object.entries(files)) data.items.add(new File([content], name));
            return data;
        }""",
        files,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    assert shown(page, "#files-chosen") == "Chosen: a.eml, b.log"
    page.click("button.primary")
    page.wait_for_selector("#answer-heading")
    assert shown(page, "#answer-heading") == "2 replies"
    page.click("#files-clear")
    assert shown(page, "#files-chosen") == "Drop files here, or choose them"
    assert page.evaluate("document.getElementById('files').files.length") == 0


def test_many_rows_are_filtered_sorted_and_downloaded(opened: Open) -> None:
    page = opened()
    upload(page, ("a.csv", TABLE))
    assert "Shown: 200 of 1,000" in shown(page)
    page.locator("#words").press_sequentially("u0999", delay=20)
    page.wait_for_selector("text=Shown: 1 of 1 that fit")
    assert recipients(page) == ["u0999@example.com"]
    assert page.evaluate("document.activeElement.id") == "words"  # one can go on typing
    page.fill("#words", "")
    page.wait_for_selector("text=Shown: 200 of 1,000")
    page.get_by_role("button", name="On a public blocklist").click()
    page.wait_for_selector("text=Shown: 200 of 250 that fit")
    assert page.input_value("#only") == "dnsbl_listed"
    page.select_option("#only", "")
    page.check("#dead")
    page.wait_for_selector("tr:nth-child(2) th:has-text('u0004')")
    assert recipients(page)[:2] == ["u0000@example.com", "u0004@example.com"]
    page.uncheck("#dead")
    page.wait_for_selector("text=Shown: 200 of 1,000")
    page.get_by_role("button", name="Sort by Cause").click()
    page.wait_for_selector("th[aria-sort]")
    assert page.evaluate("document.activeElement.id") == "sort-category"
    assert recipients(page)[:2] == ["u0002@example.com", "u0006@example.com"]
    name, content = downloaded(page, "JSON lines")
    assert name == "bounces.jsonl"
    assert [json.loads(line)["recipient"] for line in content.splitlines()][:2] == ["u0000@example.com", "u0001@example.com"]
    name, content = downloaded(page, "Suppression list")
    assert (name, len(content.splitlines())) == ("suppression.csv", 251)
    assert shown(page, "#answer-heading") == "1,000 replies"  # the page is still there


def test_the_report_opens_beside_the_page_and_its_script_runs(opened: Open) -> None:
    page = opened()
    upload(page, ("a.csv", TABLE))
    with page.context.expect_page() as found:
        page.get_by_role("button", name="Report", exact=True).click()
    report = found.value
    report.wait_for_selector("#causes th button")  # headings are buttons by its script alone
    assert "Mail that bounced" in report.inner_text("h1")
    assert report.evaluate("getComputedStyle(document.querySelector('section')).borderRadius") == "12px"  # and it has its style


def test_too_much_is_told_without_sending_it(opened: Open) -> None:
    page = opened()
    fill(page, LARGEST // 10)
    page.click("button.primary")
    page.wait_for_selector("#answer .problem")
    assert "That is too much at once" in shown(page)
    explain(page, f"{DEAD}\n{CHINESE}")
    fill(page, LARGEST // 10)
    page.get_by_role("button", name="Table (CSV)").click()
    page.wait_for_selector("#answer .problem")
    assert "That is too much at once" in shown(page)
    assert page.url.endswith("/?lang=en")


def test_too_many_rows_are_told(opened: Open) -> None:
    page = opened()
    fill(page, 1501)
    page.click("button.primary")
    page.wait_for_selector("#answer .problem")
    assert "More than 1,500 replies" in shown(page)


def test_a_service_that_is_gone_is_told(opened: Open) -> None:
    page = opened()
    page.route("**/*", lambda route: route.abort())
    page.fill("#text", DEAD)
    page.click("button.primary")
    page.wait_for_selector("#answer .problem")
    assert "That did not work" in shown(page)


# --- corrections and hostile text -------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [True, False])
def test_a_correction_is_written_to_the_file(opened: Open, added: Path, script: bool) -> None:
    page = opened(java_script_enabled=script)
    page.fill("#text", f"550 5.7.{script:d} <ann.lee@example.com>: the postbox of ann.lee sleeps")
    page.click("button.primary")
    page.wait_for_selector("#answer-heading")
    page.click("#correct summary")
    stored = shown(page, "#stored")
    assert "ann.lee" not in stored
    page.select_option("#category", "mailbox_disabled")
    page.get_by_role("button", name="Store the correction").click()
    page.wait_for_selector("text=Thank you")
    last = labelled.read_file(added)[-1]
    assert (last.text, last.category) == (stored, "mailbox_disabled")


def test_hostile_text_and_names_do_nothing(opened: Open) -> None:
    page = opened()
    evil = "550 <img src=x onerror=alert(1)> <script>alert(2)</script> \u202euser unknown"
    explain(page, evil)
    assert "<img src=x onerror=alert(1)>" in shown(page, ".reply")
    assert r"\u202euser" in shown(page, ".reply")
    assert page.locator("#answer img").count() == 0
    upload(
        page,
        ("<img src=x onerror=alert(3)>.csv", b"recipient,reply\n<b>@example.com,550 <script>alert(4)</script>\na@example.com,552 full\n"),
    )
    page.wait_for_selector(".rows")
    assert page.locator("#answer img, #answer script").count() == 0
    assert "<img src=x onerror=alert(3)>.csv" in shown(page, "#files-chosen")


# --- for everybody ----------------------------------------------------------------------------------------------

STATES: dict[str, Callable[[Page], None]] = {
    "start": lambda page: None,
    "one answer": lambda page: (explain(page, "554 5.7.1 blocked using zen.spamhaus.org, or so"), page.click("#correct summary")),  # type: ignore[dict-item]
    "unknown": lambda page: explain(page, "550 failed for unspecified reasons"),
    "many rows": lambda page: upload(page, ("a.csv", TABLE), ("b.zip", b"PK\x03\x04")),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_axe_finds_nothing(opened: Open, state: str, scheme: str, lang: str) -> None:
    page = opened(f"/?lang={lang}", color_scheme=scheme)
    STATES[state](page)
    page.wait_for_function(RESTING)
    found = axe.Axe().run(page).response
    assert found["passes"]
    assert not [(rule["id"], rule["impact"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_wider_than_a_phone(opened: Open, state: str, width: int) -> None:
    """A window of 1280 pixels at 400 % is one of 320."""
    page = opened("/?lang=zh", viewport={"width": width, "height": 640})
    STATES[state](page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_word_does_not_widen_the_page(opened: Open) -> None:
    page = opened(viewport={"width": 320, "height": 640})
    explain(page, f"550 user unknown {'x' * 3000}@{'y' * 300}.example.com")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_who_wants_less_motion_has_none(opened: Open) -> None:
    page = opened(reduced_motion="reduce")
    explain(page, DEAD)
    assert page.evaluate("getComputedStyle(document.querySelector('#answer .card')).animationName") == "none"
