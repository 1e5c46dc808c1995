"""The gRPC service that KEDA asks, and the loop that keeps what it answers fresh.

The metric is the number of endpoints a fleet needs, with a target of 1: the autoscaler then
makes as many. What nobody can tell is an error, never 0: KEDA leaves a fleet as it is, or
takes the fallback its ScaledObject names. Needs the extra ``autoscaling``.
"""

import asyncio
import logging
import math
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc
import httpx

from foretoken.scaler.messages import SERVICE, Message, message_classes
from foretoken.scaler.routers import Routers, Whole

log = logging.getLogger(__name__)

METRIC: Final = "foretoken-desired-endpoints"
MODEL_KEY: Final = "modelName"
"""Of a trigger's metadata: the fleet, where routers serve several."""

GRACE_S: Final = 5.0
_ASK_S: Final = 5.0
_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = b"\x08\x01"  # a HealthCheckResponse whose status is 1

# Any: gRPC ships no types.
Context = Any


class ExternalScaler:
    """Answer what KEDA asks.

    Args:
        routers: Know what fleets need.
        watch_s: Between two looks for those who are told of changes.
    """

    def __init__(self, routers: Routers, *, watch_s: float) -> None:
        self._routers = routers
        self._watch_s = watch_s
        self._messages = message_classes()

    def handlers(self) -> list[Any]:
        """Give the services, to be added to a server."""
        of = self._messages
        ref = of["ScaledObjectRef"].FromString
        calls = {
            "IsActive": _unary(self.is_active, ref),
            "GetMetricSpec": _unary(self.metric_spec, ref),
            "GetMetrics": _unary(self.metrics, of["GetMetricsRequest"].FromString),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                self.stream_is_active,
                request_deserializer=ref,
                response_serializer=_bytes,
            ),
        }
        health = grpc.unary_unary_rpc_method_handler(_healthy)
        return [
            grpc.method_handlers_generic_handler(SERVICE, calls),
            grpc.method_handlers_generic_handler(_HEALTH, {"Check": health}),
        ]

    async def is_active(self, ref: Message, context: Context) -> Message:
        """Say whether there is to be any endpoint at all."""
        whole = self._routers.of(await self._model(ref, context))
        return self._messages["IsActiveResponse"](result=whole.is_active)

    async def stream_is_active(self, ref: Message, context: Context) -> AsyncIterator[Message]:
        """Say so now, and again whenever it changes."""
        model, told = await self._model(ref, context), None
        while True:
            is_active = self._routers.of(model).is_active
            if is_active is not told:
                yield self._messages["IsActiveResponse"](result=is_active)
                told = is_active
            await asyncio.sleep(self._watch_s)

    async def metric_spec(self, ref: Message, context: Context) -> Message:
        """Name the metric, and its target for each endpoint."""
        await self._model(ref, context)
        spec = self._messages["MetricSpec"](metricName=METRIC, targetSize=1, targetSizeFloat=1.0)
        return self._messages["GetMetricSpecResponse"](metricSpecs=[spec])

    async def metrics(self, asked: Message, context: Context) -> Message:
        """Give the endpoints that a fleet needs."""
        model = await self._model(asked.scaledObjectRef, context)
        desired = desired_of(self._routers.of(model))
        if desired is None:
            code = grpc.StatusCode.UNAVAILABLE
            await context.abort(code, f"how many endpoints {model} needs is not known yet")
        value = self._messages["MetricValue"](
            metricName=METRIC, metricValue=desired, metricValueFloat=float(desired or 0)
        )
        return self._messages["GetMetricsResponse"](metricValues=[value])

    async def _model(self, ref: Message, context: Context) -> str:
        """Find the fleet that is asked about."""
        asked, known = ref.scalerMetadata.get(MODEL_KEY, ""), self._routers.models()
        if asked:
            if asked in known:
                return str(asked)
            problem = f"no router tells of the model {asked!r}; they tell of: {', '.join(known)}"
            await context.abort(grpc.StatusCode.UNAVAILABLE, problem)
        if not known:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no router has told anything yet")
        if len(known) > 1:
            problem = f"name one of {', '.join(known)} as {MODEL_KEY} in the trigger's metadata"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        return known[0]


def desired_of(whole: Whole) -> int | None:
    """Give whole endpoints, at least one while there is any use for it; ``None`` for unknown.

    >>> desired_of(Whole(endpoints=2.1, is_active=True))
    3
    >>> desired_of(Whole(endpoints=0.0, is_active=False))
    0
    """
    if not whole.is_active:
        return 0
    return None if whole.endpoints is None else max(math.ceil(whole.endpoints - 1e-9), 1)


def run_scaler(urls: Sequence[str], *, host: str, port: int, poll_s: float) -> int:
    """Serve until SIGTERM; give the exit status."""
    return asyncio.run(_serve(urls, host=host, port=port, poll_s=poll_s))


async def _serve(urls: Sequence[str], *, host: str, port: int, poll_s: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # Not through a proxy of the environment: it would answer for the machine it is on.
    async with httpx.AsyncClient(timeout=_ASK_S, trust_env=False) as client:
        routers = Routers(urls, client, time.monotonic)
        await routers.look()
        server, bound = await start(routers, host=host, port=port, watch_s=poll_s)
        log.info("scaler_listening", extra={"host": host, "port": bound})
        asking = asyncio.create_task(_ask_again(routers, poll_s))
        try:
            await stop.wait()
        finally:
            asking.cancel()
            await server.stop(GRACE_S)
    return 0


async def start(
    routers: Routers, *, host: str, port: int, watch_s: float
) -> tuple["grpc.aio.Server", int]:
    """Start a server; give it and the port it listens on.

    Raises:
        OSError: The address cannot be had.
    """
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(ExternalScaler(routers, watch_s=watch_s).handlers())
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error}") from error
    await server.start()
    return server, bound


async def _ask_again(routers: Routers, poll_s: float) -> None:
    while True:
        await asyncio.sleep(poll_s)
        try:
            await routers.look()
        except Exception:  # supervised: asked again
            log.exception("scaler_look_failed")


def _unary(call: Callable[..., Any], read: Callable[[bytes], Message]) -> Any:  # noqa: ANN401  # of gRPC
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=read, response_serializer=_bytes
    )


def _bytes(message: Message) -> bytes:
    data: bytes = message.SerializeToString()
    return data


async def _healthy(_request: bytes, _context: Context) -> bytes:
    return _SERVING
