"""From settings to a service on a port: one process, or several that share it.

uvicorn's parent looks at its worker processes twice a second: one that ended, or does not answer for five seconds, is replaced
(``uvicorn.supervisors.Multiprocess``), and the new one loads the same copy of the model as the others. The workers end when the parent
does, even where that was killed.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from bounceml import process
from bounceml.errors import UsageError
from bounceml.web.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

# What goes wrong, on standard error. Requests are counted (``metrics``), not logged.
_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {name: {"handlers": ["errors"], "level": "WARNING", "propagate": False} for name in ("uvicorn", "bounceml")},
}


def serve(settings: Settings, port: int, workers: int, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it (SIGINT, SIGTERM); requests under way are answered.

    Parameters
    ----------
    settings
        How the service runs; it makes ``state`` itself.
    port
        Where it listens; 0: any free one.
    workers
        How many processes answer.
    say
        Is told the address, once it is bound.

    Raises
    ------
    UsageError
        Where it cannot listen there.
    BouncemlError
        Where the model, the policy or the rules are not usable.

    """
    signal.signal(signal.SIGTERM, _ended)
    with _bound(settings.host, port) as listening, tempfile.TemporaryDirectory(prefix="bounceml-", ignore_cleanup_errors=True) as folder:
        settings = settings._replace(state=Path(folder))
        if workers > 1:
            counted = Path(folder) / "metrics"
            counted.mkdir()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(counted)
        app = _app(settings)  # what is wrong is told here, and the workers find a copy of the model
        config = uvicorn.Config(
            partial(_app, settings) if workers > 1 else app,
            factory=workers > 1,
            ws="none",
            workers=workers,
            log_config=_LOGGING,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.timeout) + 1,
        )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        say(f"http://{host}:{listening.getsockname()[1]}/")
        if workers > 1:
            Multiprocess(config, [listening]).run()
        else:
            uvicorn.Server(config).run([listening])


def _ended(number: int, frame: FrameType | None) -> None:
    """End as a program does, so that nothing stays behind: uvicorn raises the signal once more when all requests are answered."""
    sys.exit(128 + number)


def _app(settings: Settings) -> FastAPI:
    """Return the service of this process."""
    from bounceml.web.app import create  # after PROMETHEUS_MULTIPROC_DIR is set

    process.end_with_parent()
    app = create(settings)
    process.for_many()
    return app


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} of {host} is taken; stop what listens there, or name another with --port (0: any free one)"
        elif isinstance(error, PermissionError):
            why = f"port {port} is not for this user; name one from 1024 on with --port"
        else:
            why = f"cannot listen on {host}, port {port} ({error.strerror}); name an address of this machine with --host"
        raise UsageError(why) from None
