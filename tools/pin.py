"""Write the newest versions of every package, direct or not, into pyproject.toml as constraints.

``uv run`` resolves anew on every machine, since a lock file would name the registry that it was made with; the
constraints make every resolution the same. Versions that only some Python or platform gets keep their marker.
"""

import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def output_of(*command: str, folder: Path, given: str = "") -> list[str]:
    """Return the lines ``name==version ; marker`` that a command prints."""
    done = subprocess.run(command, cwd=folder, input=given, check=True, capture_output=True, text=True)
    return sorted(line.strip() for line in done.stdout.splitlines() if "==" in line)


def filled(pyproject: str, setting: str, pins: list[str]) -> str:
    """Return pyproject.toml with the list of a setting replaced."""
    lines = "".join(f"    {pin!r},\n" if '"' in pin else f'    "{pin}",\n' for pin in pins)
    block = re.compile(rf"^({setting} = \[\n).*?^\]", re.DOTALL | re.MULTILINE)
    return block.sub(lambda found: f"{found.group(1)}{lines}]", pyproject)


def main() -> None:
    """Rewrite both lists."""
    path = ROOT / "pyproject.toml"
    pyproject = path.read_text()
    backend = tomllib.loads(pyproject)["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in ("README.md", "LICENSE", "NOTICE"):
            (copy / file).touch()
        # resolved without the present pins
        (copy / "pyproject.toml").write_text(filled(pyproject, "constraint-dependencies", []))
        everything = (
            "--all-extras",
            "--all-groups",
            "--no-hashes",
            "--no-emit-project",
            "--no-annotate",
            "--no-header",
        )
        pins = output_of("uv", "export", *everything, folder=copy)
        compiled = ("--universal", "--no-annotate", "--no-header", "--no-config")
        build = output_of("uv", "pip", "compile", "-", *compiled, folder=copy, given="\n".join(backend))
    pyproject = filled(pyproject, "constraint-dependencies", pins)
    path.write_text(filled(pyproject, "build-constraint-dependencies", build))
    print(f"{len(pins)} versions pinned, and {len(build)} of the build backend")


if __name__ == "__main__":
    main()
