"""The trainer's own process."""

import subprocess
import sys
from pathlib import Path

from predictor import PredictorSettings


def test_whoever_speaks_to_nobody_ends_quietly(tmp_path: Path) -> None:
    words = [str(tmp_path), "20", "0.05", "0.25", PredictorSettings().model_dump_json()]
    trainer = subprocess.Popen(
        [sys.executable, "-m", "foretoken.trainer_process", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    assert trainer.stderr is not None

    with trainer.stdin, trainer.stderr:
        trainer.stdout.readline()
        trainer.stdout.close()
        said = trainer.stderr.read()

    assert (trainer.wait(), said) == (0, b"")
