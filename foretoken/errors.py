"""What the command line reports in one line instead of a traceback."""


class ForetokenError(Exception):
    """Base of what a command refuses to go on with; the text says what to do."""


class ConfigurationInvalid(ForetokenError):
    """The configuration cannot be used; names the field, its value and its bounds.

    Attributes:
        problems: One line per invalid field.
    """

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__(f"{source}: " + "; ".join(problems))


class CannotListen(ForetokenError):
    """The address to serve on is taken or not this machine's."""


class FolderNotWritable(ForetokenError):
    """A folder that traces, models or figures shall go to cannot be written."""


class NothingToTrainOn(ForetokenError):
    """The traces hold too few usable rows for a model."""


class DemoFailed(ForetokenError):
    """A part of the demo did not start or died."""


class SimulationRefused(ForetokenError):
    """A simulation cannot be run as asked for: an unknown name, a file that does not parse."""


class PlotsMissing(ForetokenError):
    """A picture was asked for and the extra that draws is not installed."""
