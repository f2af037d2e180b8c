"""A hub on this machine that serves one model: as much of its protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 40


@contextmanager
def serving(model_id: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The hub's address, and the files that were asked of it so far."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(whole=False)

        def do_GET(self) -> None:
            self._answer(whole=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, whole: bool) -> None:
            path = self.path.partition("?")[0]
            files = {path.name: path for path in folder.iterdir()}
            name = path.rpartition("/")[2]
            if path.startswith(f"/api/models/{model_id}/tree/"):
                content = json.dumps(
                    [
                        {"type": "file", "path": name, "size": each.stat().st_size, "oid": COMMIT}
                        for name, each in files.items()
                    ]
                ).encode()
            elif path.startswith(f"/api/models/{model_id}"):
                siblings = [{"rfilename": name} for name in files]
                about = {"_id": "0", "id": model_id, "sha": COMMIT, "siblings": siblings}
                content = json.dumps(
                    about | {"private": False, "downloads": 0, "tags": []}
                ).encode()
            elif path.startswith(f"/{model_id}/resolve/") and name in files:
                asked.append(name)
                content = files[name].read_bytes()
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if whole:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
