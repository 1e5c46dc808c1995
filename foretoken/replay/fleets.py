"""The recorded fleet as simulated endpoints, and other fleets made of the same classes.

Decides which endpoints are of one class, what is assumed where a trace does not tell
(each assumption is put into words), and what "four of those instead" means. Called by
:mod:`foretoken.replay.question`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from foretoken.errors import SimulationRefused, TraceNotReplayable
from foretoken.nearest import did_you_mean
from foretoken.replay.demand import Demand
from foretoken.replay.fitting import Fit, Measured, fit_class, measured, with_values
from foretoken.replay.guess import LEAST_ROWS, alike, guess
from foretoken.replay.placement import placed
from foretoken.replay.recorded import EndpointFacts, Recorded, Traffic
from foretoken.replay.steps import PARAMETERS, REQUEST, USUAL, profile_of
from foretoken.simulation.jobs import Progress, play_each
from simulator.content import LONGEST_PROMPT_TOKENS
from simulator.fleets import EndpointSpec, FleetSpec
from simulator.profiles import Profile
from simulator.settings import EngineSettings

_USUAL_BLOCK: Final = 16
_USUAL_SEQS: Final = 256
_USUAL_KV_TOKENS: Final = 400_000
"""vLLM's defaults, and what an 8B model leaves free on 80 GB, where nothing is recorded."""

_BATCHED_TOKENS: Final = (2048, 8192)
"""vLLM's defaults of ``max_num_batched_tokens``, by GPU: both are tried where none is recorded."""

_TRIAL_ROUNDS: Final = 2
_HARDLY: Final = 0.5
"""Share of a parameter that latencies must tell."""

