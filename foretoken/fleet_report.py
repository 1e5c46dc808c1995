"""A running fleet as people read it: the tables of ``foretoken endpoints`` and ``status``.

Reads what the control API answered; what an older or a broken server leaves out is unknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from foretoken.amounts import count, number, ratio, seconds
from foretoken.terminal import plain

# Any: JSON of the control API.
View = Mapping[str, Any]

STALE_S: Final = 5.0
"""Age of a scrape that is called old: 25 intervals of the default."""
FAILED_RATIO: Final = 0.05
"""Share of failed requests that is called trouble: a tier that may be refused has some."""
RECENT_S: Final = 600.0
"""Age of a finished request that still says something of the present."""

_APART: Final = {
    "refused": "nobody answers at routers.url",
    "timeout": "the server at routers.url does not answer in time",
    "deaf": "the server at routers.url does not pass on what it is told",
    "login": "not let in, look at user and password",
    "error": "the server at routers.url answers with errors, see its log",
}


def state_of(endpoint: View) -> tuple[str, str]:
    """Give the word for an endpoint's state, and the colour of it.

    >>> state_of({"up": True}), state_of({"up": True, "suspicion": "silent"})
    (('up', 'green'), ('avoided: silent', 'yellow'))
    """
    if not endpoint.get("up"):
        return "down", "red"
    if endpoint.get("draining"):
        return "draining", "yellow"
    if endpoint.get("suspicion"):
        return f"avoided: {plain(str(endpoint['suspicion']))}", "yellow"
    if (number(endpoint.get("scrape_age_s")) or 0.0) > STALE_S:
        return "stale", "yellow"
    return "up", "green"


def endpoints_table(endpoints: Iterable[View], predicted: Mapping[str, View]) -> Table:
    """Give the fleet as a table.

    Args:
        endpoints: As ``GET /foretoken/endpoints`` gives them.
        predicted: The prediction for one request at each, by name, where there is one.
    """
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("endpoint", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("run", "wait", "sent", "KV", "TTFT", "TPOT", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in endpoints:
        word, colour = state_of(one)
        name, above = str(one.get("endpoint")), one.get("priority_class")
        here = predicted.get(name, {})
        table.add_row(
            Text(plain(name)),
            Text(f"{word}, class {above}" if above else word, style=colour),
            count(one.get("running_requests")),
            count(one.get("waiting_requests")),
            count(one.get("inflight_requests")),
            ratio(one.get("kv_cache_usage")),
            seconds(here.get("predicted_ttft_s", one.get("typical_ttft_s"))),
            seconds(here.get("predicted_tpot_s", one.get("typical_tpot_s"))),
            f"{ratio(one.get('ttft_error_ratio'))}/{ratio(one.get('tpot_error_ratio'))}",
        )
    return table


def troubles(
    endpoints: Sequence[View],
    fleets: Sequence[View],
    models: Sequence[View],
    decisions: Sequence[View],
    mode: str,
    *,
    routers: View | None = None,
) -> list[str]:
    """Say what is not well, the worst first; nothing where all is.

    Args:
        endpoints: As ``GET /foretoken/endpoints`` gives them.
        fleets: As ``/deciding`` does.
        models: As ``/models`` does.
        decisions: As ``/decisions`` does; those of the last minutes.
        mode: As ``/mode`` does.
        routers: As ``/routers`` does; ``None`` where the server does not tell.
    """
    found = []
    if not any(one.get("up") for one in endpoints):
        found.append("no endpoint is up" if endpoints else "there is no endpoint")
    states = ((one.get("endpoint"), state_of(one)[0]) for one in endpoints)
    found += [f"{plain(str(name))} is {word}" for name, word in states if word != "up"]
    failed = [one for one in decisions if _failed(one)]
    if len(failed) > FAILED_RATIO * len(decisions):
        found.append(
            f"{len(failed)} of the last {len(decisions)} requests failed; to see why: "
            f"foretoken explain {plain(str(failed[0].get('request_id')))}"
        )
    if mode != "predicted":
        found.append(f"predictions do not decide: the mode is {plain(mode)}")
    for one in fleets:
        if _stands_in(one) and mode == "predicted" and one.get("reason") != "cold":
            found.append(
                f"predictions do not decide for {plain(str(one.get('model')))}: "
                f"{plain(str(one.get('reason')))}"
            )
    for one in models:
        found += _model_troubles(one)
    return found + _router_troubles(routers or {})


def _failed(decision: View) -> bool:
    outcome = (decision.get("result") or {}).get("outcome")
    return outcome in {"upstream_error", "cut", "shed"}


def _model_troubles(model: View) -> list[str]:
    name, training = plain(str(model.get("model"))), model.get("training") or {}
    found = []
    if model.get("problem"):
        found.append(f"the model of {name} in use is not served: {plain(str(model['problem']))}")
    if training.get("enabled") and not training.get("alive"):
        found.append(f"the trainer of {name} is not running")
    return found


def _router_troubles(routers: View) -> list[str]:
    """Say what parts this router from others; nothing where it is to know of none.

    >>> _router_troubles({"configured": True, "connected": False, "problem": "login"})
    ['not connected with other routers: not let in, look at user and password']
    """
    if not routers.get("configured") or routers.get("connected"):
        return []
    problem = routers.get("problem")
    why = "not yet" if problem is None else _APART.get(str(problem), plain(str(problem)))
    return [f"not connected with other routers: {why}"]


def standing(routers: View | None) -> str | None:
    """Say whom a router stands with, ``None`` where it is connected with nobody.

    >>> standing({"connected": True, "name": "a", "training": True, "others": [{"name": "b"}]})
    'router a, with b; a trains'

    What does not share our models store is no trouble: each of them trains for itself.
    """
    if routers is None or not routers.get("connected"):
        return None
    own = plain(str(routers.get("name")))
    others = [(plain(str(one.get("name"))), one) for one in routers.get("others") or ()]
    told = f"router {own}, with {', '.join(name for name, _ in others) or 'no other'}"
    trainers = [own] if routers.get("training") else []
    trainers += [name for name, one in others if one.get("training")]
    if trainers:
        told += f"; {' and '.join(trainers)} train{'s' if len(trainers) == 1 else ''}"
    elsewhere = [name for name, one in others if one.get("same_store") is False]
    if elsewhere:
        told += f"; with a models store of their own: {', '.join(elsewhere)}"
    return told


def status_table(
    endpoints: Sequence[View], fleets: Sequence[View], models: Sequence[View]
) -> Table:
    """Give a line per fleet: how much of it is up, what decides, how well it predicts."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("fleet", overflow="fold")
    table.add_column("up", no_wrap=True, justify="right")
    table.add_column("decides", overflow="fold")
    table.add_column("why", overflow="fold")
    table.add_column("error\nTTFT/TPOT", no_wrap=True, justify="right")
    table.add_column("p90\ncovers", no_wrap=True, justify="right")
    predicted = {one.get("model"): one for one in models}
    for one in fleets:
        name = one.get("model")
        here = [each for each in endpoints if each.get("model") == name]
        targets = {t.get("target"): t for t in predicted.get(name, {}).get("targets", ())}
        table.add_row(
            Text(plain(str(name))),
            f"{sum(bool(each.get('up')) for each in here)}/{len(here)}",
            Text(_decides(one)),
            Text(plain(str(one.get("reason") or "no request yet"))),
            "/".join(ratio(targets.get(t, {}).get("mdape_ratio")) for t in ("ttft", "tpot")),
            "/".join(ratio(targets.get(t, {}).get("coverage_ratio")) for t in ("ttft", "tpot")),
        )
    return table


def _stands_in(fleet: View) -> bool:
    """Tell whether something simpler decides in place of the policy."""
    return fleet.get("level") in {"heuristic", "least_request"}


def _decides(fleet: View) -> str:
    """Name what decides: the policy, or what stands in for it."""
    name = plain(str(fleet.get("fallback" if _stands_in(fleet) else "policy")))
    canary = fleet.get("canary")
    share = ratio(fleet.get("canary_share_ratio"))
    return f"{name}, {plain(str(canary))} for {share}" if canary else name
