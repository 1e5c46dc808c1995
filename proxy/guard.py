"""The gate of a configured router: keys, limits, context, and the response cache.

In this order: whoever has no key is refused before its body is read; a request counts
against its key's limits; a bound on output that does not fit is clamped or refused; what
an equal request got is given, or shared while it is on its way; the rest goes to the
scheduler. With nothing configured a request costs two look-ups here. Asked by the relay;
also a sink of finished records, which put token counts right.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from predictor.types import EndpointState, Measurement, RequestFeatures, RequestRecord
from predictor.values import Value, replace
from proxy.access import Access, Caller
from proxy.cache_rules import cache_key, serving, wants_cache
from proxy.clamp import Room, fitting, with_bound
from proxy.errors import ErrorResponse, ProxyError, to_response
from proxy.gate import ADMITTED, Admission, Passed, Serving
from proxy.http_request import RequestHead
from proxy.incoming import IncomingRequest
from proxy.rate_limits import RateLimits
from proxy.reply import Reply, ReplyHead
from proxy.response_cache import ResponseCache
from proxy.settings import ProxySettings
from proxy.sharing import MISS_LINES, Following, Host, Leading, answered_record, replay
from proxy.sinks import Sink, tell
from scheduler import Scheduler

CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
"""Headers that hold a client's key: ours to check, and never an endpoint's to see."""

_ANONYMOUS: Final = Admission(dropped=CREDENTIALS)
_BYTES_PER_TOKEN: Final = 4  # of a prompt for a fleet that nobody has heard of


class Guard:
    """Decide about requests before the scheduler does.

    Args:
        settings: The data path's.
        access: Knows the keys; may be given others at any time.
        scheduler: Knows endpoints and fleets.
        clock: The data path's.
        sinks: Called with the record of every request that is answered here.
        host: Gives the data path, once it is there.

    Attributes:
        cache: Answers kept.
        hide_credentials: Whether clients' keys stay here although none is asked for:
            endpoints have keys of their own.
    """

    def __init__(
        self,
        settings: ProxySettings,
        *,
        access: Access,
        scheduler: Scheduler,
        clock: Callable[[], float],
        sinks: Sequence[Sink] = (),
        host: Callable[[], Host],
    ) -> None:
        self._settings = settings
        self._access = access
        self._scheduler = scheduler
        self._clock = clock
        self._sinks = tuple(sinks)
        self._host = host
        self.hide_credentials = False
        self._last: tuple[RequestHead | None, Caller | None] = (None, None)
        self._limits = RateLimits(settings.access, clock)
        self._taps: dict[str, GuardTap] = {}
        self._rooms: tuple[object, dict[str, Room | None]] = (None, {})
        self.cache = ResponseCache(settings.response_cache)

    def admit(self, head: RequestHead) -> Admission | ErrorResponse:
        """Let a request in by its key."""
        access = self._access
        if access.open:
            return _ANONYMOUS if self.hide_credentials else ADMITTED
        try:
            caller = access.caller_of(head.named)
        except ProxyError as error:
            return to_response(error)
        self._last = head, caller
        return Admission(tenant=None if caller is None else caller.name, dropped=CREDENTIALS)

    def consider(
        self, head: RequestHead, request: IncomingRequest, reply: Reply
    ) -> Passed | ErrorResponse | Serving:
        """Let a request pass, answer it from the cache, or refuse it.

        Raises:
            ProxyError: It is refused.
        """
        if self._settings.context.excess != "pass":
            request = self._fitted(request)
        outgoing, features = request.outgoing, request.features
        cached = features.allowed_endpoints is None and wants_cache(
            self._settings.response_cache,
            head.method,
            head.path,
            outgoing.body or b"",
            head.named,
        )
        # Last of what may refuse: whoever is refused has used nothing.
        charge = None if self._access.open else self._charge(head, features)
        if not cached:
            return Passed(request=request, tap=self._tapped(features, charge, None))
        return self._answered(head, request, reply, charge)

    def observe(self, record: RequestRecord) -> None:
        """Take in the story of a request before its tap hears of the end; a sink."""
        tap = self._taps.get(record.request.request_id)
        if tap is not None:
            tap.record = record

    def forget_tap(self, request_id: str) -> None:
        """Drop the tap of a request that has ended."""
        self._taps.pop(request_id, None)

    # How

    def _charge(self, head: RequestHead, features: RequestFeatures) -> "_Charge | None":
        """Count a request against its key's limits."""
        last, caller = self._last
        if last is not head:  # another request came while this one's body did
            caller = self._access.caller_of(head.named)
        if caller is None or not self._limits.bound(caller):
            return None
        counted = self._limits.admit(caller, self._prompt_tokens(features))
        return _Charge(caller, counted, self._limits) if counted else None

    def _prompt_tokens(self, features: RequestFeatures) -> int:
        fleet = self._scheduler.fleets.get(features.model)
        if fleet is not None:
            return fleet.prompt_tokens(features)
        return features.prompt_tokens or features.prompt_bytes // _BYTES_PER_TOKEN

    def _fitted(self, request: IncomingRequest) -> IncomingRequest:
        """Ask for no more output than the context has room for."""
        features, outgoing = request.features, request.outgoing
        asked, room = features.max_tokens, self._room(features.model)
        if asked is None or room is None or outgoing.body is None:
            return request
        tokens = fitting(
            asked=asked,
            prompt_tokens=self._prompt_tokens(features),
            exact=features.prompt_tokens is not None,
            room=room,
            settings=self._settings.context,
        )
        body = None if tokens is None else with_bound(outgoing.body, tokens)
        if body is None:
            return request
        outgoing = replace(outgoing, body=body)
        return replace(request, outgoing=outgoing)

    def _room(self, model: str) -> Room | None:
        """Give the context of a model, ``None`` where no endpoint has told."""
        states = self._scheduler.states
        if self._rooms[0] is not states:
            self._rooms = (states, {})
        rooms = self._rooms[1]
        if model not in rooms:
            rooms[model] = room_of(model, states.values())
        return rooms[model]

    def _answered(
        self,
        head: RequestHead,
        request: IncomingRequest,
        reply: Reply,
        charge: "_Charge | None",
    ) -> Passed | Serving:
        """Answer from the cache, follow an answer on its way, or lead one."""
        features, now = request.features, self._clock()
        kinds = serving(features.model, self._scheduler.states.values())
        fleet = next((model for model, *_ in kinds if model is not None), None)
        key = cache_key(
            target=head.target,
            payload=request.outgoing.body or b"",
            shown=not request.hide_usage,
            request=features,
            serving=kinds,
        )
        stored = self.cache.find(key, now)
        if stored is not None:
            replay(stored, features, reply, now)
            self._tell(
                answered_record(features, fleet, "cache_hit", "completed", first_s=now, now=now)
            )
            return _Answered()
        flight = self.cache.flight(key)
        if flight is not None:
            alone = Passed(request=request, tap=self._tapped(features, charge, None))
            following = self._following(alone, reply, head, fleet)
            if following.start(flight):
                self.cache.joined()
                return following
        led = self.cache.lead(key)
        led.on_deserted = lambda: self._host().deserted(features.request_id)
        leading = Leading(led, self.cache, self._clock)
        return Passed(request=request, tap=self._tapped(features, charge, leading))

    def _following(
        self, alone: Passed, reply: Reply, head: RequestHead, fleet: str | None
    ) -> Following:
        def ended(record: RequestRecord) -> None:
            self.forget_tap(record.request.request_id)
            self._tell(record)

        return Following(
            alone,
            reply,
            head.named,
            host=self._host(),
            clock=self._clock,
            on_record=ended,
            fleet=fleet,
            keepalive_s=self._settings.sse_keepalive_s,
        )

    def _tapped(
        self, features: RequestFeatures, charge: "_Charge | None", leading: Leading | None
    ) -> "GuardTap | None":
        if charge is None and leading is None:
            return None
        tap = GuardTap(self, features.request_id, charge, leading)
        self._taps[features.request_id] = tap
        return tap

    def _tell(self, record: RequestRecord) -> None:
        tell(self._sinks, record)


