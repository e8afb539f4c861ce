"""Split the handwritten digits that come with scikit-learn into images for training, validation and test."""

import argparse
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--test-share", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels, test_size=options.test_share, random_state=options.seed, stratify=labels
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=0.2, random_state=options.seed, stratify=rest_labels
    )
    with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digits.npz"
        np.savez(
            file,
            train=train,
            train_labels=train_labels,
            validation=validation,
            validation_labels=validation_labels,
            test=test,
            test_labels=test_labels,
        )
        mlflow.log_artifact(str(file), "data")
        mlflow.log_metrics({"train_images": len(train), "validation_images": len(validation), "test_images": len(test)})


if __name__ == "__main__":
    main()
