"""What a storm shows: figures, verdicts, a table, JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.data_path.judge import Verdict, verdict_table
from benchmarks.storm.accounts import Account
from benchmarks.storm.ledger import read_ledger
from benchmarks.storm.place import Place
from benchmarks.storm.seen import MEETING, Held
from benchmarks.storm.storm import STORM, Story

MUST_GROWTH: Final = 1.05
MUST_ERROR: Final = 1.2
GOAL_REFUSED: Final = 0.01
MOST_MEETING: Final = 5
"""Connections to Redis that a worker's pool may keep."""
TRAINER_PIPES: Final = 2
"""Of the one router that trains, where routers meet: it may be another one at the end."""
_SHOWN: Final = 10


def load_held(place: Place, story: Story) -> float:
    """Give the requests a second that were sent while there were faults."""
    from_s, to_s = story.storm
    sent = sum(
        from_s <= entry.attempts[0].at_s < to_s
        for entry in read_ledger(place.ledger)
        if entry.attempts[0].request_id.startswith(STORM)
    )
    return sent / (to_s - from_s)


def verdicts(place: Place, story: Story, account: Account, *, short: bool) -> list[Verdict]:
    """Judge everything that must be.

    Args:
        place: Where it was.
        story: What happened.
        account: What became of it.
        short: Whether it was too short to judge what needs a long time by.
    """
    problems = sum(one.problem is not None for one in story.injections)
    exits = sum(status != 0 for router in place.routers for status in router.server.exits)
    counted = (
        ("requests lost", len(account.lost)),
        ("in flight or waiting at the end", account.left_in_flight),
        ("disagreements of ledger, log, metrics and trace", len(account.disagreements)),
        ("faults after which something was not as before", problems),
        ("errors logged that no fault explains", len(account.faults_in_logs)),
        ("routers that did not end with 0", exits),
        ("descriptors more or fewer than before", _descriptors(place, story)),
    )
    found = [
        Verdict(what=what, kind="must", measured=float(value), most=0.0, unit="")
        for what, value in counted
    ]
    for router, before, after in zip(place.routers, story.before, story.after, strict=True):
        found.append(
            Verdict(
                what=f"memory of {router.server.name}, against before",
                kind="must",
                measured=None if short else after.rss_bytes / before.rss_bytes,
                most=MUST_GROWTH,
                unit="x",
            )
        )
    for target, errors in account.predictions.items():
        found.append(
            Verdict(
                what=f"error of predicted {target}, against before",
                kind="must",
                measured=None if short else errors.grown,
                most=MUST_ERROR,
                unit="x",
            )
        )
    ended = account.requests.total() or 1
    refused = account.requests["refused"] - account.refused["model_not_found"]
    found.append(
        Verdict(
            what="share of requests refused",
            kind="goal",
            measured=refused / ended,
            most=GOAL_REFUSED,
            unit="",
        )
    )
    return found


def _descriptors(place: Place, story: Story) -> int:
    """Count what is open and was not, or the other way round, in all routers."""
    pool = MOST_MEETING * place.workers
    return sum(
        abs(_kept(after, pool) - _kept(before, pool))
        for before, after in zip(story.before, story.after, strict=True)
    )


def _kept(one: Held, pool: int) -> int:
    """Count descriptors but those of a trainer's pipes, and of a pool of connections to Redis."""
    meeting = sum(count for kind, count in one.descriptors.items() if MEETING in kind)
    pipes = 0 if one.trainer_bytes is None else TRAINER_PIPES
    return sum(one.descriptors.values()) - pipes - min(meeting, pool)


def show(
    console: Console, place: Place, story: Story, account: Account, found: list[Verdict]
) -> None:
    """Print everything that people should see."""
    console.print(_faults(story))
    console.print(_requests(account))
    console.print(_resources(place, story, account))
    console.print(verdict_table(found))
    held_rate = load_held(place, story)
    console.print(
        f"load held: {held_rate:.1f} requests/s of {place.rate:g} asked for, through "
        f"{len(story.injections)} faults; requests lost: {len(account.lost)}"
    )
    for title, problems in (
        ("lost", account.lost),
        ("disagreement", account.disagreements),
        ("logged", account.faults_in_logs),
        ("not as before", [f"{x.kind}: {x.problem}" for x in story.injections if x.problem]),
    ):
        for problem in problems[:_SHOWN]:
            console.print(f"{title}: {problem}", markup=False, highlight=False)
        if len(problems) > _SHOWN:
            console.print(f"{title}: {len(problems) - _SHOWN} more")


