"""Compute the identity of a run: runs with the same identity have the same result.

The identity consists of project, phase, command, the parameters that change the result, code, the files and folders
that command and parameters name, and the digest of each input.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.project.named import is_pattern
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.recipe import Recipe, named_of_parameter, recipe_of

__all__ = ["Identity", "Recipe", "recipe_of", "run_image", "with_written"]

_MAX_LENGTH = 200
_MAX_TAG = 8000


@dataclass(frozen=True)
class Identity:
    """A recipe and the digest of the output of each upstream run (`inputs`: phase -> digest)."""

    recipe: Recipe
    inputs: Mapping[str, str]

    def digests(self) -> tuple[str, ...]:
        """Return the digests that a run is found by: sparse and full, then both without the files that it names."""
        inputs = dict(sorted(self.inputs.items()))
        return tuple(value_digest([digest, inputs]) for digest in self.recipe.digests())

    def config_digests(self) -> tuple[str, ...]:
        """Return the same without the inputs: equal for the same parameters and code."""
        return self.recipe.digests()

    def fingerprint(self) -> str:
        """Return the identity as JSON of less than 8,000 characters (the length of a tag), to explain differences."""
        recipe = self.recipe
        content: dict[str, Any] = {
            "project": recipe.project,
            "phase": recipe.phase,
            "command": _clipped(recipe.command),
            "code": recipe.code,
            "parameters": {name: [_clipped(value), _clipped(use)] for name, (value, use) in recipe.parameters.items()},
            "inputs": dict(self.inputs),
            "files": dict(recipe.files),
        }
        if recipe.named:
            content |= {"programs": recipe.programs, "named": dict(recipe.named)}
        if recipe.image:
            content["image"] = [recipe.image, recipe.image_digest]
        for shorten in (None, "files", "named", "parameters"):
            if shorten == "files":
                del content["files"]
            elif shorten in content:
                content[shorten] = _all_of(content[shorten], shorten)
            text = _json(content)
            if len(text) < _MAX_TAG:
                break
        return text

    def differences(
        self,
        fingerprint: Mapping[str, Any],
        logged: Mapping[str, str] | None = None,
        *,
        inputs: bool = True,
        code: bool = True,
    ) -> list[str]:
        """Describe how this identity differs from an earlier run's fingerprint.

        A named file or folder that the earlier run wrote to (`with_written`), or that was not there when it began, is
        no difference: it is mostly that run's output, and what the run read there is in its trace. Runs of the first
        version kept no named folders; their named files counted as code.

        Args:
            fingerprint: The decoded `fingerprint()` of the earlier run. A parameter that it lacks counts with the value
                that was logged, else as the declared default.
            logged: The parameters that MLflow logged for that run: they include those that were ignored then.
            inputs: Compare the inputs too.
            code: Compare the code too.

        Returns:
            One text for each difference, empty when the two are the same.
        """
        recipe, differences = self.recipe, []
        old = _mapping(fingerprint.get("parameters"))
        written = frozenset(map(str, _list(fingerprint.get("written"))))
        if "*" in old:
            ours = {name: [_clipped(value), _clipped(use)] for name, (value, use) in recipe.parameters.items()}
            if old != _all_of(ours, "parameters"):
                differences.append("parameters")
        else:
            differences += self._parameter_differences(old, logged or {}, written)
        if fingerprint.get("command") != _clipped(recipe.command):
            differences.append("the command")
        differences += self._code_differences(fingerprint) if code else []
        differences += self._image_differences(fingerprint)
        differences += self._named_differences(fingerprint, written, look_for_gone=not differences)
        if inputs:
            before = _mapping(fingerprint.get("inputs"))
            changed = [need for need, digest in self.inputs.items() if before.get(need) != digest]
            differences += [f"the output of {need}" for need in changed]
            differences += [f"{need}, which is no longer needed" for need in before if need not in self.inputs]
        return differences

    def assumed(self, fingerprint: Mapping[str, Any], logged: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters whose value in an earlier run is not known, each with the value that is assumed."""
        old, recipe = _mapping(fingerprint.get("parameters")), self.recipe
        if "*" in old:
            return {}
        unknown = [name for name in recipe.parameters if name not in old and self._logged(name, logged) is None]
        return {name: logged[name] if name in logged else _readable(recipe.defaults[name]) for name in unknown}

    def other_parameters(self, fingerprint: Mapping[str, Any], logged: Mapping[str, str]) -> set[str]:
        """Return the names of the parameters that had another value in an earlier run; `*` when they are too many."""
        old, recipe = _mapping(fingerprint.get("parameters")), self.recipe
        if "*" in old:
            return {"*"} if "parameters" in self.differences(fingerprint, logged, inputs=False, code=False) else set()
        removed = set(old) - set(recipe.parameters) - recipe.ignored
        now = {name: _clipped(value) for name, (value, _) in recipe.parameters.items()}
        return removed | {name for name, value in now.items() if self._then(name, old, logged)[0] != value}

    def _then(self, name: str, old: Mapping[str, Sequence[str]], logged: Mapping[str, str]) -> tuple[str | None, str]:
        """Return the value of a parameter in an earlier run and how the command used it, as far as that is known."""
        if name in old:
            entry = [*map(str, _list(old[name])), "", ""]
            return entry[0], entry[1]
        value, use = self._logged(name, logged), _clipped(self.recipe.parameters[name][1])
        return (self.recipe.defaults[name] if value is None else _clipped(value)), use

    def _logged(self, name: str, logged: Mapping[str, str]) -> str | None:
        """Return the value that a run really used of a parameter that did not count then; None when nobody knows."""
        parameter = self.recipe.declared.get(name)
        if parameter is None or name not in logged or parameter.type == "path":  # The content then is not known.
            return None
        try:
            return parameter.canonical(unquoted(logged[name]))
        except UsageError:
            return f"'{unquoted(logged[name])}"

    def _parameter_differences(
        self, old: Mapping[str, Sequence[str]], logged: Mapping[str, str], written: frozenset[str]
    ) -> list[str]:
        differences = []
        for name, (value, use) in self.recipe.parameters.items():
            old_value, old_use = self._then(name, old, logged)
            if old_value != _clipped(value):
                is_content = value.startswith("sha256:") and str(old_value).startswith("sha256:")
                if not (is_content and named_of_parameter(name) in written):
                    differences.append(f"{name} ({_readable(old_value)} -> {_readable(_clipped(value))})")
            elif old_use != _clipped(use):
                differences.append(f"how the command uses {name}")
        removed = set(old) - set(self.recipe.parameters) - self.recipe.ignored
        differences += [f"{name}, which is no longer a parameter" for name in sorted(removed)]
        return differences

    def _code_differences(self, fingerprint: Mapping[str, Any]) -> list[str]:
        recipe = self.recipe
        if "programs" in fingerprint:
            same = fingerprint["programs"] == recipe.programs
        else:  # A run of the first version, or one that named no other files because they were not there.
            same = fingerprint.get("code") in (recipe.code, recipe.programs)
        if same:
            return []
        before = _mapping(fingerprint.get("files"))
        compared_apart = {*_mapping(fingerprint.get("named")), *recipe.named} if "programs" in fingerprint else set()
        now = recipe.files if before else {}
        changed = {name for name in {*before, *now} if before.get(name) != now.get(name)} - compared_apart
        moved = _moves(before, now)
        edited = sorted(changed - {name for pair in moved for name in pair})
        told = [f"the code of {', '.join(edited[:5])}"] if edited else []
        return [*told, *(f"{old} moved to {new}" for old, new in moved)] or ["the code"]

    def _image_differences(self, fingerprint: Mapping[str, Any]) -> list[str]:
        recipe = self.recipe
        image, digest = run_image(fingerprint)
        if image != recipe.image:
            return [f"the image ({image or 'none'} -> {recipe.image or 'none'})"]
        if digest and recipe.image_digest and digest != recipe.image_digest:
            return [f"the content of the image {recipe.image}"]
        return []

    def _named_differences(
        self, fingerprint: Mapping[str, Any], written: frozenset[str], *, look_for_gone: bool
    ) -> list[str]:
        """Compare the named files and folders; those that are gone only where all else is the same."""
        recipe, before = self.recipe, _mapping(fingerprint.get("named"))
        if "*" in before:
            return [] if _all_of(recipe.named, "named") == before else ["the content of files that it names"]
        changed = [name for name, digest in recipe.named.items() if before.get(name, digest) != digest]
        gone = [name for name in before if name not in {*recipe.named, *recipe.not_paths}] if look_for_gone else []
        return [
            *(f"the content of {self._text_of(name)}" for name in changed if name not in written),
            *(f"{self._text_of(name)}, which is gone" for name in gone if name not in written),
        ]

    def named_states(self, fingerprint: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return (name, state, remark) of each named file and folder, compared with an earlier run's fingerprint."""
        before, written = _mapping(fingerprint.get("named")), set(map(str, _list(fingerprint.get("written"))))
        states = []
        for name, digest in self.recipe.named.items():
            if name in written:
                state, remark = "ignored", "the run itself wrote to it; what it read there is compared"
            elif "*" in before:
                state, remark = "not compared", "the run names too many to list"
            elif name not in before:
                state, remark = "not compared", "not there when the run began, or made by an earlier version"
            else:
                state, remark = "same" if before[name] == digest else "changed", ""
            states.append((self._text_of(name), state, remark))
        too_many = "it has too many files, or cannot be read"
        return states + [(name, "not compared", too_many) for name in self.recipe.uncompared]

    def _text_of(self, name: str) -> str:
        """A named file or folder in a message; the one that a parameter names with the parameter's value."""
        parameter = name.strip("{}")
        if name == named_of_parameter(parameter) and parameter in self.recipe.parameters:
            return f"{parameter}={_readable(_clipped(self.recipe.parameters[parameter][0]))}"
        return name


def run_image(fingerprint: Mapping[str, Any]) -> tuple[str, str]:
    """Return the image that a run was computed in, and the id that docker had for it; each may be empty.

    Args:
        fingerprint: The decoded `Identity.fingerprint` of the run.
    """
    image, digest = (*_list(fingerprint.get("image")), "", "")[:2]
    return str(image), str(digest)


def with_written(fingerprint: Mapping[str, Any], recipe: Recipe, written: Iterable[str]) -> str:
    """Return a run's fingerprint with the names of files and folders that the run itself has written to.

    They no longer count in the comparison with later requests: a notebook that is executed in place, or an output
    folder in the command, would make every run the first. What the run read of them is in its trace.

    Args:
        fingerprint: The decoded `Identity.fingerprint` from when the run began.
        recipe: The recipe of the run, computed at any time.
        written: Absolute paths of the files that it wrote.

    Returns:
        The text to be stored; empty when nothing is to be added.
    """
    paths = list(written)
    names = {name for name, path in recipe.named_paths.items() if _is_written(path, paths)}
    before = set(map(str, _list(fingerprint.get("written"))))
    if names <= before:
        return ""
    content = {**fingerprint, "written": sorted(before | names)}
    text = _json(content)
    if len(text) >= _MAX_TAG:
        text = _json({key: value for key, value in content.items() if key != "files"})
    return text if len(text) < _MAX_TAG else ""


def _is_written(named: str, written: Sequence[str]) -> bool:
    """Return whether one of the written files is a named file, lies in a named folder, or matches a pattern."""
    if is_pattern(named):
        return any(fnmatchcase(path, named) for path in written)
    places = {named, os.path.realpath(named)}
    below = tuple(os.path.join(place, "") for place in places)
    return any(path in places or path.startswith(below) for path in written)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _mapping(value: object) -> Mapping[str, Any]:
    """A part of a fingerprint, which comes from the store and may be anything."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _moves(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of names of a file that is the same under another name, as (old, new)."""
    added = {digest: name for name, digest in now.items() if name not in before}
    gone = {digest: name for name, digest in before.items() if name not in now}
    return sorted((gone[digest], added[digest]) for digest in gone if digest in added)


def _all_of(entries: Mapping[str, Any], key: str) -> dict[str, Any]:
    """One digest in place of entries that are too many for a tag."""
    digest = value_digest(dict(entries))
    return {"*": [digest, ""]} if key == "parameters" else {"*": digest}


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"sha256:{value_digest(text)}"


def _readable(value: str | None) -> str:
    if value is None:
        return "not given"
    return value[1:] if value[:1] in "#'=" else value[:19]
