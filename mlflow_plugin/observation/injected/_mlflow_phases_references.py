"""What MLflow's client looked up in the registry and in runs for the user's code: (URI -> version or run)."""

import contextlib
import sys

import _mlflow_phases_steps as steps

REGISTRY = "mlflow.tracking._model_registry.client"
RUNS = "mlflow.store.artifact.runs_artifact_repo"
CLIENT = "mlflow.tracking.client"
TRACKING = "mlflow.tracking._tracking_service.client"
_HERE = __file__.rpartition("/")[0] + "/"
# Code of MLflow that hands on what the user's own code asks for. The rest of it looks things up on its own account.
_HANDING_ON = tuple(f"-packages/mlflow/{name}/" for name in ("tracking", "utils", "telemetry"))


def wrap_when_imported(observing):
    """Wrap the look-ups as soon as MLflow has loaded them."""
    wrappers = {REGISTRY: _wrap_registry, RUNS: _wrap_runs, CLIENT: _wrap_client, TRACKING: _wrap_tracking}
    wrappers[steps.PROJECTS] = steps.wrap
    for name in list(wrappers):
        if name in sys.modules:
            wrappers.pop(name)(sys.modules[name], observing)
    if wrappers:
        sys.meta_path.insert(0, _Finder(wrappers, observing))


class _Finder:
    """Finds nothing itself: lets the others find these modules, and wraps what they hold once they are loaded."""

    def __init__(self, wrappers, observing):
        self.wrappers, self.observing = wrappers, observing

    def find_spec(self, name, path=None, target=None):
        wrap = self.wrappers.pop(name, None)
        if wrap is None:
            return None
        if not self.wrappers and self in sys.meta_path:
            sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target) if finder is not self else None
            if spec is not None:
                self._wrap_after_loading(spec, wrap)
                return spec
        return None

    def _wrap_after_loading(self, spec, wrap):
        loader = spec.loader
        load = getattr(loader, "exec_module", None)
        if load is None:
            return

        def exec_module(module):
            load(module)
            with contextlib.suppress(Exception):  # Another version of MLflow: its look-ups are not seen.
                wrap(module, self.observing)

        loader.exec_module = exec_module


def _replace(owner, name, note, observing, static=False):
    function = getattr(owner, name)

    def wrapper(*arguments, **options):
        result = function(*arguments, **options)
        with observing.quietly() as on:
            if on:
                note(result, *arguments, **options)
        return result

    wrapper.__name__, wrapper.__qualname__, wrapper.__doc__ = name, function.__qualname__, function.__doc__
    wrapper.__module__, wrapper.__wrapped__ = function.__module__, function
    setattr(owner, name, staticmethod(wrapper) if static else wrapper)


def _wrap_registry(module, observing):
    def by_alias(version, client, name, alias):
        observing.tell("F", f"{version.version} ", f"models:/{name}@{alias}")

    def latest(versions, client, name, stages=None):
        for stage in stages or ["latest"]:
            of_stage = [
                int(v.version) for v in versions if stage == "latest" or v.current_stage.lower() == stage.lower()
            ]
            if of_stage:
                observing.tell("F", f"{max(of_stage)} ", f"models:/{name}/{stage}")

    _replace(module.ModelRegistryClient, "get_model_version_by_alias", by_alias, observing)

    def prompt(version, client, name, alias):
        observing.tell("F", f"{version.version} ", f"prompts:/{name}@{alias}")

    _replace(module.ModelRegistryClient, "get_latest_versions", latest, observing)
    if hasattr(module.ModelRegistryClient, "get_prompt_version_by_alias"):
        _replace(module.ModelRegistryClient, "get_prompt_version_by_alias", prompt, observing)
    for name in ("search_model_versions", "search_registered_models", "get_registered_model", "search_prompts"):
        if hasattr(module.ModelRegistryClient, name):
            _replace(module.ModelRegistryClient, name, _asked(observing, name, lambda *_: ()), observing)


def _wrap_runs(module, observing):
    def underlying(_, uri, *rest, **more):
        run = module.RunsArtifactRepository.parse_runs_uri(uri)[0]
        observing.tell("F", f"{run} ", uri)

    _replace(module.RunsArtifactRepository, "get_underlying_uri", underlying, observing, static=True)


def _wrap_client(module, observing):
    def downloaded(_, client, run_id, path, *rest, **more):
        observing.tell("F", f"{run_id} ", f"runs:/{run_id}/{path or ''}")

    _replace(module.MlflowClient, "download_artifacts", downloaded, observing)


def _asked(observing, name, runs_of):
    """Return a function that records a look-up by the user's own code: which runs it showed, or none in particular."""

    def note(result, client, *arguments, **options):
        if not _is_for_own_code(observing):
            return
        for run in runs_of(result, *arguments) or ["-"]:
            observing.tell("Q", f"{run} ", name)

    return note


def _is_for_own_code(observing):
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_HERE) and not any(part in file for part in _HANDING_ON):
            return observing.is_own(observing.records.absolute(file))
        frame = frame.f_back
    return False


def _wrap_tracking(module, observing):
    def created(run, *arguments, **options):
        observing.tell("z", "", run.info.run_id)

    def found(runs, *arguments):
        return [run.info.run_id for run in runs]

    def given(result, run_id="", *arguments):
        return [run_id] if run_id else []

    kinds = {"get_run": given, "get_metric_history": given, "list_artifacts": given, "search_runs": found}
    kinds.update(dict.fromkeys(("search_experiments", "search_logged_models", "search_traces"), lambda *_: ()))
    for name, runs_of in kinds.items():
        if hasattr(module.TrackingServiceClient, name):
            _replace(module.TrackingServiceClient, name, _asked(observing, name, runs_of), observing)
    _replace(module.TrackingServiceClient, "create_run", created, observing)