class _Charge(Value, kw_only=False):
    """Hold the tokens counted for a request until it tells how many it took."""

    caller: Caller
    counted: int
    limits: RateLimits


class _Answered:
    """Stand for a request that is answered already: nothing more happens to it."""

    def client_gone(self) -> None:
        """Do nothing."""

    def hold_back(self) -> None:
        """Do nothing: its client has all of it to read."""

    def go_on(self) -> None:
        """Do nothing."""

    def tick(self, now: float) -> None:
        """Do nothing."""

    def shut_down(self) -> None:
        """Do nothing."""


class GuardTap:
    """See a response for the cache and for the limits of a key.

    Attributes:
        record: The request's story, told by the guard before the end.
        lines: Header lines that the client's response gets besides.
    """

    __slots__ = ("_charge", "_guard", "_leading", "_request_id", "lines", "record")

    def __init__(
        self, guard: Guard, request_id: str, charge: _Charge | None, leading: Leading | None
    ) -> None:
        self.record: RequestRecord | None = None
        self.lines = b"" if leading is None else MISS_LINES
        self._guard = guard
        self._request_id = request_id
        self._charge = charge
        self._leading = leading

    @property
    def wanted(self) -> bool:
        """Tell whether somebody else waits for the response."""
        return self._leading is not None and self._leading.wanted

    def started(self, head: ReplyHead) -> None:
        """Pass it on."""
        if self._leading is not None:
            self._leading.started(head)

    def passed(self, data: bytes) -> None:
        """Pass it on."""
        if self._leading is not None:
            self._leading.passed(data)

    def ended(self, *, whole: bool) -> None:
        """Pass it on, and put the count of tokens right."""
        self._guard.forget_tap(self._request_id)
        measured = None if self.record is None else self.record.measurement
        if self._leading is not None:
            completed = measured is not None and measured.outcome == "completed"
            self._leading.ended(whole=whole, completed=completed)
        if self._charge is not None:
            charge = self._charge
            charge.limits.settle(charge.caller, charge.counted, _used_tokens(measured))


def _used_tokens(measured: Measurement | None) -> int | None:
    """Give the tokens a request took, 0 where nothing was served, ``None``: not told.

    >>> _used_tokens(Measurement(outcome="shed")), _used_tokens(Measurement(outcome="client_gone"))
    (0, None)
    """
    if measured is None:
        return 0
    counts = measured.prompt_tokens, measured.output_tokens
    if any(counts):
        return sum(filter(None, counts))
    began = measured.status is not None or measured.outcome in {"client_gone", "shutdown"}
    return None if began else 0


def room_of(model: str, states: Iterable[EndpointState]) -> Room | None:
    """Give the context of a model's endpoints that are up, ``None`` where none has told."""
    known = [
        state.max_model_len
        for state in states
        if state.up
        and state.max_model_len is not None
        and model in {state.model, *state.adapters, ""}
    ]
    return Room(least_tokens=min(known), most_tokens=max(known)) if known else None
