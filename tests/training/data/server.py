"""A server on this machine that answers as it is told: whole, late, cut short or not at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]


@dataclass(frozen=True)
class Answer:
    """`cut` sends only so many bytes of the body that was announced; `wait_seconds` comes before it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    wait_seconds: float = 0.0


def text(words: str, **more: Any) -> Answer:
    return Answer(words.encode(), **more)


def jsonned(value: Any, **more: Any) -> Answer:
    return Answer(json.dumps(value).encode(), **more)


class Server:
    """Answers by path: one answer for ever, several one after the other, or a function of the query."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer] | Callable[[Query], Answer]] = {}
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.authorizations: list[str] = []
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                outer.asked.append(url.path)
                outer.agents.add(self.headers.get("User-Agent", ""))
                outer.authorizations.append(self.headers.get("Authorization", ""))
                answer = outer.answer(url.path, parse_qs(url.query))
                outer.stop.wait(answer.wait_seconds)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body[: answer.cut])
                    if answer.cut is not None:
                        self.wfile.flush()
                        self.connection.shutdown(socket.SHUT_RDWR)
                except (BrokenPipeError, ConnectionResetError, OSError):
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def answer(self, path: str, query: Query) -> Answer:
        found = self.answers.get(path)
        if found is None:
            return text("there is nothing here", status=404)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found(query) if callable(found) else found

    def times(self, path: str) -> int:
        """How often a path was asked for."""
        return self.asked.count(path)

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()
