"""The command line. Every command is a thin shell over a function elsewhere.

A command's own modules are imported when it runs: ``--help`` must not wait for
LightGBM, and a simulated endpoint must not load the predictor.
"""

import os
import sys
from typing import Annotated

import typer

from foretoken.cli_check import check_config, version
from foretoken.cli_endpoints import endpoints_app
from foretoken.cli_learn import train
from foretoken.cli_look import explain, status
from foretoken.cli_models import models_app
from foretoken.cli_picker import picker
from foretoken.cli_replay import replay
from foretoken.cli_scaler import scaler
from foretoken.cli_serve import predictor, serve
from foretoken.cli_simulate import simulate
from foretoken.cli_traces import traces_app
from foretoken.cli_try import demo, demo_vllm, simulate_endpoint
from foretoken.errors import ForetokenError
from foretoken.terminal import say_error

INTERRUPTED = 130  # 128 and the signal, as shells say it

app = typer.Typer(
    name="foretoken",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=(
        "Exit status: 0 done; 1 it failed; 2 wrong usage or configuration; 3 the answer is no "
        "(status: not well; explain, models show, endpoints: no such thing); 130 Ctrl-C; 143 "
        "SIGTERM. Errors are one line on standard error. NO_COLOR is heeded."
    ),
)

SERVE, LOOK, LEARN, TRY = "Serve", "Look and change", "Learn", "Try without a GPU"
app.command(rich_help_panel=SERVE)(serve)
app.command(rich_help_panel=SERVE)(picker)
app.command(rich_help_panel=SERVE)(predictor)
app.command(rich_help_panel=SERVE)(scaler)
app.command("check-config", rich_help_panel=SERVE)(check_config)
app.command(rich_help_panel=LOOK)(status)
app.add_typer(endpoints_app, name="endpoints", rich_help_panel=LOOK)
app.command(rich_help_panel=LOOK)(explain)
app.command(rich_help_panel=LEARN)(train)
app.add_typer(models_app, name="models", rich_help_panel=LEARN)
app.add_typer(traces_app, name="traces", rich_help_panel=LEARN)
app.command(rich_help_panel=TRY)(demo)
app.command("demo-vllm", rich_help_panel=TRY)(demo_vllm)
app.command(rich_help_panel=TRY)(simulate)
app.command(rich_help_panel=TRY)(replay)
app.command("simulate-endpoint", rich_help_panel=TRY)(simulate_endpoint)
app.command(rich_help_panel=LOOK)(version)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # what typer calls back with
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # handled by its callback
        bool,
        typer.Option(
            "--version",
            help="Print the version and the build.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Schedule requests over a fleet of vLLM servers by predicted latency.

    Commands that look at a running Foretoken find it by --url or the
    environment variable FORETOKEN_URL.

    Example:
      foretoken demo
      foretoken serve --endpoint http://10.0.0.1:8000
      foretoken status
    """


def main() -> None:
    """Run the command line; what people can mend is one line, not a traceback."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit status."""
    try:
        status = app(arguments, prog_name="foretoken", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _say_usage(error)
    except ForetokenError as error:
        say_error(f"foretoken: {error}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at its end: there must be somewhere to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as typer says where it notices first
    except OSError as error:  # a file or the network, whoever asked for it
        where = f"{error.filename}: " if error.filename else ""
        say_error(f"foretoken: {where}{error.strerror or error}")
        return 1
    return status if isinstance(status, int) else 0


def _say_usage(error: typer.TyperException) -> int:
    """Say what is wrong with the words at the prompt, and where the right ones stand."""
    context = getattr(error, "ctx", None)
    command = "foretoken" if context is None else context.command_path
    text = " ".join(error.format_message().split()).replace("Input should be", "must be")
    if text:  # else the help was printed, because nothing was asked for
        say_error(f"{command}: {text.rstrip('.')}; {command} --help says more")
    return error.exit_code
