"""What Envoy tells, made with its own definitions, and its reading of the answers."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from prometheus_client import CollectorRegistry

from predictor.types import EndpointState, RequestRecord
from proxy import ProxyMetrics, ProxySettings, Tracer
from proxy.picker.picker import Picker
from proxy.picker.processing import Processing
from proxy.picker.questions import BodyMode
from proxy.relay import Sink
from proxy.settings import PickerSettings
from scheduler import Scheduler, SchedulerSettings
from tests.scheduler.known_physics import MODEL, KnownPhysics, endpoint, make_scheduler

NONE, STREAMED, BUFFERED, PARTIAL, DUPLEX = BodyMode
FAST, SLOW = "10.0.0.1:8000", "10.0.0.2:8000"
CHAT = "/v1/chat/completions"
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}'


def chat(*, stream: bool = False, **fields: object) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **fields}
    return json.dumps(body | ({"stream": True} if stream else {})).encode()


class Manual:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Table:
    """A picker over two endpoints, the first of which is predicted to be the faster."""

    def __init__(
        self,
        states: Sequence[EndpointState] | None = None,
        *,
        scheduling: SchedulerSettings | None = None,
        settings: ProxySettings | None = None,
        fallbacks: int = 0,
        tokens: Any = None,
        sinks: Sequence[Sink] = (),
        tracer: Tracer | None = None,
    ) -> None:
        self.clock = Manual()
        self.records: list[RequestRecord] = []
        self.physics = KnownPhysics({FAST: 1e-4, SLOW: 1e-3})
        scheduling = scheduling or SchedulerSettings()
        self.scheduler: Scheduler = make_scheduler(
            self.physics, states or [endpoint(FAST), endpoint(SLOW)], scheduling
        )
        self.registry = CollectorRegistry()
        given = settings or ProxySettings()
        self.picker = Picker(
            scheduler=self.scheduler,
            settings=given.model_copy(update={"picker": PickerSettings(fallbacks=fallbacks)}),
            metrics=ProxyMetrics(self.registry, scheduling),
            sinks=[self.records.append, *sinks],
            clock=self.clock,
            tokens=tokens,
            tracer=tracer,
        )

    def processing(self) -> Processing:
        return Processing(self.picker)


class Told:
    """One HTTP request as Envoy tells of it; every step gives what was answered."""

    def __init__(
        self,
        processing: Processing,
        request_mode: BodyMode,
        response_mode: BodyMode = NONE,
        *,
        observing: bool = False,
    ) -> None:
        self.processing = processing
        self._modes = (request_mode, response_mode)
        self._observing = observing

    def request_headers(
        self,
        *headers: tuple[str, str],
        path: str = CHAT,
        end: bool = False,
        subset: str | Sequence[str] | None = None,
        length: int | None = None,
    ) -> list[Any]:
        message = ext_proc.ProcessingRequest()
        pairs = [(":method", "POST"), (":path", path), (":authority", "here"), *headers]
        if length is not None:
            pairs.append(("content-length", str(length)))
        _add(message.request_headers, pairs)
        message.request_headers.end_of_stream = end
        if not self._observing:
            message.protocol_config.request_body_mode = self._modes[0]
            message.protocol_config.response_body_mode = self._modes[1]
        if subset is not None:
            hint = message.metadata_context.filter_metadata["envoy.lb.subset_hint"]
            hint["x-gateway-destination-endpoint-subset"] = (
                subset if isinstance(subset, str) else list(subset)
            )
        return self._tell(message)

    def request_body(self, body: bytes, *, end: bool = True) -> list[Any]:
        message = ext_proc.ProcessingRequest()
        message.request_body.body = body
        message.request_body.end_of_stream = end
        return self._tell(message)

    def request_trailers(self) -> list[Any]:
        return self._tell(ext_proc.ProcessingRequest(request_trailers={}))

    def response_headers(
        self,
        *headers: tuple[str, str],
        status: int = 200,
        served: str | None = FAST,
        end: bool = False,
        stream: bool = False,
    ) -> list[Any]:
        message = ext_proc.ProcessingRequest()
        kind = "text/event-stream" if stream else "application/json"
        _add(message.response_headers, [(":status", str(status)), ("content-type", kind), *headers])
        message.response_headers.end_of_stream = end
        if served is not None:
            attributes = message.attributes["envoy.filters.http.ext_proc"]
            attributes.fields["upstream.address"].string_value = served
        return self._tell(message)

    def response_body(self, body: bytes, *, end: bool = True) -> list[Any]:
        message = ext_proc.ProcessingRequest()
        message.response_body.body = body
        message.response_body.end_of_stream = end
        return self._tell(message)

    def response_trailers(self) -> list[Any]:
        return self._tell(ext_proc.ProcessingRequest(response_trailers={}))

    def tell(self, request: bytes, response: bytes = WHOLE) -> list[Any]:
        """Tell a whole request as its modes have it; give all answers."""
        answers = self.request_headers(length=len(request))
        mode, response_mode = self._modes
        if self._observing or mode != NONE:
            answers += self.request_body(request)
        answers += self.response_headers(stream=response.startswith(b"data:"))
        if self._observing or response_mode != NONE:
            answers += self.response_body(response)
        return answers

    def _tell(self, message: Any) -> list[Any]:
        message.observability_mode = self._observing
        # By way of bytes, as they come.
        again = ext_proc.ProcessingRequest.FromString(message.SerializeToString())
        return read(self.processing.receive(again))


def read(answers: Sequence[bytes]) -> list[Any]:
    return [ext_proc.ProcessingResponse.FromString(answer) for answer in answers]


def _add(message: Any, pairs: Sequence[tuple[str, str]]) -> None:
    for name, value in pairs:
        message.headers.headers.add(key=name, raw_value=value.encode("latin-1"))


def common(answer: Any) -> Any:
    """Give what an answer says of a part, whichever part it is."""
    return getattr(answer, answer.WhichOneof("response")).response


def kinds(answers: Sequence[Any]) -> list[str]:
    return [answer.WhichOneof("response") for answer in answers]


def headers_set(answers: Sequence[Any]) -> dict[str, str]:
    """Give the headers that answers set, the later ones over the earlier."""
    found: dict[str, str] = {}
    for answer in answers:
        kind = answer.WhichOneof("response")
        if kind == "immediate_response":
            options = answer.immediate_response.headers.set_headers
        elif kind in {"request_trailers", "response_trailers", None}:
            continue
        else:
            options = common(answer).header_mutation.set_headers
        found |= {option.header.key: option.header.raw_value.decode() for option in options}
    return found


def destination(answers: Sequence[Any]) -> str | None:
    """Give where answers send the request; header and metadata must say the same."""
    header = headers_set(answers).get("x-gateway-destination-endpoint")
    told = [
        fields["envoy.lb"].struct_value.fields["x-gateway-destination-endpoint"].string_value
        for answer in answers
        if "envoy.lb" in (fields := answer.dynamic_metadata.fields)
    ]
    assert told == ([] if header is None else [header])
    return header


def body_of(answers: Sequence[Any], kind: str = "request_body") -> tuple[bytes, bool]:
    """Put the pieces of a streamed body together; say whether the last one ended it."""
    pieces = [
        common(answer).body_mutation.streamed_response
        for answer in answers
        if answer.WhichOneof("response") == kind
    ]
    assert all(len(piece.body) < 65_536 for piece in pieces)
    assert not any(piece.end_of_stream for piece in pieces[:-1])
    return b"".join(piece.body for piece in pieces), bool(pieces and pieces[-1].end_of_stream)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut data into pieces of the given sizes, again and again."""
    pieces, start = [], 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            return pieces
        pieces.append(data[start : start + size])
        start += size
    return [data]


Step = Callable[[], list[Any]]
