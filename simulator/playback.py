"""Virtual time for one engine alone: requests at given times in, completions out.

The twin of :mod:`simulator.driver`, which does the same by a real clock. Decides nothing;
a fleet with a router in front needs the driver behind ``foretoken simulate``. Called by
benchmarks and tests.
"""

from collections.abc import Iterable

from simulator.engine import Engine
from simulator.types import Completion, SimRequest, Token


def play(engine: Engine, arrivals: Iterable[tuple[float, SimRequest]]) -> dict[str, Completion]:
    """Submit requests at their times and run the engine until all have ended.

    Args:
        engine: Idle, and driven by nobody else.
        arrivals: ``(seconds, request)`` in order of time.

    Returns:
        Completions by request id, in the order they ended.

    Raises:
        RequestTooLong: A request could never run on this engine.

    >>> from random import Random
    >>> from simulator.profiles import profile
    >>> from simulator.settings import EngineSettings
    >>> engine = Engine(profile("h100_sxm/llama-3.1-8b"), EngineSettings(), Random(0))
    >>> one = SimRequest(request_id="one", prompt_tokens=1000, output_tokens=100)
    >>> done = play(engine, [(5.0, one)])["one"]
    >>> done.output_tokens, round(done.ttft_s, 3)
    (100, 0.028)
    """
    done: dict[str, Completion] = {}
    for at_s, request in arrivals:
        _run(engine, at_s, done)
        engine.submit(request, at_s)
        if engine.ends_s is None:
            engine.begin_stretch(at_s)
    _run(engine, None, done)
    return done


def play_one(
    engine: Engine, arrivals: Iterable[tuple[float, SimRequest]], request_id: str
) -> Completion | None:
    """Go on with an engine, which may be busy, until one request has ended.

    Args:
        engine: Driven by nobody else.
        arrivals: ``(seconds, request)`` in order of time, none before the engine's present.
        request_id: Of a request that is there or arrives.

    Returns:
        Its completion, ``None`` if it is neither there nor arrives.

    Raises:
        RequestTooLong: A request could never run on this engine.
    """
    done: dict[str, Completion] = {}
    for at_s, request in arrivals:
        _run(engine, at_s, done, last=request_id)
        if request_id in done:
            return done[request_id]
        engine.submit(request, at_s)
        if engine.ends_s is None:
            engine.begin_stretch(at_s)
    _run(engine, None, done, last=request_id)
    return done.get(request_id)


def _run(
    engine: Engine, until_s: float | None, done: dict[str, Completion], last: str | None = None
) -> None:
    """Run up to and including what ends at ``until_s``, or the end of the ``last`` request."""
    while last is None or last not in done:
        ends_s = engine.ends_s
        due_s = engine.wake_s() if ends_s is None else ends_s
        if due_s is None or (until_s is not None and due_s > until_s):
            return
        if ends_s is not None:
            _note(engine.end_stretch(due_s), done)
        engine.begin_stretch(due_s)


def _note(tokens: Iterable[Token], done: dict[str, Completion]) -> None:
    for token in tokens:
        if token.completion is not None:
            done[token.request_id] = token.completion
