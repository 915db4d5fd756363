"""A mail server and a webhook on the loopback interface that keep what they are told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import BaseServer, StreamRequestHandler, TCPServer
from threading import Thread
from typing import Any


@dataclass
class Heard:
    """What came in."""

    port: int = 0
    status: int = 200
    mails: list[Message] = field(default_factory=list)
    receivers: list[str] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Heard]:
    """As much of SMTP (RFC 5321) as a client that sends one message needs."""
    heard = Heard()

    class Session(StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].split()[0].upper()
                if verb == "RCPT":
                    heard.receivers.append(line)
                if verb == "DATA":
                    self._say("354 go on")
                    text = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                    heard.mails.append(message_from_string("".join(text)))
                self._say("221 bye" if verb == "QUIT" else "250 fine")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with _serving(TCPServer(("127.0.0.1", 0), Session), heard):
        yield heard


@contextmanager
def webhook() -> Iterator[Heard]:
    """Answers every POST with `status`."""
    heard = Heard()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.posts.append(json.loads(body))
            heard.headers.append(dict(self.headers))
            heard.paths.append(self.path)
            self.send_response(heard.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(HTTPServer(("127.0.0.1", 0), Hook), heard):
        yield heard


@contextmanager
def _serving(server: BaseServer, heard: Heard) -> Iterator[None]:
    heard.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
