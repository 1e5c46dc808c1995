"""The page about errors lists each one that there is, and none that there is not."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import proxy.control.app  # with all its routes, hence all errors they define  # noqa: F401
from proxy import errors
from proxy.control.access import _REFUSED
from proxy.control.errors import ControlError
from scheduler.actions import ShedReason
from scheduler.errors import ModelNotFound, UnknownTier
from scheduler.ladder import Reason

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

# What the control plane answers beside its own classes: the handlers of its errors.py, and
# the workers' supervisor (foretoken/workers/whole.py).
HANDLED = {
    ("400", "invalid_body"),
    ("400", "unknown_tier"),
    ("404", "model_not_found"),
    ("404", "not_found"),
    ("405", "method_not_allowed"),
    ("413", "body_too_large"),
    ("422", "invalid_value"),
    ("500", "internal_error"),
    ("503", "starting"),
    ("503", "workers_differ"),
}
DATA_PATH: tuple[Exception, ...] = (
    errors.BadRequest("?"),
    errors.BadHeader("x", "?", "a number"),
    errors.ContextExceeded(2, 2, 3, exact=True),
    errors.BodyTooLarge(1),
    errors.BodyTooDeep(),
    errors.HeadTooLarge("?"),
    errors.RequestTooSlow(),
    errors.TooManyConnections(),
    errors.UnknownPath("GET", "/"),
    errors.NotAuthenticated("?"),
    errors.RateLimited("requests", 1, None),
    errors.ShuttingDown(),
    errors.UpstreamUnreachable("http://e", "?"),
    errors.UpstreamBroken("http://e", "?"),
    errors.UpstreamDown("http://e", "?"),
    errors.UpstreamSilent("http://e", "?"),
    ModelNotFound("?", ()),
    UnknownTier("?", ()),
)
NOT_HTTP = {errors.KeysUnusable}  # stops the start


def classes_below(base: type) -> Iterator[type]:
    """Give every class that derives from another and has none below it."""
    below = base.__subclasses__()
    for each in below:
        yield from classes_below(each) if each.__subclasses__() else (each,)


def rows(mark: str) -> Iterator[list[str]]:
    """Give the cells of the table between two marks of the page, without its head."""
    table = PAGE.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]
    for line in table.strip().splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def listed(mark: str) -> list[tuple[str, str]]:
    """Give status and code of each error the page lists; a row may hold several codes."""
    return [
        (status.strip("| "), code)
        for status, codes, *_ in rows(mark)
        for code in (re.findall(r"`(\w+)`", codes) or ["-"])
    ]


def test_every_error_class_of_the_data_path_has_an_example_here() -> None:
    told = {each for each in classes_below(errors.ProxyError) if each.__module__ == errors.__name__}

    assert told - NOT_HTTP <= {type(error) for error in DATA_PATH}


def test_the_page_lists_what_the_data_path_refuses_with() -> None:
    answers = [errors.to_response(error) for error in DATA_PATH]
    refusals = {(str(errors._SHED[reason][0]), reason) for reason in get_args(ShedReason)}

    found = listed("data-path-errors")

    assert len(found) == len(set(found))
    assert set(found) == {(str(each.status), each.code or "-") for each in answers} | refusals


def test_the_page_lists_what_the_control_plane_refuses_with() -> None:
    own = {(str(each.status), each.code) for each in classes_below(ControlError)}
    gate = (str(_REFUSED.status), str(_REFUSED.code))

    found = listed("control-errors")

    assert len(found) == len(set(found))
    assert set(found) == own | HANDLED | {gate}


def test_the_page_lists_every_reason_for_a_decision() -> None:
    reasons = {reason for part in get_args(Reason) for reason in get_args(part)}

    found = [name for cells in rows("reasons") for name in re.findall(r"`(\w+)`", cells[0])]

    assert sorted(found) == sorted(reasons)
