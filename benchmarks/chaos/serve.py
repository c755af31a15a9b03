"""``python -m benchmarks.chaos.serve PORT THREADS``: one process of the site, with a pool of threads.

The threads stay, and so do their connections to the databases.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Server(WSGIServer):
    """Hands each request to a thread of its pool."""

    request_queue_size = 128
    pool: ThreadPoolExecutor

    def process_request(self, request: Any, client_address: Any) -> None:
        """Called by the loop that accepts connections."""
        self.pool.submit(self._answer, request, client_address)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)


class Handler(WSGIRequestHandler):
    """Says nothing of requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Overrides a line for each request."""


def main(port: int, threads: int) -> None:
    from testproject.wsgi import application

    with make_server("127.0.0.1", port, application, Server, Handler) as server:
        server.pool = ThreadPoolExecutor(threads)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
