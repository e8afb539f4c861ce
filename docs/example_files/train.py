"""Train a classifier of wines on the table and with the settings beside this file, and log it."""

import mlflow
import pandas as pd
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    with open("settings.yaml", encoding="utf-8") as file:
        settings = yaml.safe_load(file)
    table = pd.read_csv("wine.csv")
    measured, cultivar = table[settings["columns"]], table["cultivar"]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=settings["penalty"]))
    with mlflow.start_run():
        mlflow.log_metric("accuracy", cross_val_score(classifier, measured, cultivar, cv=5).mean())
        weights = classifier.fit(measured, cultivar)[-1].coef_
        mlflow.log_dict({"columns": settings["columns"], "weights": weights.tolist()}, "weights.json")


if __name__ == "__main__":
    main()
