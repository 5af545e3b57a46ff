from __future__ import annotations

import asyncio
import errno
import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import MODEL, ROOT

from bounceml import Classifier, stream
from bounceml.values import Reply
from bounceml.web import metrics
from bounceml.web.app import create
from bounceml.web.served import Served
from bounceml.web.settings import Settings
from bounceml.work import Worker
from bounceml.writers import jsonl

FULL = "552 5.2.2 <joe@example.com>: mailbox full"
LINES = {"accept": "application/x-ndjson"}


class Client:
    """Asks an application without a network."""

    def __init__(self, app: Any, client: str = "127.0.0.1", host: str = "127.0.0.1:8025") -> None:
        self.app = app
        self._from = (client, 4000)
        self._base = f"http://{host}"

    async def asked(self, method: str, path: str, **given: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=self._from)
        async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
            return await client.request(method, path, **given)

    def get(self, path: str, **given: Any) -> httpx.Response:
        return asyncio.run(self.asked("GET", path, **given))

    def post(self, path: str, **given: Any) -> httpx.Response:
        return asyncio.run(self.asked("POST", path, **given))

    def verdicts(self, path: str = "/v1/classify", **given: Any) -> list[dict[str, Any]]:
        answer = self.post(path, **given)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["verdicts"]
        return found


@pytest.fixture(scope="module")
def client() -> Client:
    return Client(create(Settings(max_rows=1000, max_bytes=100_000)))


def upload(content: bytes, kind: str) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": kind}}


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert set(told) == {"type", "title", "status", "detail"}
    assert told["status"] == status
    return str(told["detail"])


# --- JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [FULL, "550 5.1.1 收件人邮箱不存在", "554 5.7.1 blocked using zen.spamhaus.org", "nobody knows", "", 'a "\\\u202e\0\n']
)
@pytest.mark.parametrize("explain", [False, True])
def test_a_verdict_is_that_of_the_classifier(client: Client, text: str, explain: bool) -> None:
    reply = Reply(text, "7", recipient="wang@example.com")
    for lang, audience, scheme in (("en", "sender", None), ("zh", "admin", "sparkpost"), ("zh", "recipient", "ses")):
        expected = Classifier.load(MODEL, lang, scheme=scheme, audience=audience).classify(reply, explain).to_dict()
        asked = {"lang": lang, "audience": audience, "explain": explain} | ({"scheme": scheme} if scheme else {})
        found = client.verdicts(params=asked, json={"text": text, "id": 7, "recipient": "wang@example.com"})
        assert found == [json.loads(json.dumps(expected))]


@pytest.mark.parametrize("count", [3, 300], ids=["at once", "in a thread"])
def test_a_list_is_answered_in_its_order(client: Client, classifier: Classifier, count: int) -> None:
    given = [FULL if number % 2 else {"id": number, "text": f"550 user{number}@example.com 用户不存在"} for number in range(count)]
    found = client.verdicts(json={"replies": given})
    assert [row["id"] for row in found] == [None if number % 2 else str(number) for number in range(count)]
    assert [row["category"] for row in found] == ["mailbox_full" if number % 2 else "user_unknown" for number in range(count)]
    lines = client.post("/v1/classify", json={"replies": given}, headers=LINES)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == found


def test_an_answer_is_sent_in_pieces(client: Client) -> None:
    sent: list[int] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        async def count(message: Any) -> None:
            sent.append(len(message.get("body", b"")))
            await send(message)

        await client.app(scope, receive, count)

    found = Client(counted).verdicts(json={"replies": [FULL] * 500})
    assert len(found) == 500
    assert sum(sent) > 2 * 2**16 >= 2 * max(sent)


def test_a_list_may_be_empty(client: Client) -> None:
    assert client.verdicts(json={"replies": []}) == []


def test_a_line_of_a_log_has_its_recipient(client: Client) -> None:
    line = "May  1 12:00:00 mx postfix/smtp[7]: 4F2A91C0: to=<joe@example.com>, relay=none, dsn=5.4.4, status=bounced (no such host)"
    (found,) = client.verdicts(json={"text": line, "id": "a"})
    assert (found["id"], found["recipient"], found["reply"]) == ("a", "joe@example.com", "no such host")