_SCRAPE_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointClass:
    """Hold endpoints that share step times.

    Attributes:
        name: Their hardware label, or a letter where there is none.
        specs: As fitted, by name.
        fit: What was fitted.
        assumed: What the trace did not tell, in words.
    """

    name: str
    specs: tuple[EndpointSpec, ...]
    fit: Fit
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Say how another fleet differs from the recorded one.

    Attributes:
        counts: Endpoints of a class, by its name; ``""`` for the only class there is.
        speeds: What step times of a class are divided by, likewise; ``""`` for all.
    """

    counts: Mapping[str, int]
    speeds: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.counts or self.speeds)


def recorded_fleet(classes: Sequence[EndpointClass], model: str) -> FleetSpec:
    """Put the fitted endpoints together as they were recorded."""
    return _fleet("recorded", model, [spec for each in classes for spec in each.specs])


def changed_fleet(classes: Sequence[EndpointClass], model: str, changes: Changes) -> FleetSpec:
    """Give another fleet of the same classes.

    Raises:
        SimulationRefused: A class does not exist, several do and none is named, or no
            endpoint is left.
    """
    counts = _by_class(classes, changes.counts, for_all=False)
    speeds = _by_class(classes, changes.speeds, for_all=True)
    specs: list[EndpointSpec] = []
    for each in classes:
        wanted = _resized(each, int(counts.get(each.name, len(each.specs))))
        specs += [_faster(spec, speeds.get(each.name, 1.0)) for spec in wanted]
    if not specs:
        raise SimulationRefused("--endpoints leaves no endpoint at all")
    return _fleet(f"{len(specs)} endpoints", model, specs)


def fit_classes(
    traffic: Traffic,
    demand: Demand,
    until_s: float,
    *,
    processes: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[EndpointClass]:
    """Sort endpoints into classes and fit each to what was recorded before a time.

    Raises:
        TraceNotReplayable: No endpoint answered enough requests.
    """
    rows: dict[str, list[Recorded]] = {name: [] for name in traffic.endpoints}
    for one in demand.requests:
        if one.completed and one.endpoint is not None and one.arrived_s < until_s:
            rows[one.endpoint].append(one)
    guesses = {name: guess(demand, own) for name, own in rows.items() if len(own) >= LEAST_ROWS}
    if not guesses:
        most = max(map(len, rows.values()), default=0)
        raise TraceNotReplayable(
            f"no endpoint answered {LEAST_ROWS} requests in the part that is fitted, the busiest "
            f"{most}: take a longer part, or another --model"
        )
    labels = {name: facts.hardware for name, facts in traffic.endpoints.items()}
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    jobs = []
    for names in alike(guesses, labels):
        label = labels[names[0]]
        own = sorted((one for each in names for one in rows[each]), key=lambda one: one.number)
        jobs.append(
            _Fitting(
                name=label if label is not None else f"class-{next(letters, names[0])}",
                facts=tuple(traffic.endpoints[each] for each in names),
                numbers=tuple(one.number for one in own),
                model=traffic.model,
                demand=demand,
                until_s=until_s,
            )
        )
    progress(f"fitting step times of {len(jobs)} classes")
    found: dict[int, EndpointClass] = {}
    for index, each in play_each(jobs, _fit, processes=processes):
        found[index] = each
        progress(f"fitting step times, {len(found)} of {len(jobs)} classes")
    return [found[index] for index in range(len(jobs))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitting:
    """One class to be fitted, as a process of its own can be sent it."""

    name: str
    facts: tuple[EndpointFacts, ...]
    numbers: tuple[int, ...]
    model: str
    demand: Demand
    until_s: float


def _fit(job: _Fitting, progress: Progress) -> EndpointClass:
    rows = [job.demand.requests[number] for number in job.numbers]
    start = guess(job.demand, _busiest(rows))
    told = sorted({each.max_batched_tokens for each in job.facts if each.max_batched_tokens})
    tried = told[-1:] or list(_BATCHED_TOKENS)
    best: tuple[float, list[EndpointSpec], list[Measured]] | None = None
    assumed: list[str] = []
    for budget in tried:
        specs, assumed = _specs(job, budget)
        where = placed(job.demand, specs[0].engine.block_size)
        latencies = measured(job.demand, where, specs, job.until_s)
        sigma = 0.0
        if len(tried) > 1:
            sigma = fit_class(latencies, job.demand, start, rounds=_TRIAL_ROUNDS).sigma
        if best is None or sigma < best[0]:
            best = (sigma, specs, latencies)
        progress(0.2)
    assert best is not None  # noqa: S101  # one is tried at least
    _, specs, latencies = best
    fit = fit_class(latencies, job.demand, start)
    if not told:
        budget = specs[0].profile.max_num_batched_tokens
        assumed.append(f"max_num_batched_tokens {budget}, which fits better of vLLM's defaults")
    untold = [name for name, share in zip(PARAMETERS, fit.told, strict=True) if share < _HARDLY]
    if untold:
        assumed.append(f"{', '.join(untold)} as first guessed: the latencies hardly tell")
    fitted = [with_values(spec, fit.values, fit.speeds.get(spec.name, 1.0)) for spec in specs]
    return EndpointClass(name=job.name, specs=tuple(fitted), fit=fit, assumed=tuple(assumed))


def _busiest(rows: Sequence[Recorded]) -> list[Recorded]:
    counts: dict[str | None, int] = {}
    for one in rows:
        counts[one.endpoint] = counts.get(one.endpoint, 0) + 1
    most = max(counts, key=lambda name: counts[name])
    return [one for one in rows if one.endpoint == most]


def _specs(job: _Fitting, budget: int) -> tuple[list[EndpointSpec], list[str]]:
    """Make endpoints of what is told of their sizes; say what is not."""
    facts = job.facts
    assumed = []
    block = next((each.block_size for each in facts if each.block_size), None)
    kv = [each.kv_capacity_tokens for each in facts if each.kv_capacity_tokens]
    if block is None:
        assumed.append(f"KV blocks of {_USUAL_BLOCK} tokens")
    if not kv:
        assumed.append(f"a KV cache of {_USUAL_KV_TOKENS:,} tokens")
    least = job.demand.longest_tokens + (block or _USUAL_BLOCK)
    told_seqs = [each.max_seqs for each in facts if each.max_seqs]
    full_at = [each.full_at for each in facts if each.full_at]
    seqs = told_seqs[0] if told_seqs else _USUAL_SEQS
    if not told_seqs:
        running = max(each.running for each in facts)
        seqs = max(seqs, running)
        note = f", {max(full_at)} were seen running while others waited" if full_at else ""
        assumed.append(f"max_num_seqs {seqs}{note}")
    profile = _empty_profile(job.name, job.model, budget)
    specs = []
    for each in facts:
        tokens = max(each.kv_capacity_tokens or round(median(kv or [_USUAL_KV_TOKENS])), least)
        engine = EngineSettings(
            max_num_seqs=each.max_seqs or seqs,
            kv_tokens=tokens,
            block_size=block or _USUAL_BLOCK,
            max_model_len=LONGEST_PROMPT_TOKENS,
            request_overhead_s=float(USUAL[REQUEST]),
        )
        specs.append(
            EndpointSpec(name=each.name, profile=replace(profile, kv_tokens=tokens), engine=engine)
        )
    return specs, assumed


def _empty_profile(name: str, model: str, budget: int) -> Profile:
    return profile_of(
        USUAL, name=name, model=model, kv_tokens=_USUAL_KV_TOKENS, max_batched_tokens=budget
    )


def _resized(each: EndpointClass, count: int) -> list[EndpointSpec]:
    """Take endpoints as recorded while there are any, then more of the class's usual speed."""
    usual = median(spec.engine.speed for spec in each.specs)
    more = [
        replace(
            each.specs[0],
            name=f"{each.name.replace('/', '-')}-more-{number}",
            engine=each.specs[0].engine.model_copy(update={"speed": usual}),
        )
        for number in range(count - len(each.specs))
    ]
    return [*each.specs[:count], *more]


def _faster(spec: EndpointSpec, times: float) -> EndpointSpec:
    engine = spec.engine.model_copy(update={"speed": spec.engine.speed * times})
    return replace(spec, engine=engine)


def _by_class(
    classes: Sequence[EndpointClass], asked: Mapping[str, float], *, for_all: bool
) -> dict[str, float]:
    """Find the class of each change; one that names none is for all, or for the only one."""
    names = [each.name for each in classes]
    listed = ", ".join(f"{each.name} ({len(each.specs)})" for each in classes)
    found: dict[str, float] = {}
    for name, value in asked.items():
        if not name and len(names) > 1 and not for_all:
            raise SimulationRefused(f"several classes were found, {listed}: say --endpoints NAME=N")
        if name and name not in names:
            raise SimulationRefused(
                f"no class {name!r}{did_you_mean(name, names)}; found are: {listed}"
            )
        found |= dict.fromkeys([name] if name else names, value)
    return found


def _fleet(name: str, model: str, specs: Sequence[EndpointSpec]) -> FleetSpec:
    return FleetSpec(
        name=name,
        model=model,
        description="Fitted to a recorded trace.",
        scrape_interval_s=_SCRAPE_S,
        scrape_delay_s=0.005,
        network_delay_s=0.0,  # it is part of what the fit finds a request to cost
        shared_tier=None,
        endpoints=tuple(specs),
    )
