"""A picker by gRPC's own server that takes endpoints in turns: what ours is measured against.

``python -m benchmarks.picker.plain PORT ENDPOINT,ENDPOINT``. It reads the body's JSON, names
an endpoint and passes everything; nothing is scheduled, observed, counted or logged.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc

from proxy.picker.questions import BodyMode

# Any: the definitions come without types.
Message = Any
_DUPLEX = BodyMode.FULL_DUPLEX_STREAMED
_NAME = "x-gateway-destination-endpoint"


class Plain:
    """Serve ext_proc streams."""

    def __init__(self, endpoints: list[str]) -> None:
        self._turns = itertools.cycle(endpoints)

    async def Process(  # noqa: N802  # gRPC's
        self,
        questions: AsyncIterator[Message],
        _: object,
    ) -> AsyncIterator[Message]:
        """Process one HTTP request."""
        modes, parts = (0, 0), []
        async for question in questions:
            kind = question.WhichOneof("request")
            if kind == "request_headers":
                config = question.protocol_config
                modes = (config.request_body_mode, config.response_body_mode)
                {each.key: each.raw_value for each in question.request_headers.headers.headers}
                if modes[0] == BodyMode.NONE:
                    yield self._pick("request_headers", b"")
                elif modes[0] != _DUPLEX:
                    yield _pass(kind)
            elif kind == "request_body":
                parts.append(question.request_body.body)
                if question.request_body.end_of_stream:
                    body = b"".join(parts)
                    duplex = modes[0] == _DUPLEX
                    yield self._pick("request_headers" if duplex else kind, body)
                    if duplex:
                        yield _streamed(kind, body, last=True)
            elif kind == "response_body" and modes[1] == _DUPLEX:
                body = question.response_body
                yield _streamed(kind, body.body, last=body.end_of_stream)
            else:
                yield _pass(kind)

    def _pick(self, part: str, body: bytes) -> Message:
        if body:
            json.loads(body)
        endpoint = next(self._turns)
        answer = _pass(part)
        common = getattr(answer, part).response
        common.clear_route_cache = True
        option = common.header_mutation.set_headers.add()
        option.header.key, option.header.raw_value = _NAME, endpoint.encode()
        option.append_action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        space = answer.dynamic_metadata.fields["envoy.lb"].struct_value
        space.fields[_NAME].string_value = endpoint
        return answer


def _pass(part: str) -> Message:
    answer = ext_proc.ProcessingResponse()
    getattr(answer, part).SetInParent()
    return answer


def _streamed(part: str, body: bytes, *, last: bool) -> Message:
    answer = ext_proc.ProcessingResponse()
    piece = getattr(answer, part).response.body_mutation.streamed_response
    piece.body, piece.end_of_stream = body, last
    return answer


async def main() -> None:
    """Serve until killed."""
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 10_000)])
    plain = Plain(sys.argv[2].split(","))
    ext_proc_grpc.add_ExternalProcessorServicer_to_server(plain, server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