def test_a_text_never_names_a_file(client: Client) -> None:
    (found,) = client.verdicts(json={"text": str(ROOT / "README.md")})
    assert found["reply"] == str(ROOT / "README.md")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"552"',
        b'{"text": 5}',
        b'{"txt": "552"}',
        b'{"text": "552", "recipent": "a"}',
        b'{"replies": [{"id": "x"}]}',
        b'{"text": "\\ud800"}',
        b"\xff",
    ],
)
def test_a_body_that_is_not_as_documented(client: Client, body: bytes) -> None:
    told = problem(client.post("/v1/classify", **upload(body, "application/json")), 422)
    assert "body" in told


@pytest.mark.parametrize("asked", ["lang=fr", "audience=all", "scheme=none", "explain=perhaps"])
def test_a_parameter_that_is_not_as_documented(client: Client, asked: str) -> None:
    assert asked.partition("=")[0] in problem(client.post(f"/v1/classify?{asked}", json={"text": FULL}), 422)


def test_what_is_refused_is_not_repeated(client: Client) -> None:
    answer = client.post("/v1/classify", json={"text": FULL, "secret@example.com": "secret"})
    assert "secret" not in problem(answer, 422).replace("secret@example.com: Extra", "")
    assert "hidden" not in problem(client.post("/v1/classify?lang=hidden", json={"text": FULL}), 422)


# --- uploads ----------------------------------------------------------------------------------------------------

CSV = b"id,email,diagnostic\n1,joe@example.com,550 5.1.1 user unknown\n2,li@example.org,552 mailbox full\n"
MAIL = next((ROOT / "tests" / "mail").glob("*.eml")).read_bytes()
BODIES = [
    (b"550 no such user\n552 5.2.2 mailbox full\n", "text/plain", ""),
    (b'{"id": 7, "text": "550 no such user"}\n\n{"text": 5, "more": [1]}\nnot json\n', "application/x-ndjson", ".jsonl"),
    (CSV, "text/csv", ".csv"),
    (CSV.replace(b",", b"\t"), "text/tab-separated-values", ".tsv"),
    (MAIL, "message/rfc822", ".eml"),
    (b"From joe@example.com Thu Jan  1 00:00:00 2026\n" + MAIL.lstrip(), "application/mbox", ".mbox"),
]


def predicted(content: bytes, name: str) -> list[dict[str, Any]]:
    """What `bounceml predict --to jsonl` writes."""
    worker = Worker(Classifier.load(MODEL), lambda _: jsonl.encode)
    entries = stream.of_file(io.BytesIO(content), name)
    return [json.loads(line) for _, parts in worker.answers(entries) for part in parts for line in part.encoded.splitlines()]


@pytest.mark.parametrize(("content", "kind", "suffix"), BODIES, ids=[kind for _, kind, _ in BODIES])
def test_an_upload_is_read_as_predict_reads_a_file(client: Client, content: bytes, kind: str, suffix: str) -> None:
    expected = predicted(content, f"upload{suffix}")
    assert expected
    answer = client.post("/v1/classify", **upload(content, f"{kind}; charset=utf-8"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == expected
    packed = upload(gzip.compress(content), kind)
    packed["headers"]["accept"] = "application/json"
    assert client.verdicts(**packed) == expected


def test_a_column_is_named(client: Client) -> None:
    table = CSV.replace(b"diagnostic", b"what")
    (found,) = client.post("/v1/classify", **upload(table, "text/csv")).text.splitlines()
    assert "--column" in json.loads(found)["error"]
    found = client.post("/v1/classify?column=what", **upload(table, "text/csv")).text.splitlines()
    assert [json.loads(row)["category"] for row in found] == ["user_unknown", "mailbox_full"]


def test_several_files_of_a_form(client: Client) -> None:
    files = [("file", ("bounces.csv", CSV)), ("file", ("mail.eml", MAIL)), ("other", ("log.gz", gzip.compress(b"552 mailbox full\n")))]
    found = [json.loads(line) for line in client.post("/v1/classify", files=files).text.splitlines()]
    assert found == predicted(CSV, "bounces.csv") + predicted(MAIL, "mail.eml") + predicted(b"552 mailbox full\n", "log")


def test_a_form_of_something_else(client: Client) -> None:
    assert "query" in problem(client.post("/v1/classify", files={"file": ("a", b"552")}, data={"lang": "zh"}), 400)
    problem(client.post("/v1/classify", **upload(b"x", "multipart/form-data")), 400)
    problem(client.post("/v1/classify", files=[("file", (f"{number}", b"552")) for number in range(101)]), 400)


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "application/zip", "nonsense"])
def test_another_type_is_told_which_there_are(client: Client, kind: str) -> None:
    assert "application/json" in problem(client.post("/v1/classify", **upload(b"552", kind)), 415)


