"""What the command line reports in one line instead of a traceback."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from foretoken.setting_problems import SettingProblem


class ForetokenError(Exception):
    """Base of what a command refuses to go on with; the text says what to do.

    Attributes:
        exit_status: Of a command that ends with it: 1 for what may go better another time,
            2 for what was asked wrongly, 3 for a question whose answer is no.
    """

    exit_status: ClassVar[int] = 1


class ConfigurationInvalid(ForetokenError):
    """The configuration cannot be used; names the field, its value and its bounds.

    Attributes:
        problems: One line per invalid field.
        found: The same with the places told apart, where it was read from a file.
    """

    exit_status = 2

    def __init__(
        self,
        source: str,
        problems: tuple[str, ...],
        *,
        found: "tuple[SettingProblem, ...]" = (),
    ) -> None:
        self.problems = problems
        self.found = found
        super().__init__(f"{source}: " + "; ".join(problems))


class CannotListen(ForetokenError):
    """The address to serve on is taken or not this machine's."""


class FolderNotWritable(ForetokenError):
    """A folder that traces, models or figures shall go to cannot be written."""


class StoreRefused(ForetokenError):
    """Models cannot be kept there: a kind of URL that is not known, or a package is missing."""

    exit_status = 2


class FileNotWritable(ForetokenError):
    """A file cannot be written: no such folder, not permitted, or a full disk."""


class NotThere(ForetokenError):
    """What was asked about does not exist: a request, an endpoint, a version."""

    exit_status = 3


class ServerUnusable(ForetokenError):
    """A running Foretoken was to be asked, and nobody answers, or not as one would."""


class RouteMissing(ServerUnusable):
    """A running Foretoken does not serve what was asked for: an older version."""


class UrlInvalid(ForetokenError):
    """What was to be asked is no URL."""

    exit_status = 2


class NothingToTrainOn(ForetokenError):
    """The traces hold too few usable rows for a model."""


class ClusterUnusable(ForetokenError):
    """A cluster was to train, and does not answer, differs from us, or lost a worker."""


class DemoFailed(ForetokenError):
    """A part of the demo did not start or died."""


class SimulationRefused(ForetokenError):
    """A simulation cannot be run as asked for: an unknown name, a file that does not parse."""

    exit_status = 2


class TraceNotReplayable(ForetokenError):
    """A trace cannot be replayed: broken, empty, of several models, or too little is in it."""


class PlotsMissing(ForetokenError):
    """A picture was asked for and the extra that draws is not installed."""

    exit_status = 2


class EndpointRefused(ForetokenError):
    """An endpoint cannot be served here; the text says why."""


class ExtraMissing(ForetokenError):
    """A command was asked for whose optional packages are not installed."""

    exit_status = 2


class RunLost(ForetokenError):
    """A process that played a simulated run died before it had a result.

    Attributes:
        exit_code: Its exit status, below zero the signal that ended it, ``None`` if unknown.
    """

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        how = f"exit status {exit_code}"
        if exit_code is not None and exit_code < 0:
            how = f"signal {-exit_code}"
        super().__init__(
            f"a process that played a run died ({how}); if memory is short, play fewer at once "
            "with --jobs"
        )
