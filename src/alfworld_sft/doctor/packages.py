"""Are the packages there, in versions that work, and in those that the project is tested with?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from alfworld_sft.counts import counted
from alfworld_sft.doctor.line import Line, fine, fix, note

DISTRIBUTION = "alfworld-sft"
CONSTRAINTS = (Path(__file__).with_name("constraints.txt"), Path(__file__).parents[3] / "constraints.txt")
"""Where the tested versions are: inside the wheel, or at the top of a checkout."""
USES = {"train": "training", "ray": "--ray", "play": "completion in play"}
"""The extras that are looked at, and what each is for."""


def judge_packages(
    requirements: Iterable[str], installed: Mapping[str, str], tested: Mapping[str, str]
) -> Iterator[Line]:
    """Yield a line for the package itself and for each extra, and one for versions other than the tested ones.

    `requirements` are in the form of package metadata, `installed` and `tested` are versions by canonical name.
    """
    parsed = [Requirement(text) for text in requirements]
    used: set[str] = set()
    for extra in ("", *USES):
        wanted = [r for r in parsed if _applies(r, extra)]
        used |= {canonicalize_name(r.name) for r in wanted}
        if wanted:
            yield _judge_group(extra, wanted, installed)
    other = [
        f"{name} {installed[name]} (tested: {tested[name]})"
        for name in sorted(used & installed.keys() & tested.keys())
        if installed[name].partition("+")[0] != tested[name]
    ]
    if other:
        advice = "if something fails, install the tested versions: pip install -c constraints.txt 'alfworld-sft[…]'"
        yield note("versions", ", ".join(other), advice)
    elif tested:
        yield fine("versions", "those that this release is tested with")


def _judge_group(extra: str, wanted: list[Requirement], installed: Mapping[str, str]) -> Line:
    thing = f"packages of [{extra}]" if extra else "packages"
    name = f"'{DISTRIBUTION}[{extra}]'" if extra else DISTRIBUTION
    missing = [r.name for r in wanted if canonicalize_name(r.name) not in installed]
    wrong = [
        f"{r.name} {found}, not {r.specifier}"
        for r in wanted
        if (found := installed.get(canonicalize_name(r.name))) and not r.specifier.contains(found, prereleases=True)
    ]
    if wrong:
        return fix(thing, "; ".join(wrong), f"pip install --upgrade {name}")
    if missing and extra:
        return note(thing, f"{', '.join(missing)} not installed", f"for {USES[extra]}: pip install {name}")
    if missing:
        return fix(thing, f"{', '.join(missing)} not installed", f"pip install {name}")
    return fine(thing, counted(len(wanted), "package"))


def installed_requirements() -> list[str]:
    """Return what this package's metadata requires, with its extras; nothing where it runs without being installed."""
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def installed_versions() -> dict[str, str]:
    """Return the versions of all installed packages by canonical name."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            found.setdefault(canonicalize_name(name), distribution.version)
    return found


def pinned_versions() -> dict[str, str]:
    """Return the versions that this release is tested with, by canonical name."""
    for path in CONSTRAINTS:
        if path.is_file():
            lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
            pairs = (line.split("==", 1) for line in lines if "==" in line)
            return {str(canonicalize_name(name)): pinned for name, pinned in pairs}
    return {}


def _applies(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement belongs to this extra and no other ("": to the package itself)."""
    if requirement.marker is None:
        return not extra
    alone = requirement.marker.evaluate({"extra": ""})
    return alone if not extra else not alone and requirement.marker.evaluate({"extra": extra})