def test_a_bomb_is_not_unpacked(client: Client) -> None:
    bomb = gzip.compress(b"552 mailbox full\n" * 1_000_000)
    assert len(bomb) < 100_000
    assert "unpacked" in problem(client.post("/v1/classify", **upload(bomb, "text/plain")), 413)
    assert "unpacked" in problem(client.post("/v1/classify", files={"file": ("mail.log.gz", bomb)}), 413)


def test_archives_and_what_is_packed_twice_or_broken(client: Client) -> None:
    assert "once" in problem(client.post("/v1/classify", **upload(gzip.compress(gzip.compress(b"552")), "text/plain")), 415)
    for archive in (b"PK\x03\x04 and more", b"PAR1 and more", gzip.compress(b"PK\x03\x04")):
        assert "ZIP" in problem(client.post("/v1/classify", **upload(archive, "application/octet-stream")), 415)
    assert "broken" in problem(client.post("/v1/classify", **upload(gzip.compress(b"552" * 99)[:20], "application/gzip")), 415)


def test_too_many_rows(client: Client) -> None:
    rows = [FULL] * 1001
    assert len(client.verdicts(json={"replies": rows[:1000]})) == 1000
    problem(client.post("/v1/classify", json={"replies": rows}), 413)
    problem(client.post("/v1/classify", **upload("\n".join(rows).encode(), "text/plain")), 413)
    table = "\n".join(["text", *rows]).encode()
    problem(client.post("/v1/classify", **upload(table, "text/csv")), 413)
    half = "\n".join(rows[:600]).encode()
    problem(client.post("/v1/classify", files=[("file", ("a.log", half)), ("file", ("b.log", half))]), 413)


# --- categories, health, figures --------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "name"), [("en", "Mailbox full"), ("zh", "收件人邮箱已满")])
def test_taxonomy(client: Client, lang: str, name: str) -> None:
    found = client.get(f"/v1/taxonomy?lang={lang}").json()
    (full,) = [row for row in found["categories"] if row["id"] == "mailbox_full"]
    assert full["name"] == name or lang == "zh"
    assert full["group"] in {group["id"] for group in found["groups"]}
    assert all(row[field] for row in found["categories"] for field in ("name", "cause", "remedy", "permanence", "action"))


