"""Write NOTICE: every package that featherbone's extras bring, with its licence; or check that it is up to date.

Packages are followed from ``pyproject.toml`` through what is installed here. A package whose metadata does not say its
licence is looked up in ``CHECKED``, which a person has filled in from the licence file of the package; one that is
found in neither place is an error. ``just notice`` installs every extra first; with ``--check`` those that are not
installed are left alone.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
HEAD = """featherbone, licensed under the Apache License 2.0 (LICENSE).

featherbone contains none of the packages below; pip installs them with it, from their own authors, under their own
licences. Versions are those that featherbone is tested with, on Linux x86-64. "Carries" names libraries inside a wheel
whose licence is not the package's. Written by "just notice".

The extra "video" is not part of "all": the wheel of PyAV (av) carries libx264 and libx265, which are licensed under
GPL-2.0-or-later, while its metadata says BSD. Whoever passes on a program together with that wheel has to follow the
GPL. On Linux torch needs NVIDIA's packages, which are proprietary; torch for processors alone
(https://download.pytorch.org/whl/cpu) does without.
"""
# what metadata says, as SPDX names it; words that stand for several licences, such as "BSD", are missing on purpose
SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "3-Clause BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    **{
        name: name
        for name in ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MPL-2.0", "MPL-2.0 AND MIT", "PSF-2.0")
    },
}
# read in the licence file of the package, since its metadata does not name one licence
CHECKED = {
    "amdsmi": "MIT",
    "antlr4-python3-runtime": "BSD-3-Clause",  # no file: said at the head of its modules
    "contourpy": "BSD-3-Clause",
    "coremltools": "BSD-3-Clause",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # no file: it only asks for NVIDIA's other packages
    "cycler": "BSD-3-Clause",
    "faster-coco-eval": "Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "kiwisolver": "BSD-3-Clause",
    "matplotlib": "LicenseRef-Matplotlib",  # like PSF-2.0; the classifier says PSF itself
    "mpmath": "BSD-3-Clause",
    "nvidia-ml-py": "BSD-3-Clause",  # no file: said at the head of its module
    "omegaconf": "BSD-3-Clause",
    "parameterized": "BSD-2-Clause",
    "pyaml": "WTFPL",
    "pytorch-tokenizers": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "sympy": "BSD-3-Clause",
    "tiktoken": "MIT",
    "torchao": "BSD-3-Clause",
    "torchvision": "BSD-3-Clause",
}
# libraries that wheels bring along, by the beginning of the file's name
CARRIED = {
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libquadmath": "LGPL-2.1-or-later",
}


def licence(package: Distribution) -> str:
    """Return the SPDX expression of a package's licence; "" if it is not known."""
    name, said = canonicalize_name(package.metadata["Name"]), package.metadata
    if name in CHECKED:
        return CHECKED[name]
    if expression := said.get_all("License-Expression", []):
        return str(expression[0])
    classifiers = [one.split(" :: ")[-1] for one in said.get_all("Classifier", []) if one.startswith("License")]
    words = [*said.get_all("License", []), *classifiers]
    return next((SPDX[word] for word in words if word in SPDX), "")


def carried(package: Distribution) -> list[str]:
    """Return the libraries inside a wheel that have a licence of their own."""
    files = {file.name for file in package.files or [] if ".so" in file.suffixes}
    return [f"{name} ({spdx})" for name, spdx in CARRIED.items() if any(file.startswith(name) for file in files)]


def required(requirements: list[str], extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the packages, and their extras, that requirements ask for on this machine."""
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def brought(project: dict[str, list[str]], extra: str) -> tuple[set[str], set[str]]:
    """Return the packages that an extra ("" for none) brings, and those of them that are not installed."""
    seen: set[tuple[str, frozenset[str]]] = set()
    missing: set[str] = set()
    left = list(required(project[extra]))
    while left:
        one = left.pop()
        name, extras = one
        if one in seen:
            continue
        seen.add(one)
        if name == "featherbone":
            left += [found for inner in extras for found in required(project[inner])]
            continue
        try:
            left += required(distribution(name).requires or [], extras)
        except PackageNotFoundError:
            missing.add(name)
    return {name for name, _ in seen} - {"featherbone"}, missing


def lines(pyproject: dict[str, object]) -> tuple[dict[str, str], set[str]]:
    """Return a line for every package that is installed, and the names of those that are not.

    Raises:
        SystemExit: if the licence of one is not known.
    """
    project: dict[str, list[str]] = {"": pyproject["dependencies"], **pyproject["optional-dependencies"]}  # type: ignore[dict-item]
    extras: dict[str, list[str]] = {}
    missing: set[str] = set()
    for extra in project:
        if extra != "all":
            names, absent = brought(project, extra)
            missing |= absent
            for name in names:
                extras.setdefault(name, []).append(extra)
    found: dict[str, str] = {}
    unknown = []
    for name, wanted in sorted(extras.items()):
        if name in missing:
            continue
        package = distribution(name)
        spdx = licence(package)
        if not spdx:
            unknown.append(name)
        inside = f"; carries {', '.join(carried(package))}" if carried(package) else ""
        by = "always" if "" in wanted else ", ".join(wanted)
        found[name] = f"{name} {package.version}: {spdx}{inside} [{by}]"
    if unknown:
        raise SystemExit(f"licence not known: {', '.join(unknown)}; read it in the package and add it to CHECKED")
    return found, missing


def main() -> None:
    """Write the file, or compare it.

    Raises:
        SystemExit: if a package is missing, its licence is not known, or the file is not up to date.
    """
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found, missing = lines(pyproject["project"])
    path = ROOT / "NOTICE"
    if "--check" not in sys.argv:
        if missing:
            raise SystemExit(
                f"not installed: {', '.join(sorted(missing))}; run it with all extras, as 'just notice' does"
            )
        path.write_text(HEAD + "\n" + "".join(f"{line}\n" for line in found.values()))
        print(f"{path}: {len(found)} packages")
        return
    written = {line.split()[0]: line for line in path.read_text().removeprefix(HEAD).splitlines() if line}
    pins = {pin.split(" ;")[0] for pin in pyproject["tool"]["uv"]["constraint-dependencies"]}
    stale = [f"{name} is not in it" for name in sorted({*found, *missing} - written.keys())]
    stale += [f"{line}: not the tested version" for line in written.values() if "==".join(named(line)) not in pins]
    # nothing is known here of another version; and not every extra may be installed
    stale += [line for name, line in found.items() if name in written and not agrees(line, written[name])]
    if stale or not path.read_text().startswith(HEAD):
        raise SystemExit("\n".join(("NOTICE is not up to date (just notice)", *stale)))


def named(line: str) -> list[str]:
    """Return the name and the version of a line's package."""
    return line.partition(":")[0].split()


def agrees(line: str, written: str) -> bool:
    """Return whether a line says nothing else than the written one, or is of another version."""
    (own, _, extras), (theirs, _, known) = line.partition(" ["), written.partition(" [")
    same = own == theirs and set(extras.rstrip("]").split(", ")) <= set(known.rstrip("]").split(", "))
    return same or named(line) != named(written)


if __name__ == "__main__":
    main()
