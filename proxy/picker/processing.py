"""One HTTP request as Envoy tells of it: what it asks, and what the picker answers.

Pure: messages and the scheduler's actions in, encoded answers out; it reads the clock of
its desk and nothing else. Invariants: a request is placed at most once; the scheduler
hears of its end exactly once, whatever happens and however it is told; in the modes where
Envoy waits for an answer, every message gets one; a client's own destination header never
passes. Made by :mod:`proxy.picker.picker`, one per ext_proc stream.
"""

from collections.abc import Callable
from typing import Final, Literal, Protocol

from predictor.types import Decision, Outcome, RequestRecord
from proxy.errors import ProxyError, shed_response, to_response
from proxy.headers import RawHeaders, predicted_ms
from proxy.incoming import IncomingRequest
from proxy.picker import answers
from proxy.picker.download import Download
from proxy.picker.questions import BodyMode, Question, header_pairs, served_by
from proxy.picker.upload import Answers, Upload
from proxy.trace_context import traceparent
from scheduler import Action, Scheduler, SchedulerError, Shed, ShedReason, Wait

Phase = Literal["reading", "tokenizing", "waiting", "placed", "passed", "held", "refused", "over"]
"""How far a request is: ``tokenizing`` and ``waiting`` are for others to end, ``passed``
is let through without being placed, ``held`` runs on where Envoy does not tell of it, and
to one that is ``refused`` nothing more is to be said."""

_GRACE_S: Final = 1.0  # asked of Envoy beyond the time a request may wait in the queue


class Desk(Protocol):
    """Do for a request what concerns all of them.

    Attributes:
        scheduler: Places requests.
        clock: What it calls ``now``.
        max_body_bytes: Most bytes of a request's body.
        fallbacks: Endpoints named beside the chosen one.
        wants_tokens: Whether prompts are to be tokenized before they are placed.
    """

    scheduler: Scheduler
    clock: Callable[[], float]
    max_body_bytes: int
    fallbacks: int

    @property
    def wants_tokens(self) -> bool: ...  # noqa: D102  # as above

    def read(
        self,
        headers: RawHeaders,
        body: bytes,
        *,
        arrived_s: float,
        changeable: bool,
        tokens: bytes | None,
    ) -> IncomingRequest:
        """Read the request; ``changeable``: so is its body."""
        ...

    def place(self, incoming: IncomingRequest) -> Action:
        """Have the scheduler place it."""
        ...

    def preview(self, incoming: IncomingRequest) -> Decision | None:
        """Have the scheduler say where it would go, and book nothing."""
        ...

    def is_placed(self, path: bytes) -> bool:
        """Tell whether requests for a path are placed; others are of no account."""
        ...

    def rejected(self, code: str) -> None:
        """Take in that a request was refused before it was placed."""
        ...

    def hold(self, processing: "Processing", until_s: float) -> None:
        """Let go of a request at a time: Envoy will not tell when it is over."""
        ...

    def ended(self, record: RequestRecord, refused: ShedReason | None) -> None:
        """Take in the story of a request that is over."""
        ...