def test_health(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == {"status": "ready", "model": client.app.state.served.model}
    for path in ("/healthz", "/readyz"):
        head = asyncio.run(client.asked("HEAD", path))
        assert (head.status_code, head.content) == (200, b"")
    monkeypatch.setattr(Served, "differing", lambda self: ["'552' is not what it should be"])
    assert client.get("/readyz").status_code == 503


def figure(client: Client, name: str) -> float:
    return next((float(line.rpartition(" ")[2]) for line in client.get("/metrics").text.splitlines() if line.startswith(name)), 0.0)


def test_figures_count_verdicts_and_requests_by_route(client: Client) -> None:
    names = (
        'bounceml_verdicts_total{category="mailbox_full",decided_by="model"}',
        'bounceml_requests_total{route="/v1/classify",status="200"}',
    )
    before = [figure(client, name) for name in names]
    client.verdicts(json={"replies": [FULL] * 5})
    client.post("/v1/classify", **upload(f"{FULL}\n".encode(), "text/plain"))
    assert [figure(client, name) for name in names] == [before[0] + 6, before[1] + 2]
    for number in range(3):
        client.get(f"/v1/no-such-page-{number}")
    text = client.get("/metrics").text
    assert "no-such-page" not in text
    assert 'route="none",status="404"' in text
    assert client.get("/metrics").headers["content-type"] == metrics.CONTENT_TYPE


# --- another model ----------------------------------------------------------------------------------------------


def renamed(folder: Path, version: str, **changed: Any) -> None:
    """Write the manifest of a folder anew."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"version": version} | changed))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("manifest.json", "arrays.safetensors"):
        shutil.copyfile(MODEL / name, folder / name)
    renamed(folder, "1")
    return folder


def test_a_new_model_takes_the_place_of_the_old_one(model: Path) -> None:
    client = Client(create(Settings(model=model)))
    assert client.verdicts(json={"text": FULL})[0]["model"] == "default 1"
    renamed(model, "2")
    assert client.verdicts(json={"text": FULL})[0]["model"] == "default 1"
    assert client.post("/v1/reload").json() == {"model": "default 2"}
    assert client.verdicts(json={"text": FULL})[0]["model"] == "default 2"


def test_a_model_that_is_not_usable_is_not_taken_over(model: Path) -> None:
    client = Client(create(Settings(model=model)))
    renamed(model, "2", labels=json.loads((model / "manifest.json").read_bytes())["labels"][::-1])
    assert "not fit" in problem(client.post("/v1/reload"), 409)
    (model / "arrays.safetensors").write_bytes(b"torn")  # in place: a process that maps the file itself would end here
    assert str(model) in problem(client.post("/v1/reload"), 409)
    (model / "manifest.json").unlink()
    assert "manifest.json" in problem(client.post("/v1/reload"), 409)
    fresh = [f"550 5.1.1 wording {number} user unknown" for number in range(50)]
    assert {row["model"] for row in client.verdicts(json={"replies": fresh})} == {"default 1"}
    assert client.get("/readyz").status_code == 200


def test_policy_and_rules_are_loaded_anew(tmp_path: Path) -> None:
    rules = tmp_path / "own.toml"
    rule = '[[rule]]\nid = "own-full"\ncategory = "mailbox_full"\npattern = "zebra"\nhit = "zebra here"\nmiss = "horse"\n'
    rule += 'source = "our own"\nlabel = "{}"\n'
    rules.write_text(rule.format("first"))
    client = Client(create(Settings(rules=rules)))
    assert client.verdicts(json={"text": "a zebra here"})[0]["user_label"] == "first"
    rules.write_text(rule.format("second"))
    assert client.post("/v1/reload").status_code == 200
    assert client.verdicts(json={"text": "a zebra here"})[0]["user_label"] == "second"
    rules.write_text("[[rule]]\n")
    assert str(rules) in problem(client.post("/v1/reload"), 409)


def test_without_a_token_only_this_machine_reloads() -> None:
    app = create(Settings(host="0.0.0.0"))
    assert "token" in problem(Client(app, client="192.0.2.7").post("/v1/reload"), 403)
    guarded = create(Settings(host="0.0.0.0", token="t"))
    assert Client(guarded, client="192.0.2.7").post("/v1/reload", headers={"authorization": "Bearer t"}).status_code == 200


def test_a_reload_under_running_requests(model: Path) -> None:
    client = Client(create(Settings(model=model)))

    done = False

    async def some(first: int) -> list[httpx.Response]:
        found: list[httpx.Response] = []
        while not done:
            await asyncio.sleep(0.001)  # there is no network that would let the others have their turn
            rows = [f"550 5.1.1 user unknown, wording {first} {len(found)} {row}" for row in range(20)]
            found.append(await client.asked("POST", "/v1/classify", json={"replies": rows}))
        return found

    async def reloads() -> list[httpx.Response]:
        nonlocal done
        try:
            found = []
            for version in range(2, 6):
                renamed(model, str(version))
                found.append(await client.asked("POST", "/v1/reload"))
            return found
        finally:
            done = True

    async def run() -> list[httpx.Response]:
        answers = await asyncio.gather(reloads(), *map(some, range(3)))
        return [answer for group in answers for answer in group]

    answers = asyncio.run(run())
    assert {answer.status_code for answer in answers} == {200}
    models = [{row["model"] for row in answer.json()["verdicts"]} for answer in answers[4:]]
    assert all(len(found) == 1 for found in models)  # no request is answered by two models
    assert len(set.union(*models)) > 1


def test_another_process_follows(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    one, two = Served(Settings(model=model, state=state)), Served(Settings(model=model, state=state))
    for version in "234":
        renamed(model, version)
        one.reload()
        two.follow()
        assert two.model == one.model == f"default {version}"
    assert len(list(state.glob("m-*"))) == 1
    shutil.rmtree(model)
    assert Served(Settings(model=model, state=state)).model == "default 4"  # a worker that is started later


def test_several_processes_that_reload_at_one_time(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    services = [Served(Settings(model=model, state=state)) for _ in range(2)]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            done = [pool.submit(task) for one in services for task in (one.reload, one.follow, lambda: Served(Settings(state=state)))]
            for task in done:
                task.result()
            (kept,) = state.glob("m-*")
            assert (state / "current").read_text() == kept.name
    assert {one.follow() or one.model for one in services} == {"default 1"}


def test_a_full_disk_leaves_the_old_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(create(Settings(model=model)))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert "room" in problem(client.post("/v1/reload"), 409)
    assert client.verdicts(json={"text": FULL})[0]["model"] == "default 1"


# --- processes --------------------------------------------------------------------------------------------------


@contextmanager
def running(*options: str, **environ: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "bounceml", "serve", "--port", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environ
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            url = line.partition(" ")[0].rstrip("/")
            assert url.startswith("http://"), line + (process.stderr.read() if process.stderr else "")
            yield url, process
        finally:
            process.terminate()
            process.wait(20)


def fetched(url: str, body: object = None) -> Any:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def until(true: Any, seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            if found := true():
                return found
        except (OSError, urllib.error.URLError):
            pass
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def workers(parent: int) -> set[int]:
    found = set()
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.add(child)
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_workers_are_replaced_and_all_take_a_new_model_over(model: Path) -> None:
    with running("--workers", "2", "--model", str(model)) as (url, process):

        def models() -> set[str]:
            with ThreadPoolExecutor(8) as pool:
                return {row["verdicts"][0]["model"] for row in pool.map(lambda _: fetched(f"{url}/v1/classify", {"text": FULL}), range(40))}

        assert until(models) == {"default 1"}
        renamed(model, "2")
        assert fetched(f"{url}/v1/reload", {}) == {"model": "default 2"}
        until(lambda: models() == {"default 2"})
        renamed(model, "broken", labels=[])
        killed, kept = sorted(before := workers(process.pid))
        os.kill(killed, signal.SIGKILL)
        after = until(lambda: len(now := workers(process.pid)) == 2 and now != before and now)
        assert kept in after
        until(lambda: all(models() == {"default 2"} for _ in range(3)))
        with urllib.request.urlopen(f"{url}/metrics", timeout=20) as figures:
            counted = [line for line in figures.read().decode().splitlines() if line.startswith("bounceml_verdicts_total")]
        assert float(counted[0].rpartition(" ")[2]) >= 120  # those of the worker that was killed among them
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_workers_end_with_a_parent_that_was_killed() -> None:
    with running("--workers", "2") as (url, process):
        until(lambda: fetched(f"{url}/healthz"))
        left = until(lambda: len(found := workers(process.pid)) == 2 and found)
        process.kill()
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in left))


def test_one_process_and_a_port_that_is_taken(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with running("--token-file", str(token), "--host", "0.0.0.0") as (url, _):
        port = url.rpartition(":")[2]
        until(lambda: fetched(f"http://127.0.0.1:{port}/healthz"))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            fetched(f"http://127.0.0.1:{port}/v1/taxonomy")
        again = subprocess.run([sys.executable, "-m", "bounceml", "serve", "--port", port], capture_output=True, text=True, cwd=ROOT)
        assert (again.returncode, again.stdout) == (2, "")
        assert f"port {port}" in again.stderr
        assert "--port" in again.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "no-such-host.invalid"], "--host"),
        (["--port", "70000"], "65535"),
        (["--max-bytes", "many"], "32M"),
        (["--token-file", "no-such-file"], "token"),
        (["--model", "no-such-folder"], "manifest.json"),
    ],
)
def test_what_cannot_be_served_is_told(options: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bounceml", "serve", "--port", "0", *options], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_for_others_without_a_token_is_warned_of() -> None:
    with running("--host", "0.0.0.0", BOUNCEML_TOKEN="") as (_, process):
        process.terminate()
        process.wait(20)
        assert process.stderr
        assert "BOUNCEML_TOKEN" in process.stderr.read()
