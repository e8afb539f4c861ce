"""Compute the identity of a run: runs with the same identity have the same result.

The identity consists of project, phase, command, the parameters that change the result, code, the files and folders
that command and parameters name, and the digest of each input.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.project.own_code import is_below
from mlflow_plugin.project.recipe import Recipe, named_of_parameter, recipe_of

__all__ = ["Identity", "Recipe", "recipe_of", "with_written"]

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
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            if len(text) < _MAX_TAG:
                break
        return text

    def differences(self, fingerprint: Mapping[str, Any], *, inputs: bool = True) -> list[str]:
        """Describe how this identity differs from an earlier run's fingerprint.

        A named file or folder that the earlier run wrote to (`with_written`), or that was not there when it began, is
        no difference: it is mostly that run's output, and what the run read there is in its trace. Runs of the first
        version kept no named folders; their named files counted as code.

        Args:
            fingerprint: The decoded `fingerprint()` of the earlier run. A parameter that it lacks counts as the
                declared default.
            inputs: Compare the inputs too.

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
            differences += self._parameter_differences(old, written)
        if fingerprint.get("command") != _clipped(recipe.command):
            differences.append("the command")
        differences += self._code_differences(fingerprint)
        differences += self._image_differences(_list(fingerprint.get("image")))
        differences += self._named_differences(fingerprint, written, look_for_gone=not differences)
        if inputs:
            before = _mapping(fingerprint.get("inputs"))
            changed = [need for need, digest in self.inputs.items() if before.get(need) != digest]
            differences += [f"the output of {need}" for need in changed]
            differences += [f"{need}, which is no longer needed" for need in before if need not in self.inputs]
        return differences

    def _parameter_differences(self, old: Mapping[str, Sequence[str]], written: frozenset[str]) -> list[str]:
        differences = []
        for name, (value, use) in self.recipe.parameters.items():
            old_value, old_use = old.get(name, (self.recipe.defaults[name], use))
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

    def _image_differences(self, before: Sequence[Any]) -> list[str]:
        recipe = self.recipe
        image, digest = (*before, "", "")[:2]
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

    def _text_of(self, name: str) -> str:
        """A named file or folder in a message; the one that a parameter names with the parameter's value."""
        parameter = name.strip("{}")
        if name == named_of_parameter(parameter) and parameter in self.recipe.parameters:
            return f"{parameter}={_readable(_clipped(self.recipe.parameters[parameter][0]))}"
        return name


def with_written(fingerprint: str, recipe: Recipe, written: Iterable[str]) -> str:
    """Return a run's fingerprint with the names of files and folders that the run itself has written to.

    They no longer count in the comparison with later requests: a notebook that is executed in place, or an output
    folder in the command, would make every run the first. What the run read of them is in its trace.

    Args:
        fingerprint: The text of `Identity.fingerprint` from when the run began.
        recipe: The recipe of the run.
        written: Absolute paths of the files that it wrote.
    """
    content = json.loads(fingerprint)
    paths = list(written)
    names = {name for name, path in recipe.named_paths.items() if any(is_below(one, path) for one in paths)}
    content["written"] = sorted({*content.get("written", ()), *names})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text if names and len(text) < _MAX_TAG else fingerprint


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
