"""Run ``vllm bench serve`` once per line of standard input, all in one process.

For ``vllm_cpu.sh benches``. Importing vLLM costs up to twenty seconds of CPU, which a client
of many short runs must not pay again before each. A line is a JSON list of the command's
arguments; each is answered on standard output by a line of JSON, ``null`` or what went wrong.
What the command prints itself goes to standard error.
"""

import json
import os
import sys

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser


def answer_lines() -> None:
    """Run and answer each line until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    parser = FlexibleArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    for line in sys.stdin:
        problem = None
        try:
            main(parser.parse_args(json.loads(line)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller judges it
            problem = f"{type(error).__name__}: {error}"
        print(json.dumps(problem), file=answers, flush=True)


if __name__ == "__main__":
    answer_lines()
