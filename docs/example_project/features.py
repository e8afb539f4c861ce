"""What both later phases need: the arrays of a run, and images as the classifier sees them."""

import mlflow
import numpy as np


def arrays_of(run_id: str) -> dict[str, np.ndarray]:
    """The arrays that the prepare run with this id logged, by name."""
    file = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/data/digits.npz")
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def features(images: np.ndarray) -> np.ndarray:
    """Images (n, 64) with pixels of 0 to 16 as float64 of 0 to 1."""
    return images / 16.0
