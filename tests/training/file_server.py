"""A server of files on the loopback that behaves as servers do, faults and all."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

PAGE = b"\n<!doctype html><title>Log in</title>"
BOMB = gzip.compress(bytes(70 * 2**20))


def build_body(name: str) -> bytes:
    return name.encode() * 2000


class FileServer(ThreadingHTTPServer):
    """Serves every name; names that begin with a fault's get that fault, some of them only once."""

    daemon_threads = True

    def __init__(self, bodies: dict[str, bytes] | None = None) -> None:
        """``bodies`` by name, without the fault before it; else every name has one made of it."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = bodies
        self.asked: Counter[str] = Counter()
        self.busy = 0
        self.most_busy = 0
        self.delay = 0.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        name = unquote(self.path).rpartition("/")[2]
        with self.server.lock:
            self.server.asked[name] += 1
            first = self.server.asked[name] == 1
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.busy -= 1
        fault = name.partition("_")[0]
        if fault == "missing":
            self.send_error(404)
        elif fault == "busy" and first:
            self.send_error(503)
        elif fault == "reset" and first:
            self.connection.shutdown(2)
        elif fault == "moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere/target.jpg")
            self.end_headers()
        else:
            bodies = self.server.bodies
            body = bodies[name.partition("_")[2]] if bodies else build_body(name)
            body = {"empty": b"", "page": PAGE, "bomb": BOMB}.get(fault, body)
            self.send_response(200)
            if fault == "bomb":
                self.send_header("Content-Encoding", "gzip")
            if fault == "page":
                self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # "short" ends early once, "broken" whenever it is asked for.
            cut = len(body) // 2 if fault == "broken" or (fault == "short" and first) else None
            self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_server(bodies: dict[str, bytes] | None = None) -> Iterator[FileServer]:
    server = FileServer(bodies)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
