"""Rows 27 to 40: parameters, the worth of a run, and the results that it was made from."""

from dataclasses import replace

from benchmarks.change_rows.row import Ask, Damage, Declare, Forget, Make, Parameter, Phase, Replace, Row, Value, one

DECLARED_RATE = {"rate": Parameter("0.1", "float")}


def valued(number: str, title: str, must: str, first: Parameter, second: str) -> Row:
    return one(number, title, must, "return str(rate)", (Value("rate", second),), parameters={"rate": first})


PARAMETERS = (
    valued("27", "`1.1`, then `1.10`, without a type", "run", Parameter("1.1"), "1.10"),
    valued("27", "`1`, then `001`, without a type", "run", Parameter("1"), "001"),
    valued("28", "`0.001`, then `1e-3`, of type float", "reuse", Parameter("0.001", "float"), "1e-3"),
    Row(
        "29",
        "a parameter is added; the script had another value",
        "run or ask",
        (Phase("train", "return str(rate)", arguments=("rate",), defaults={"rate": "0.5"}),),
        (Declare({"parameters": DECLARED_RATE}),),
    ),
    one(
        "30",
        "a parameter is no longer ignored",
        "run",
        "return str(device)",
        (Declare({"ignore": ()}), Value("device", "gpu")),
        parameters={"device": Parameter("cpu", "string")},
        ignore=("device",),
    ),
    one(
        "31",
        "`False`, then `false`, of type boolean",
        "reuse",
        "return str(flag).lower()",
        (Value("flag", "false"),),
        parameters={"flag": Parameter("False", "boolean")},
    ),
)

NO_METRICS = "it reads no metric when it decides"
NO_STATUS = "a script cannot set a status other than its exit code"
DELETED = """
import sys
from mlflow.tracking import MlflowClient
if sys.argv[1] == "2":
    client = MlflowClient()
    model = client.search_logged_models(["0"])[0]
    client.delete_logged_model(model.model_id)
"""
MODEL = """
import mlflow

from mlflow_plugin import start_phase


class _Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
"""
RAISES = 'print("train", file=open("<witness>", "a"))\nraise SystemExit("no data")\n'
LOGGED_MODEL = one(
    "35",
    "a model is logged, and deleted afterwards",
    "run",
    "with start_phase():\n    mlflow.pyfunc.log_model(name='model', python_model=_Model())\nreturn 'done'",
    (Make("2"),),
    imports=MODEL,
    makes=DELETED,
)
WORTH = (
    one(
        "32",
        "quality 0.9 at steps, and 0.1 at the end without a step",
        "run",
        'for step in range(10):\n    mlflow.log_metric("score", 0.9, step=step)\n'
        'mlflow.log_metric("score", 0.1)\nreturn "done"',
        (),
        imports="import mlflow",
        keys={"quality": {"metric": "score", "good": 0.8, "poor": 0.5}},
        only=("mlflow-phases",),
        why_only=NO_METRICS,
    ),
    one(
        "33",
        "`python step.py | tee log`, and it raises",
        "run",
        "",
        (),
        command="python step.py | tee train.txt",
        files={"step.py": RAISES},
        scripts=("step.py",),
        fails=True,
    ),
    one(
        "34",
        "the script ends its run as failed, and exits with 0",
        "run",
        'mlflow.start_run()\nmlflow.end_run("FAILED")\nreturn "done"',
        (),
        imports="import mlflow",
        fails=True,
        only=("mlflow-phases", "prefect"),
        why_only=NO_STATUS,
        instead={
            "prefect": one(
                "34",
                "the task returns a failed state",
                "run",
                'return Failed(message="no data")',
                (),
                imports="from prefect.states import Failed",
                fails=True,
            )
        },
    ),
    replace(
        one("35", "the model is an output, and is deleted afterwards", "run", 'return "weights"', (Forget("train"),)),
        instead={"mlflow-phases": LOGGED_MODEL},
    ),
)

DIAMOND = (
    Phase("a", 'return f"a{seed}"', arguments=("seed",)),
    Phase("b", 'return f"b({a})"', needs=("a",)),
    Phase("c", 'return f"c({a})"', needs=("a",)),
    Phase("d", 'return f"{b} {c}"', needs=("b", "c")),
)
LINEAGE = (
    Row(
        "36",
        "a diamond; two of three phases are re-run, and the last is asked for",
        "run or ask",
        DIAMOND,
        (Value("seed", "2"), Ask("a"), Ask("b")),
        parameters={"seed": Parameter("1", "integer")},
        expect="b(a2) c(a2)",
        ask="d",
    ),
    Row(
        "37",
        "an upstream output is damaged, its size unchanged",
        "run or ask",
        (Phase("a", 'return "good " * 9'), Phase("b", "return a.upper()", needs=("a",))),
        (Damage("a", "good", "evil"), Replace("b.py", "a.upper()", "a.lower()")),
        expect="good good",
        ask="b",
    ),
    replace(
        one("40", "two runs at once from threads of one process", "run", "return str(rate)", ()),
        phases=(Phase("train", "return str(rate)", arguments=("rate",)),),
        parameters={"rate": Parameter("0", "integer")},
        threads=True,
    ),
)
