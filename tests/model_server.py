"""A scripted model behind the real protocol: an OpenAI-compatible server on loopback.

`answer` decides what it says from the messages it gets, so that a test knows the scores in
advance; it may raise `Fault(status)` to fail a request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Messages = list[dict[str, Any]]


class Fault(Exception):
    """The server answers with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass
class ModelServer:
    """Where the server listens, and every list of messages that it was sent."""

    url: str
    requests: list[Messages] = field(default_factory=list)


@contextmanager
def model_server(answer: Callable[[Messages], str]) -> Iterator[ModelServer]:
    """Serve until the block ends."""
    server = _Server(("127.0.0.1", 0), _handler(answer))
    record = ModelServer(f"http://127.0.0.1:{server.server_port}/v1")
    server.record = record  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)  # seconds until it sees its end
    thread.start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 256  # connections at once; one that finds no place waits a second for its next try


def _handler(answer: Callable[[Messages], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.record.requests.append(body["messages"])  # type: ignore[attr-defined]
            try:
                self._send(200, _completion(body["model"], answer(body["messages"])))
            except Fault as fault:
                self._send(fault.status, {"error": {"message": "scripted fault", "type": "fault"}})

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _completion(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": len(text.split()), "total_tokens": 1 + len(text.split())},
    }
