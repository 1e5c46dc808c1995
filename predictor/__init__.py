"""Predict TTFT and TPOT of a request at every endpoint; pure, and alone in its folder."""

from predictor.compilation import compile_kernels
from predictor.errors import (
    InvalidSnapshot,
    PredictionFailed,
    PredictorError,
    SchemaMismatch,
    TrainingRefused,
)
from predictor.evaluation import Evaluation, Score
from predictor.latency import EXPERTS, LatencyPredictor, PredictorReport
from predictor.output_length import OutputLengths
from predictor.prepared import PreparedModel
from predictor.retraining import Retraining, Round
from predictor.settings import PredictorSettings, TrainingSettings
from predictor.snapshot import MODEL_SCHEMA, ModelSnapshot
from predictor.training import TrainedModel, train

__all__ = [
    "EXPERTS",
    "MODEL_SCHEMA",
    "Evaluation",
    "InvalidSnapshot",
    "LatencyPredictor",
    "ModelSnapshot",
    "OutputLengths",
    "PredictionFailed",
    "PredictorError",
    "PredictorReport",
    "PredictorSettings",
    "PreparedModel",
    "Retraining",
    "Round",
    "SchemaMismatch",
    "Score",
    "TrainedModel",
    "TrainingRefused",
    "TrainingSettings",
    "compile_kernels",
    "train",
]
