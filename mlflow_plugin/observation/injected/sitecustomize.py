"""Start the observation of this process, then whatever other `sitecustomize` the environment has.

The folder of this file stands on PYTHONPATH while a phase is observed. It must run on any Python from 3.8, in
environments that hold no other package, and never break or slow the program that starts.
"""

import sys


def _run_the_next(folder):
    """Import the `sitecustomize` that this one hides, as if this one were not there."""
    if "_frozen_importlib_external" not in sys.modules:  # Python 2
        return
    path = [entry for entry in sys.path if entry != folder]
    spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = sys.modules["_frozen_importlib"].module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start():
    try:
        import _mlflow_phases_observing

        _mlflow_phases_observing.start_with_the_process()
    except Exception:  # Nothing of the observation may reach the program.
        pass


_start()
_run_the_next(__file__.rpartition("/")[0])
