"""XGBoost with the parameters of llm-d's predictor, its default family.

Importing this needs the extra ``benchmarks``; ``reference`` does without where it is not
installed.

Source: llm-d-latency-predictor b5d19f1, ``training/training_server.py``.
"""

from typing import Any, Final

import numpy as np
import xgboost

from foretoken.simulation.llmd_models import Model
from predictor.types import FloatArray

_TREES: Final = 200
_PARAMETERS: Final[dict[str, Any]] = {  # Any: xgboost takes numbers and words
    "max_depth": 6,
    "learning_rate": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 5,
    "gamma": 0.2,
    "reg_alpha": 0.01,
    "reg_lambda": 0.1,
    "tree_method": "hist",
    "seed": 42,
    "nthread": 1,
}


def fit(
    rows: FloatArray, labels_ms: FloatArray, categorical: int | None, *, alpha: float | None = None
) -> Model:
    """Fit one model; the same input gives the same model.

    Args:
        rows: ``(n, n_columns)``.
        labels_ms: ``(n,)``.
        categorical: Column whose values have no order, ``None`` for none.
        alpha: Quantile to predict, ``None`` for the mean.
    """
    goal: dict[str, Any] = (  # Any: as above
        {"objective": "reg:squarederror"}
        if alpha is None
        else {"objective": "reg:quantileerror", "quantile_alpha": alpha}
    )
    kinds = ["c" if column == categorical else "float" for column in range(rows.shape[1])]
    data = xgboost.DMatrix(rows, labels_ms, feature_types=kinds, enable_categorical=True)
    booster = xgboost.train(_PARAMETERS | goal, data, _TREES)

    def predict(asked: FloatArray) -> FloatArray:
        said: FloatArray = np.asarray(booster.inplace_predict(asked), dtype=np.float64)
        return said

    return predict
