"""One finished request as people read it: the account of ``foretoken explain``.

What was asked, why it went where it went, what the other endpoints would have meant, and
what happened then. Reads ``GET /foretoken/decisions/{request_id}``; what an older server
leaves out is left out here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foretoken.amounts import UNKNOWN, count, moment, number, ratio, seconds, signed_ratio
from foretoken.terminal import plain

# Any: JSON of the control API.
View = Mapping[str, Any]

_SHOWN: Final = 10
_COMPARED: Final = 3  # what fits a line of 80 characters
_SHORT_ID: Final = 24  # a longer one, which a client chose, may take two lines
_RESTS: Final = {
    "cold": "what is assumed before any traffic",
    "prior": "the physics prior",
    "mixture": "the mixture of experts",
}
_TARGETS: Final = (("ttft", "TTFT"), ("tpot", "TPOT"))


def account(view: View, *, whole: bool) -> RenderableType:
    """Give the account of one request.

    Args:
        view: The API's answer.
        whole: Whether to give every expert's prediction and every feature as well.
    """
    parts: list[RenderableType] = [_facts(view)]
    candidates: Sequence[View] = view.get("candidates") or ()
    if candidates:
        shown = candidates if whole else candidates[:_SHOWN]
        more = len(candidates) - len(shown)
        rest = f"; {more} more with --all" if more else ""
        parts += [Text(f"\nPredicted at dispatch, the best first, * chosen{rest}", style="bold")]
        parts += [
            _predictions(shown),
            *_scores(shown if whole else shown[:_COMPARED], view.get("policy")),
        ]
    if whole:
        parts += list(_experts(candidates))
        parts += list(_features(candidates, view.get("features") or ()))
    return Group(*parts)


def decisions_table(decisions: Iterable[View]) -> Table:
    """Give finished requests, a line each."""
    decisions = list(decisions)
    names = [_text(one.get(key)) for one in decisions for key in ("request_id", "endpoint")]
    # Names are copied: where the line is too narrow, the words after them fold.
    short = max(map(len, names), default=0) <= _SHORT_ID
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("request", "endpoint"):
        table.add_column(heading, overflow="fold", no_wrap=short)
    for heading in ("why", "outcome"):
        table.add_column(heading, overflow="fold")
    for heading in ("TTFT", "off", "TPOT", "off"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in decisions:
        result = one.get("result") or {}
        table.add_row(
            Text(plain(str(one.get("request_id")))),
            Text(_text(one.get("endpoint"))),
            Text(_text(one.get("reason"))),
            Text(_text(result.get("outcome"))),
            seconds(result.get("upstream_ttft_s")),
            _error(one.get("predicted_ttft_s"), result.get("upstream_ttft_s")),
            seconds(result.get("tpot_s")),
            _error(one.get("predicted_tpot_s"), result.get("tpot_s")),
        )
    return table


def _error(predicted: object, actual: object) -> str:
    """Give the signed error of a prediction, in whole percents: the column is narrow.

    >>> _error(1.1, 1.0), _error(0.996, 1.0), _error(None, 1.0)
    ('+10%', '-0%', '-')
    """
    was, told = number(actual), number(predicted)
    return UNKNOWN if told is None or not was else f"{(told - was) / was:+.0%}"


def _facts(view: View) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, told in (
        ("request", f"{_text(view.get('request_id'))}, {moment(view.get('received_at_s'))}"),
        ("asked", _asked(view)),
        ("objective", _objective(view)),
        ("went to", _went(view)),
        ("why", _text(view.get("why") or view.get("answered"))),
        ("waited", _waited(view.get("queue") or {})),
        ("sent", _sent(view.get("dispatches") or ())),
        ("happened", _happened(view.get("result") or {})),
        *((f"{name} was", _met(view, target)) for target, name in _TARGETS),
        ("in shadow", _shadow(view)),
        ("left out", _left_out(view.get("left_out") or ())),
    ):
        if told and told != UNKNOWN:
            table.add_row(name, Text(told))
    return table


def _asked(view: View) -> str:
    request = view.get("request") or {}
    told = [_text(view.get("model"))]
    if view.get("prompt_tokens") is not None:
        told.append(f"{count(view['prompt_tokens'])} prompt tokens")
    if request.get("max_tokens") is not None:
        told.append(f"at most {count(request['max_tokens'])} output tokens")
    if request.get("streamed") is not None:
        told.append("streamed" if request["streamed"] else "not streamed")
    told += [f"{name} {_text(request[name])}" for name in ("tier", "tenant") if request.get(name)]
    if request.get("session_id"):
        told.append(f"session {_text(request['session_id'])}")
    return ", ".join(told)


def _objective(view: View) -> str:
    request = view.get("request") or {}
    told = [
        f"{name} {seconds(request[f'objective_{target}_s'])}"
        for target, name in _TARGETS
        if request.get(f"objective_{target}_s") is not None
    ]
    if not told:
        return ""
    chance = number(view.get("likely_ratio"))
    met = "" if chance is None else f"; met with probability {chance:.2f}, it was thought"
    return ", ".join(told) + met


def _went(view: View) -> str:
    if view.get("endpoint") is None:
        return "no endpoint"
    attempts = number(view.get("attempts")) or 1
    tries = "" if attempts == 1 else f", attempt {attempts:.0f}"
    layer = view.get("layer")
    rests = "nothing" if layer is None else _RESTS.get(layer, _text(layer))
    return (
        f"{_text(view['endpoint'])}{tries}: policy {_text(view.get('policy'))}, reason "
        f"{_text(view.get('reason'))}; the prediction rests on {rests}"
    )


def _waited(queue: View) -> str:
    told = (
        [] if not number(queue.get("queued_s")) else [f"{seconds(queue['queued_s'])} in the queue"]
    )
    if queue.get("waited_for"):
        told.append(f"for {_text(queue['waited_for'])}")
    if queue.get("refused"):
        told.append(f"then refused: {_text(queue['refused'])}")
    return " ".join(told)


def _sent(dispatches: Sequence[View]) -> str:
    if len(dispatches) < 2 and not any(one.get("failed") for one in dispatches):
        return ""  # told by where it went
    return "; ".join(
        f"{_text(one.get('endpoint'))} for {seconds(one.get('seconds'))}"
        + (f", {_text(one['failed'])}" if one.get("failed") else "")
        for one in dispatches
    )


def _happened(result: View) -> str:
    status = "" if result.get("status") is None else f" ({count(result['status'])})"
    told = [f"{_text(result.get('outcome'))}{status}"]
    told += [f"TTFT {seconds(result['ttft_s'])}"] if result.get("ttft_s") is not None else []
    told += [f"TPOT {seconds(result['tpot_s'])}"] if result.get("tpot_s") is not None else []
    told += [f"in all {seconds(result['e2e_s'])}"] if result.get("e2e_s") is not None else []
    if result.get("prompt_tokens") is not None:
        cached = result.get("cached_tokens")
        of = "" if cached is None else f" ({count(cached)} cached)"
        told.append(f"{count(result['prompt_tokens'])}{of} tokens in")
    if result.get("output_tokens") is not None:
        told.append(f"{count(result['output_tokens'])} out")
    return ", ".join(told)


def _met(view: View, target: str) -> str:
    """Compare what was predicted where it ran with what was measured there."""
    known = (view.get("errors") or {}).get(target)
    if not known:
        return ""
    actual, predicted = known.get("actual_s"), known.get("predicted_s")
    p90 = seconds(known.get("p90_s"))
    inside = {True: "held", False: "missed"}.get(known.get("within_p90"), "stated")
    return (
        f"{seconds(actual)} from its endpoint, {seconds(predicted)} predicted "
        f"({signed_ratio(known.get('error_ratio'))}), at most {p90} nine times in ten: {inside}"
    )


def _shadow(view: View) -> str:
    if not view.get("shadow_policy") or not view.get("shadow_endpoint"):
        return ""
    same = view["shadow_endpoint"] == view.get("endpoint")
    picked = "the same" if same else _text(view["shadow_endpoint"])
    whole = seconds(view.get("shadow_predicted_s"))
    told = "" if whole == UNKNOWN else f", {whole} in all predicted there"
    return f"{_text(view['shadow_policy'])} would have picked {picked}{'' if same else told}"


def _left_out(endpoints: Sequence[View]) -> str:
    return ", ".join(
        _text(one.get("endpoint")) + (f" ({_text(one['now'])} now)" if one.get("now") else "")
        for one in endpoints
    )


def _predictions(candidates: Sequence[View]) -> Table:
    table = _candidates_table("TTFT", "p90", "TPOT", "p90", "cached")
    for one in candidates:
        table.add_row(
            *_named(one),
            seconds(one.get("predicted_ttft_s")),
            seconds(one.get("predicted_ttft_p90_s")),
            seconds(one.get("predicted_tpot_s")),
            seconds(one.get("predicted_tpot_p90_s")),
            count(one.get("matched_tokens")),
        )
    return table


def _scores(candidates: Sequence[View], policy: object) -> Iterator[RenderableType]:
    """Give what the scores are made of, a term a line."""
    terms = list(dict.fromkeys(name for one in candidates for name in one.get("terms") or ()))
    if not terms:
        return
    unit = " in seconds" if policy == "predicted_latency" else ""
    yield Text(f"\nScore{unit}, the lowest wins", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for one in candidates:
        table.add_column(Text(_text(one.get("endpoint"))), justify="right")
    for name in terms:
        values = (_score((one.get("terms") or {}).get(name)) for one in candidates)
        table.add_row(Text(plain(name)), *values)
    table.add_section()
    table.add_row(Text("score", style="bold"), *(_score(one.get("cost")) for one in candidates))
    yield table


def _score(value: object) -> str:
    """Give a number of no particular unit.

    >>> _score(451234.0), _score(0.037661)
    ('451,234', '0.03766')
    """
    amount = number(value)
    if amount is None:
        return UNKNOWN
    return f"{amount:,.0f}" if abs(amount) >= 1000 else f"{amount:.4g}"


def _experts(candidates: Sequence[View]) -> Iterator[RenderableType]:
    """Give, for the endpoint that was chosen, what each expert said."""
    chosen = next((one for one in candidates if one.get("chosen")), None)
    prediction = (chosen or {}).get("prediction") or {}
    said: dict[str, dict[str, View]] = {}
    for target, _ in _TARGETS:
        for expert in (prediction.get(target) or {}).get("experts") or ():
            said.setdefault(_text(expert.get("expert")), {})[target] = expert
    if not said:
        return
    yield Text("\nExperts, at the endpoint chosen; weights as of now", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("expert")
    for heading in ("TTFT", "weight", "TPOT", "weight"):
        table.add_column(heading, justify="right")
    for expert, values in said.items():
        cells = [
            cell
            for target, _ in _TARGETS
            for cell in (
                seconds(values.get(target, {}).get("seconds")),
                ratio(values.get(target, {}).get("weight_ratio")),
            )
        ]
        table.add_row(Text(expert), *cells)
    yield table


def _features(candidates: Sequence[View], known: Sequence[View]) -> Iterator[RenderableType]:
    """Give what was seen of every candidate, a feature a line."""
    seen = [(one, one["features"]) for one in candidates[:_COMPARED] if one.get("features")]
    if not seen:
        return
    yield Text("\nFeatures, as seen at dispatch", style="bold")
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("feature", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for one, _ in seen:
        table.add_column(Text(_text(one.get("endpoint"))), justify="right", overflow="fold")
    units = {one.get("name"): one.get("unit") for one in known}
    for name in seen[0][1]:
        values = (_score(features.get(name)) for _, features in seen)
        table.add_row(Text(_text(name)), Text(_text(units.get(name))), *values)
    yield table


def _candidates_table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("endpoint", overflow="fold")
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    return table


def _named(candidate: View) -> tuple[str, Text]:
    return "*" if candidate.get("chosen") else "", Text(_text(candidate.get("endpoint")))


def _text(value: object) -> str:
    return UNKNOWN if value is None else plain(str(value))
