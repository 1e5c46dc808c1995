"""A collector of OTLP over HTTP on a loopback port, as small as it can be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 20.0


@dataclass
class Received:
    """Hold what has come, and say what is to be answered."""

    url: str
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, object]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, names: set[str]) -> dict[str, Span]:
        """Give spans by their names once all of these are there."""
        with self.came:
            there = self.came.wait_for(
                lambda: names <= {span.name for span in self.spans}, PATIENCE_S
            )
            assert there, [span.name for span in self.spans]
            return {span.name: span for span in self.spans}


def attributes(span: Span) -> dict[str, object]:
    """Give a span's attributes."""
    return {pair.key: value_of(pair.value) for pair in span.attributes}


def value_of(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


@contextmanager
def receiving() -> Iterator[Received]:
    """Receive until left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = ExportTraceServiceRequest.FromString(body)
            with received.came:
                received.paths.append(self.path)
                if received.status == 200:
                    for group in told.resource_spans:
                        told_of = group.resource.attributes
                        received.resources.append({p.key: value_of(p.value) for p in told_of})
                        for scope in group.scope_spans:
                            received.spans.extend(scope.spans)
                received.came.notify_all()
            self.send_response(received.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Received(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
