"""DVC: stages with `deps`, `params` and `outs`, as in its Get Started; scripts read their values from params.yaml."""

import shutil
import subprocess
from pathlib import Path

import yaml

from benchmarks.change_rows.row import Row
from benchmarks.peer_projects.base import Case, PeerTool, script

MAIN = """from pathlib import Path

from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml")) or {{}}
needed = {{name: Path(name + ".txt").read_text() for name in {needs}}}
given = {{name: params[name] for name in {arguments} if name in params}}
Path("{name}.txt").write_text(str({name}(**needed, **given)))"""


class Dvc(PeerTool):
    name = "dvc"

    def __init__(self, template: Path) -> None:
        self.template = template

    def lay(self, case: Case) -> None:
        if not (case.project / ".dvc").exists():
            shutil.copytree(self.empty(case), case.project, dirs_exist_ok=True)
        stages = {}
        for phase in case.row.phases:
            deps = [f"{need}.txt" for need in phase.needs]
            if not phase.command:
                main = MAIN.format(name=phase.name, needs=phase.needs, arguments=phase.arguments)
                case.write(phase.script, script(case, phase, main))
                deps.append(phase.script)
            if phase is case.row.last:
                deps += dict.fromkeys([*case.named(*case.row.scripts), *case.data])
            stages[phase.name] = {
                "cmd": case.command(phase, "${NAME}") or f"python {phase.script}",
                "deps": deps,
                "params": [name for name in case.parameters(phase) if name not in case.row.ignore],
                "outs": [f"{phase.name}.txt"],
            }
        case.write("dvc.yaml", yaml.safe_dump({"stages": stages}))
        case.write("params.yaml", parameters_file(case))

    def empty(self, case: Case) -> Path:
        """An empty repository, made once."""
        if not self.template.exists():
            made = self.template.with_suffix(".new")
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
            for words in ("git init --quiet", "dvc init --quiet", "dvc config core.check_update false"):
                subprocess.run(words.split(), cwd=made, env=case.variables | self.variables(case), check=True)
            made.rename(self.template)
        return self.template

    def ask(self, case: Case, phase: str) -> str:
        case.write("params.yaml", parameters_file(case))
        return f"dvc repro {phase}".strip()

    def variables(self, case: Case) -> dict[str, str]:
        return {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(case.home / "site-cache")}

    def unable(self, row: Row) -> str:
        return (
            "one workspace holds one set of parameters, so two runs at once need two checkouts" if row.threads else ""
        )

    def tellable(self, row: Row) -> bool:
        return bool(row.reads) and row.number != "15a"

    def needed(self, row: Row) -> str:
        if row.reads_variables:
            return "nothing that a stage can hold: the variable would have to move into `params.yaml`"
        if row.number == "15a":
            return "nothing: a file under `deps` has to exist"
        return "the file, under `deps`" if row.reads else ""


def parameters_file(case: Case) -> str:
    """A YAML file with the values: text is quoted, since YAML would make a number of it."""
    lines = []
    for name, parameter in case.row.parameters.items():
        value = case.fill(case.values[name])
        lines.append(f"{name}: {value if parameter.type in ('float', 'integer', 'boolean') else repr(value)}\n")
    return "".join(lines) or "{}\n"
