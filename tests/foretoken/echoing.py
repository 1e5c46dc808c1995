"""An endpoint that tells all it knows, in every way an endpoint can fail."""

import asyncio
import json
from contextlib import suppress

from tests.fakes import DONE, LAST_CHUNK, STREAM_HEAD, chunk, event, json_response, response
from tests.fakes import usage_event as usage

PAGE = b'vllm:num_requests_running{model_name="m"} 0\nvllm:num_requests_waiting 0\n'
CARDS = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 4096}]}


class EchoingEndpoint:
    """Serve one model; the answer holds the request's head and body, and the secret output.

    How it answers stands in the body, ``"case"``: ``well``, ``stream``, ``status`` (as many as
    named in ``code``), ``error_event``, ``garbage`` (no HTTP), ``bad_chunk``, ``cut``, ``head``
    (a response head full of what came in).

    Args:
        output: What it generates.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.heads: list[bytes] = []

    async def __aenter__(self) -> "EchoingEndpoint":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                size = [
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ]
                body = await reader.readexactly(size[0]) if size else b""
                writer.write(self._answer(head, body))
                await writer.drain()
                if b'"cut"' in body or b'"garbage"' in body:
                    break
        writer.close()

    def _answer(self, head: bytes, body: bytes) -> bytes:
        path = head.split(b" ")[1].split(b"?")[0]
        about = {
            b"/metrics": response(PAGE),
            b"/v1/models": json_response(CARDS),
            b"/health": response(b""),
            b"/version": json_response({"version": "0.32.0"}),
        }
        if path in about:
            return about[path]
        asked: dict[str, object] = {}
        with suppress(ValueError):
            asked = json.loads(body)
        told = (head + body).decode("latin-1") + self._output
        return self._generated(asked, told)

    def _generated(self, asked: dict[str, object], told: str) -> bytes:
        code = asked.get("code", 500)
        error = json.dumps({"error": {"message": told, "type": told, "code": code}}).encode()
        line = b"x-told: " + told.encode().replace(b"\r", b"").replace(b"\n", b"\\")
        begun = STREAM_HEAD + event(self._output)
        well = {
            "choices": [{"message": {"content": told}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }
        return {
            "stream": begun + event(told) + usage(7, 2) + DONE + LAST_CHUNK,
            "status": response(error, status=b"%d Told" % code),
            "error_event": STREAM_HEAD + chunk(b"data: " + error + b"\n\n"),
            "garbage": told.encode(),
            "bad_chunk": begun + told.encode(),
            "cut": begun,
            "head": json_response({}, *[line] * 90),
        }.get(str(asked.get("case")), json_response(well))