class Processing:
    """Process one HTTP request.

    Args:
        desk: Does what concerns all requests.

    Attributes:
        phase: How far it is.
        request_id: Its id, empty until it is placed.
        upload: Its request.
    """

    __slots__ = (
        "_arrived_s",
        "_decision",
        "_desk",
        "_download",
        "_incoming",
        "_progress_due_s",
        "_seen_first_token",
        "phase",
        "request_id",
        "upload",
    )

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._arrived_s = desk.clock()
        self.phase: Phase = "reading"
        self.request_id = ""
        self.upload = Upload()
        self._download = Download(BodyMode.NONE)
        self._incoming: IncomingRequest | None = None
        self._decision: Decision | None = None
        self._seen_first_token = False
        self._progress_due_s: float | None = None

    # What happens

    def receive(self, question: Question) -> Answers:
        """Take in what Envoy tells; give what it is to be answered."""
        match question.WhichOneof("request"):
            case "request_headers":
                found = self._request_headers(question)
            case "request_body":
                found = self._request_body(question.request_body)
            case "response_headers":
                found = self._response_headers(question)
            case "response_body":
                found = self._response_body(question.response_body)
            case "request_trailers":
                found = self._request_trailers()
            case "response_trailers":
                found = self._response_trailers()
            case _:
                found = []  # a kind that is not known yet
        return self._said(found)

    def tokenized(self, tokens: bytes | None) -> Answers:
        """Place the request, its prompt's tokens being known, ``None`` where they are not."""
        if self.phase != "tokenizing":  # it went while its tokens were being found out
            return []
        return self._place(tokens)

    def _place(self, tokens: bytes | None) -> Answers:
        try:
            self._incoming = incoming = self._read(tokens)
            self.request_id = incoming.features.request_id
            action = self._desk.place(incoming)
        except (ProxyError, SchedulerError) as error:
            return self._said(self._refuse(error))
        return self.deliver(action)

    def deliver(self, action: Action) -> Answers:
        """Carry out what the scheduler decided, at once or after a while."""
        if isinstance(action, Shed):
            self.phase = "refused"
            self._desk.ended(action.record, action.reason)
            found = [answers.refusal(shed_response(action), self.request_id)]
        elif isinstance(action, Wait):
            self.phase = "waiting"
            if self.upload.observing:  # it is under way already: nothing to wait for
                self._finish("client_gone")
            found = self._ask_for_time(action)
        else:
            self.phase = "placed"
            self._decision = action.decision
            found = self._dispatch(action.decision)
        return self._said(found)

    def ended(self) -> None:
        """Take in that Envoy tells nothing more, whyever; after the first time, of no effect."""
        if self.phase == "waiting":
            self._finish("client_gone")
        elif self.phase == "placed":
            self._end_unseen()
        elif self.phase != "held":
            self.phase = "over"

    def let_go(self) -> None:
        """End a request that was held: by now it should be over."""
        if self.phase == "held":
            self._finish(self._download.outcome)

    # How: the request

    def _request_headers(self, question: Question) -> Answers:
        complete = self.upload.take_headers(question)
        return self._complete() if complete else self.upload.acknowledge_headers()

    def _request_body(self, body: Question) -> Answers:
        if self.phase != "reading":
            return [answers.GO_ON["request_body"]]
        try:
            complete = self.upload.take_body(body, self._desk.max_body_bytes)
        except ProxyError as error:
            return self._refuse(error)
        return self._complete() if complete else []

    def _request_trailers(self) -> Answers:
        if self.phase != "reading":
            return [answers.REQUEST_TRAILERS_GO_ON]
        self.upload.take_trailers()
        return self._complete()

    def _complete(self) -> Answers:
        self.upload.complete()
        if not self._desk.is_placed(self.upload.path):
            return self._pass()
        if self._desk.wants_tokens and self.upload.body:
            self.phase = "tokenizing"
            return []
        return self._place(None)

    def _read(self, tokens: bytes | None) -> IncomingRequest:
        upload = self.upload
        return self._desk.read(
            upload.headers,
            upload.body,
            arrived_s=self._arrived_s,
            changeable=upload.is_changeable,
            tokens=tokens,
        )

    def _pass(self) -> Answers:
        """Let a request through that is of no account; any endpoint will do, booked nowhere."""
        self.phase = "passed"
        try:
            decision = self._desk.preview(self._read(None))
        except (ProxyError, SchedulerError):
            decision = None  # it is for nobody we know: where it goes is Envoy's to say
        if decision is None:  # but not the client's
            return self.upload.forward(answers.remove_header(answers.DESTINATION), b"", None)
        return self.upload.forward(*answers.destination(self._destination(decision)), None)

    def _dispatch(self, decision: Decision) -> Answers:
        incoming, upload = self._incoming, self.upload
        if incoming is None or upload.observing:
            return []
        headers, metadata = answers.destination(self._destination(decision))
        headers += answers.set_header(b"x-request-id", self.request_id.encode("latin-1"))
        trace = incoming.features.trace
        if trace is not None:  # the endpoint's spans belong below ours
            headers += answers.set_header(b"traceparent", traceparent(trace, 1))
        payload = incoming.outgoing.body if incoming.hide_usage else None
        if payload is not None:
            headers += answers.set_header(b"content-length", b"%d" % len(payload))
        return upload.forward(headers, metadata, payload)

    def _destination(self, decision: Decision) -> bytes:
        """Name the chosen endpoint, and those to fall back to after it."""
        names = [decision.endpoint]
        if self._desk.fallbacks:
            others = (decision.endpoints[index] for index in decision.order)
            names += [name for name in others if name != names[0]][: self._desk.fallbacks]
        return ",".join(names).encode("latin-1")

    def _ask_for_time(self, wait: Wait) -> Answers:
        if not self.upload.is_timed:
            return []
        return [answers.more_time(max(0.0, wait.deadline_s - self._desk.clock()) + _GRACE_S)]

    def _refuse(self, error: Exception) -> Answers:
        self.phase = "refused"
        answer = to_response(error)
        self._desk.rejected(answer.code or "bad_request")
        sent = next((value for name, value in self.upload.headers if name == b"x-request-id"), b"")
        return [answers.refusal(answer, self.request_id or sent.decode("latin-1"))]

    # How: the response

    def _response_headers(self, question: Question) -> Answers:
        self._download = download = Download(self.upload.response_mode)
        decision, incoming = self._decision, self._incoming
        if self.phase != "placed" or decision is None or incoming is None:
            return [answers.GO_ON["response_headers"]]
        headers = header_pairs(question.response_headers)
        download.take_headers(headers, incoming)
        decision = self._attribute(decision, served_by(question, headers))
        told = decision_headers(decision, self.request_id, arrived_s=self._arrived_s)
        if question.response_headers.end_of_stream:
            self._finish(download.outcome)
        return [answers.go_on("response_headers", headers=download.mutation(headers, told))]

    def _attribute(self, decision: Decision, served: str | None) -> Decision:
        """Count the request where it is, should that not be where it was sent."""
        observing = self.upload.observing
        if served == decision.endpoint or (served is None and not observing):
            return decision  # nobody says: Envoy's own answer, or it is not configured to
        now = self._desk.clock()
        scheduler = self._desk.scheduler
        # Envoy goes elsewhere only where an endpoint failed; another name may be the same one.
        failed = not observing and served in scheduler.states
        moved = scheduler.moved(self.request_id, served, now, failed=failed)
        self._decision = moved or decision
        return self._decision

    def _response_body(self, body: Question) -> Answers:
        if self.phase != "placed":
            return self._download.pass_on(body.body, body.body, last=body.end_of_stream)
        found = self._download.take_body(body)
        if body.body:
            self._tell_tokens()
        if self._download.is_last(body):
            self._finish(self._download.outcome)
        return found

    def _response_trailers(self) -> Answers:
        found = self._download.take_trailers()
        if self.phase == "placed":
            self._finish(self._download.outcome)
        return found

    def _tell_tokens(self) -> None:
        """Tell the scheduler of the first token, and how the stream goes on when it is due."""
        observer, scheduler = self._download.observer, self._desk.scheduler
        if self._progress_due_s is not None:
            now = self._desk.clock()
            due = now >= self._progress_due_s
            if due and scheduler.progress(self.request_id, observer.token_events, now):
                self._progress_due_s = None
        elif observer.first_token and not self._seen_first_token:
            self._seen_first_token = True
            now = self._desk.clock()
            after_s = scheduler.first_token(self.request_id, now)
            self._progress_due_s = None if after_s is None else now + after_s

    # How: the end

    def _end_unseen(self) -> None:
        """End a request whose response Envoy did not tell to its end."""
        download, decision = self._download, self._decision
        if download.status is None:
            self._finish("client_gone")
        elif download.is_done:
            self._finish(download.outcome)
        elif download.mode != BodyMode.NONE or self.upload.observing:
            self._finish("client_gone")
        elif download.streamed and decision is not None and decision.predicted_s is not None:
            self.phase = "held"
            self._desk.hold(self, decision.decided_s + decision.predicted_s)
        else:
            self._finish(download.outcome)

    def _finish(self, outcome: Outcome) -> None:
        self.phase = "over"
        now = self._desk.clock()
        measured = self._download.measured(outcome)
        self._desk.ended(self._desk.scheduler.finished(self.request_id, measured, now), None)

    def _said(self, found: Answers) -> Answers:
        return [] if self.upload.observing else found


def decision_headers(decision: Decision, request_id: str, *, arrived_s: float) -> RawHeaders:
    """Give the headers that tell a client what was decided and predicted."""
    told = [
        (b"x-request-id", request_id.encode("latin-1")),
        (b"x-foretoken-endpoint", decision.endpoint.encode()),
        (b"x-foretoken-reason", decision.reason.encode()),
    ]
    predicted = predicted_ms(decision, arrived_s)
    if predicted is not None:
        ttft_ms, tpot_ms = predicted
        told.append((b"x-foretoken-predicted-ttft-ms", ttft_ms.encode()))
        told.append((b"x-foretoken-predicted-tpot-ms", tpot_ms.encode()))
    return told
