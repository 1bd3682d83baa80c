"""What did a check find? Faults fail it, warnings do not, facts are for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Severity = Literal["fault", "warning", "fact"]


class Finding(NamedTuple):
    """One thing found; `about` is a stable name for programs, `text` one line for people."""

    severity: Severity
    about: str
    text: str


@dataclass
class Section:
    """The findings of one part of a check, with the figures that belong to them."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def fact(self, about: str, text: str) -> None:
        """Add something to know."""
        self.findings.append(Finding("fact", about, text))

    def warn(self, about: str, text: str) -> None:
        """Add something that may be a mistake."""
        self.findings.append(Finding("warning", about, text))

    def fault(self, about: str, text: str) -> None:
        """Add something that is wrong."""
        self.findings.append(Finding("fault", about, text))

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return any(finding.severity == "fault" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"name": self.name, **self.figures, "findings": [finding._asdict() for finding in self.findings]}


def as_json(path: str, sections: Iterable[Section]) -> dict[str, Any]:
    """Return what `check --json` prints: the path, whether all is well, and the sections."""
    listed = list(sections)
    return {
        "path": path,
        "ok": not any(section.failed for section in listed),
        "sections": [section.as_dict() for section in listed],
    }
