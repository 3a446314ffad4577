"""Logistic regression on a CUDA device, by scikit-learn's own solver and its array API."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

LARGE = 2_000_000
"""Numbers in a feature matrix from which moving it to a device pays."""


def device_for(features: NDArray[Any]) -> str | None:
    """`cuda` for a large matrix where there is a device and scikit-learn can use it; else None."""
    if features.size < LARGE or not torch.cuda.is_available():
        return None
    try:
        supported = LogisticRegression().__sklearn_tags__().array_api_support
    except AttributeError:
        return None  # scikit-learn before 1.9
    return "cuda" if supported else None


class DeviceLogisticRegression(LogisticRegression):  # type: ignore[misc]
    """scikit-learn's LogisticRegression, fitted on a torch device; all it gives is NumPy."""

    def __init__(
        self, device: str = "cuda", C: float = 1.0, tol: float = 1e-4, max_iter: int = 100
    ) -> None:
        super().__init__(C=C, tol=tol, max_iter=max_iter)
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DeviceLogisticRegression:
        """(N, D) floats, (N,) integers."""
        # scikit-learn asks that SciPy was told; what it calls of SciPy here are NumPy arrays.
        os.environ.setdefault("SCIPY_ARRAY_API", "1")
        inputs = torch.from_numpy(np.ascontiguousarray(X)).to(self.device)
        labels = torch.from_numpy(np.ascontiguousarray(y)).to(self.device)
        with sklearn.config_context(array_api_dispatch=True):
            super().fit(inputs, labels)
        for name in ("coef_", "intercept_", "classes_", "n_iter_"):
            setattr(self, name, getattr(self, name).cpu().numpy())
        return self
