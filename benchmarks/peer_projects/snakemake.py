"""Snakemake: rules with `input`, `output`, `params` and `script` or `shell`, as its tutorial has them."""

from benchmarks.change_rows.row import Row
from benchmarks.peer_projects.base import Case, PeerTool, script
from benchmarks.peer_projects.dvc import parameters_file

MAIN = """from pathlib import Path

given = {{**snakemake.config, **dict(snakemake.params.items())}}
given = {{name: given[name] for name in {arguments} if name in given}}
needed = {{name: Path(name + ".txt").read_text() for name in {needs}}}
Path(snakemake.output[0]).write_text(str({name}(**needed, **given)))"""


class Snakemake(PeerTool):
    name = "snakemake"

    def lay(self, case: Case) -> None:
        rules = ['configfile: "config.yaml"\n']
        for phase in reversed(case.row.phases):
            inputs = [repr(f"{need}.txt") for need in phase.needs]
            if phase is case.row.last:
                inputs += [listed(case, name) for name in dict.fromkeys([*case.named(*case.row.scripts), *case.data])]
            params = [f'{name}=config["{name}"]' for name in case.parameters(phase) if name not in case.row.ignore]
            params += [f'{name}=os.environ.get("{name}")' for name in case.told_variables]
            lines = [f"rule {phase.name}:", f"    output: {phase.name + '.txt'!r}"]
            lines += [f"    input: {', '.join(inputs)}"] if inputs else []
            lines += [f"    params: {', '.join(params)}"] if params else []
            if phase.command:
                text = case.command(phase, "\0NAME\1").replace("{", "{{").replace("}", "}}")
                text = text.replace("\0", "{config[").replace("\1", "]}")
                lines.append(f"    shell: {text!r}")
            else:
                main = MAIN.format(name=phase.name, needs=phase.needs, arguments=phase.arguments)
                case.write(phase.script, script(case, phase, main))
                lines.append(f"    script: {phase.script!r}")
            rules.append("\n".join(lines) + "\n")
        case.write("Snakefile", "import glob\nimport os\n\n" + "\n".join(rules))

    def ask(self, case: Case, phase: str) -> str:
        case.write("config.yaml", parameters_file(case))
        return f"snakemake -c1 {phase or case.row.last.name}.txt"

    def variables(self, case: Case) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(case.home / "cache")}

    def unable(self, row: Row) -> str:
        return "it locks its folder, so two runs at once need two" if row.threads else ""

    def needed(self, row: Row) -> str:
        if row.reads_variables:
            return "the variable's value, under `params`"
        return "the file, under `input`" if row.reads else ""


def listed(case: Case, name: str) -> str:
    """An input: a folder by the files in it, a missing file by a pattern."""
    if case.path(name).is_dir():
        named_by_command = case.row.number == "14"  # As in `input: "data"` and `python total.py {input}`.
        return repr(name) if named_by_command else f"sorted(glob.glob({name + '/**/*.*'!r}, recursive=True))"
    return repr(name) if case.path(name).exists() else f"glob.glob({name!r})"