def _faults(story: Story) -> Table:
    table = Table("fault", "injected", "with recovery, s", title="Faults")
    counts = Counter(one.kind for one in story.injections)
    for kind, count in counts.most_common():
        took = [(x.ended_s or x.began_s) - x.began_s for x in story.injections if x.kind == kind]
        table.add_row(kind, str(count), f"{min(took):.1f} to {max(took):.1f}")
    for kind, why in story.skipped.items():
        table.add_row(kind, "0", f"skipped: {why}")
    return table


def _requests(account: Account) -> Table:
    table = Table("requests", "", "by reason", title="What became of every request")
    for end, count in account.requests.most_common():
        reasons = {"refused": account.refused, "cut": account.cut}.get(end, Counter())
        text = ", ".join(f"{count} {why}" for why, count in reasons.most_common())
        table.add_row(end, str(count), text)
    table.add_row("all", str(account.requests.total()), f"{account.attempts} attempts")
    table.add_row("in traces", str(account.rows), f"{account.unrecorded} dropped and counted")
    return table


def _resources(place: Place, story: Story, account: Account) -> Table:
    table = Table("", "before", "after", title="What is held, and how well is predicted")
    for router, before, after in zip(place.routers, story.before, story.after, strict=True):
        name = router.server.name
        pairs = {
            "resident, MB": (before.rss_bytes / 1e6, after.rss_bytes / 1e6),
            "its trainer, MB": (
                (before.trainer_bytes or 0) / 1e6,
                (after.trainer_bytes or 0) / 1e6,
            ),
        }
        for what, (was, now) in pairs.items():
            table.add_row(f"{name}: {what}", f"{was:.0f}", f"{now:.0f}")
        table.add_row(f"{name}: descriptors", _kinds(before), _kinds(after))
    for target, errors in account.predictions.items():
        table.add_row(f"{target}: median error of predictions", *_shares(errors.said))
        table.add_row(f"{target}: of a fit in hindsight", *_shares(errors.hindsight))
    return table


def _shares(values: Sequence[float | None]) -> list[str]:
    return ["unknown" if value is None else f"{value:.1%}" for value in values]


def _kinds(one: Held) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(one.descriptors.items()))
    return f"{sum(one.descriptors.values())} ({kinds})"


def as_json(
    place: Place, story: Story, account: Account, found: list[Verdict], minutes: float
) -> dict[str, Any]:
    """Give the figures for machines."""
    return {
        "benchmark": "storm",
        "minutes": minutes,
        "seed": place.seed,
        "routers": len(place.routers),
        "rate": place.rate,
        "load_held": load_held(place, story),
        "faults": Counter(one.kind for one in story.injections),
        "skipped": story.skipped,
        "injections": [
            {
                "kind": one.kind,
                "whom": one.whom,
                "at_s": one.began_s - story.storm[0],
                "took_s": (one.ended_s or one.began_s) - one.began_s,
                "problem": one.problem,
            }
            for one in story.injections
        ],
        "requests": account.requests,
        "refused": account.refused,
        "cut": account.cut,
        "attempts": account.attempts,
        "lost": account.lost,
        "disagreements": account.disagreements,
        "errors_logged": account.faults_in_logs,
        "prediction_errors": {
            target: {"said": errors.said, "hindsight": errors.hindsight}
            for target, errors in account.predictions.items()
        },
        "resident_mb": [
            [before.rss_bytes / 1e6, after.rss_bytes / 1e6]
            for before, after in zip(story.before, story.after, strict=True)
        ],
        "verdicts": [
            {
                "what": one.what,
                "kind": one.kind,
                "measured": one.measured,
                "most": one.most,
                "passes": one.passes,
            }
            for one in found
        ],
    }
