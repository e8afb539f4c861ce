"""Train a support vector classifier on the prepared images and log it as an MLflow model."""

import argparse

import mlflow
from features import arrays_of, features
from sklearn.svm import SVC


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepare-run-id", required=True)
    parser.add_argument("--penalty", type=float, required=True)
    parser.add_argument("--width", type=float, required=True)
    options = parser.parse_args()

    with mlflow.start_run():
        data = arrays_of(options.prepare_run_id)
        # A wide kernel is a small gamma.
        classifier = SVC(C=options.penalty, gamma=1 / (64 * options.width**2))
        classifier.fit(features(data["train"]), data["train_labels"])
        accuracy = classifier.score(features(data["validation"]), data["validation_labels"])
        mlflow.log_params({"kernel": classifier.kernel, "training_images": len(data["train"])})
        mlflow.log_metrics({"validation_accuracy": accuracy, "support_vectors": int(classifier.n_support_.sum())})
        mlflow.sklearn.log_model(classifier, name="classifier", pip_requirements=["scikit-learn", "numpy"])


if __name__ == "__main__":
    main()
