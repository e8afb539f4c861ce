"""Measure the trained classifier on the test images, beside naive Bayes as a control."""

import argparse

import mlflow
from features import arrays_of, features
from sklearn.metrics import confusion_matrix
from sklearn.naive_bayes import GaussianNB


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepare-run-id", required=True)
    parser.add_argument("--train-run-id", required=True)
    options = parser.parse_args()

    with mlflow.start_run():
        data = arrays_of(options.prepare_run_id)
        test, labels = features(data["test"]), data["test_labels"]
        classifier = mlflow.sklearn.load_model(f"runs:/{options.train_run_id}/classifier")
        control = GaussianNB().fit(features(data["train"]), data["train_labels"])
        mlflow.log_metrics(
            {"test_accuracy": classifier.score(test, labels), "naive_bayes_accuracy": control.score(test, labels)}
        )
        confusion = confusion_matrix(labels, classifier.predict(test))
        mlflow.log_dict({"rows are true digits": confusion.tolist()}, "confusion.json")


if __name__ == "__main__":
    main()
