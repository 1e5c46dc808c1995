"""One LightGBM model of any kind, predicted through the library's C interface.

``Booster.predict`` builds a predictor and its parameters anew at each call: 13 us of the
28 us it takes for eight rows. The C call it ends in is public and stable; the model is
read, owned and freed by ``Booster`` as usual. Called by the simulated reference, whose
trees split by category; served models are a :class:`predictor.forest.Forest`.
"""

import ctypes
from typing import Final

import lightgbm
import numpy as np
from lightgbm import basic

from predictor.errors import PredictionFailed
from predictor.types import FloatArray

_FLOAT64, _ROW_MAJOR, _VALUE, _ALL_TREES = 1, 1, 0, -1  # constants of LightGBM's c_api.h
_LIBRARY: Final = basic._LIB  # type: ignore[attr-defined]  # noqa: SLF001  # no public name
_PARAMETERS: Final = b"num_threads=1"


class Trees:
    """Predict with a model given as LightGBM's text.

    Raises:
        ValueError: The text is not a model of ``n_inputs`` inputs.

    >>> data = lightgbm.Dataset(np.arange(100.0)[:, None], np.arange(100.0))
    >>> model = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 5)
    >>> x = np.array([[3.0], [70.0]])
    >>> said = Trees(model.model_to_string(), n_inputs=1).predict(x)
    >>> bool((said == model.predict(x)).all())
    True
    """

    __slots__ = ("_booster", "_n_inputs")

    def __init__(self, text: str, *, n_inputs: int) -> None:
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError, KeyError) as error:
            raise ValueError(str(error)) from error
        if self._booster.num_feature() != n_inputs:
            raise ValueError(f"made for {self._booster.num_feature()} inputs, not {n_inputs}")
        if self._booster.num_model_per_iteration() != 1:  # it would write past the output
            raise ValueError("gives more than one output")
        self._n_inputs = n_inputs

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Give ``(n,)`` from contiguous ``(n, n_inputs)``; NaN is LightGBM's own missing.

        Raises:
            ValueError: The inputs have another shape or layout.
            PredictionFailed: LightGBM says so.
        """
        if inputs.shape[1] != self._n_inputs or not inputs.flags.c_contiguous:
            raise ValueError(f"inputs of shape {inputs.shape}")
        out = np.empty(len(inputs))
        written = ctypes.c_int64()
        failed = _LIBRARY.LGBM_BoosterPredictForMat(
            self._booster._handle,  # noqa: SLF001  # the C handle has no public name
            ctypes.c_void_p(inputs.ctypes.data),
            _FLOAT64,
            ctypes.c_int32(len(inputs)),
            ctypes.c_int32(self._n_inputs),
            _ROW_MAJOR,
            _VALUE,
            0,
            _ALL_TREES,
            _PARAMETERS,
            ctypes.byref(written),
            ctypes.c_void_p(out.ctypes.data),
        )
        if failed or written.value != len(out):
            raise PredictionFailed("LightGBM could not predict")
        return out
