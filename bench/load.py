"""How many requests a second the service answers, and whether it stays right under hostile ones: `python -m bench.load single`.

single  one reply a request, by `wrk` (apt install wrk): requests a second and the 99th percentile
batch   requests of 2,000 replies, by `wrk`: replies a second
mixed   single requests checked against the verdicts of this process, with malformed and oversized ones between, reloads, and workers that
        are killed; tells what was answered, and the memory of the service over the time

The service is `bounceml serve --workers 2` on a free port of loopback; the load runs on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench import streams
from bounceml import Classifier
from bounceml.parsing import rows

ROOT = Path(__file__).parents[1]
TEMPLATES, BODIES, ROWS = 300, 2000, 2000  # wordings of the stream, different bodies of `single`, replies of a request of `batch`
LONGEST = 900  # seconds
RATE = 0.002  # seconds between two requests of one client of `mixed`
CLIENTS = 8

# Each thread takes the bodies in turn, beginning at another one.
_LUA = """
local bodies, at = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
function setup(thread) at = at + 1; thread:set("first", at * 7) end
function init(args) at = first end
function request()
  at = at % #bodies + 1
  return wrk.format("POST", "/v1/classify", {["Content-Type"] = "application/json"}, bodies[at])
end
"""


@contextmanager
def service(workers: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the service; it is ready when this returns."""
    command = [sys.executable, "-m", "bounceml", "serve", "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().partition("/ ")[0]
            while True:
                try:
                    httpx.get(f"{url}/readyz")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url, process
        finally:
            process.terminate()


def of_workers(parent: int) -> dict[int, float]:
    """Return the worker processes and the memory of each, in MB."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = {}
    for child in children:
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            found[int(child)] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


def by_wrk(bodies: list[str], seconds: int, connections: int, replies: int) -> None:
    """Send the bodies, one after the other, from two clients, and print what wrk measured.

    The second client comes a second after the first: connections that are opened at one time may all go to one worker process.
    """
    with service(2) as (url, process), tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        path.write_text("\n".join(bodies) + "\n", encoding="utf-8")
        script.write_text(_LUA.replace("BODIES", str(path)))
        command = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", str(script), url]
        for last in (2, seconds):  # in the first round the wordings become known
            clients = []
            for _ in range(2):
                clients.append(subprocess.Popen([*command, f"-d{last}s"], stdout=subprocess.PIPE, text=True))
                time.sleep(1)
            told = [client.communicate()[0] for client in clients]
        for one in told:
            print(one)
            if "Non-2xx" in one or "Socket errors" in one or "Requests/sec:" not in one:
                sys.exit("not all requests were answered")
        rate = sum(float(one.partition("Requests/sec:")[2].split()[0]) for one in told)
        used = ", ".join(f"{megabytes:.0f}" for megabytes in of_workers(process.pid).values())
        print(f"{rate * replies:,.0f} replies a second from both clients; MB of each worker: {used}")


def single(seconds: int) -> None:
    """Measure requests of one reply."""
    replies = streams.replies(BODIES, TEMPLATES)
    by_wrk([json.dumps({"text": text, "recipient": recipient}) for recipient, text in replies], seconds, 4, 1)


def batch(seconds: int) -> None:
    """Measure requests of many replies."""
    replies = list(streams.replies(4 * ROWS, TEMPLATES))
    parts = [replies[first : first + ROWS] for first in range(0, len(replies), ROWS)]
    by_wrk([json.dumps({"replies": [text for _, text in part]}) for part in parts], seconds, 2, ROWS)


# --- mixed ------------------------------------------------------------------------------------------------------

_HOSTILE: tuple[tuple[dict[str, Any], int], ...] = (
    ({"content": b"{"}, 422),
    ({"json": {"text": 5}}, 422),
    ({"content": b"x" * (32 * 2**20 + 1)}, 413),
    ({"content": b"552", "headers": {"content-type": "application/zip"}}, 415),
    ({"json": {"text": "552"}, "headers": {"origin": "https://example.com"}}, 403),
    ({"json": {"text": "552"}, "headers": {"host": "example.com"}}, 421),
)


class Mixed:
    """Clients that ask, and what happens to them."""

    def __init__(self, url: str, process: subprocess.Popen[str], end: float) -> None:
        self._url = url
        self._process = process
        self._end = end
        self._classifier = Classifier.load()
        self._replies = list(streams.replies(BODIES, TEMPLATES))
        self.found: Counter[str] = Counter()
        self.slow: list[float] = []

    async def client(self, number: int) -> None:
        """Ask until the end."""
        draw = random.Random(number)
        async with httpx.AsyncClient(base_url=self._url, timeout=30, headers={"content-type": "application/json"}) as asked:
            while time.monotonic() < self._end:
                try:
                    if draw.random() < 0.05:
                        given, expected = draw.choice(_HOSTILE)
                        status = (await asked.post("/v1/classify", **given)).status_code
                        self.found["refused as it should be" if status == expected else f"WRONG: {status} in place of {expected}"] += 1
                    else:
                        await self._one(asked, *draw.choice(self._replies))
                except httpx.TransportError as error:  # of a worker that was killed
                    self.found[f"broken off: {type(error).__name__}"] += 1
                await asyncio.sleep(RATE)

    async def _one(self, asked: httpx.AsyncClient, recipient: str, text: str) -> None:
        begin = time.perf_counter()
        answer = await asked.post("/v1/classify", json={"text": text, "recipient": recipient})
        self.slow.append(time.perf_counter() - begin)
        if answer.status_code != 200:
            self.found[f"WRONG: {answer.status_code}"] += 1
            return
        replies = rows.replies_in(text, rows.Known(None, None, recipient, None, None))  # some are lines of a log
        expected = [verdict.to_dict() for verdict in self._classifier.classify_all(replies)]
        same = answer.json()["verdicts"] == json.loads(json.dumps(expected))
        self.found["right" if same else "WRONG: another verdict"] += 1

    async def trouble(self) -> None:
        """Reload the model every two seconds, kill a worker every five, and tell the memory."""
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as asked:
            second = 0
            while time.monotonic() < self._end:
                await asyncio.sleep(1)
                second += 1
                workers = of_workers(self._process.pid)
                if second % 10 == 0 or second < 3:
                    print(f"{second:>4} s  MB of each worker: {', '.join(f'{used:.0f}' for used in workers.values())}", flush=True)
                if second % 5 == 0 and len(workers) > 1:
                    os.kill(min(workers), signal.SIGKILL)
                    self.found["workers killed"] += 1
                elif second % 2 == 0:
                    try:
                        self.found[f"reloads: {(await asked.post('/v1/reload')).status_code}"] += 1
                    except httpx.TransportError as error:
                        self.found[f"broken off: {type(error).__name__}"] += 1

    async def run(self) -> None:
        """Let all of this happen at one time."""
        await asyncio.gather(self.trouble(), *map(self.client, range(CLIENTS)))


def mixed(seconds: int) -> None:
    """See that the service answers rightly whatever happens; ends with 1 where it does not."""
    with service(2) as (url, process):
        load = Mixed(url, process, time.monotonic() + seconds)
        asyncio.run(load.run())
    for what, count in sorted(load.found.items()):
        print(f"{count:>8,}  {what}")
    print(f"99th percentile: {sorted(load.slow)[int(len(load.slow) * 0.99)] * 1000:.1f} ms, the client's own work with it")
    if any(what.startswith("WRONG") for what in load.found):
        sys.exit(1)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("single", "batch", "mixed"))
    parser.add_argument("--seconds", type=int, default=10, metavar="N", help=f"how long, up to {LONGEST} (default: %(default)s)")
    arguments = parser.parse_args()
    if not 1 <= arguments.seconds <= LONGEST:
        parser.error(f"--seconds: give a number from 1 to {LONGEST}")
    {"single": single, "batch": batch, "mixed": mixed}[arguments.what](arguments.seconds)


if __name__ == "__main__":
    main()
