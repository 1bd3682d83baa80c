"""Which config keys does `import` have?"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from alfworld_sft.collect.config import DatasetSection, GamesSection
from alfworld_sft.config import Needs, Section
from alfworld_sft.runs.config import all_as_none


class ImportedPromptSection(Section):
    """How the conversations are written."""

    NEEDS: ClassVar[tuple[Needs, ...]] = (
        Needs(("history_length",), lambda prompt: prompt.template is not None, "prompt.template=default"),
    )

    template: str | None = Field(
        None,
        description="null: as they were recorded; or a template (default, add_wm1, add_wm2, compact, eto, … or a .toml"
        " file): play them again and write prompts and replies as that template has them.",
    )
    history_length: Annotated[int | None, BeforeValidator(all_as_none)] = Field(
        None, ge=0, description="With a template: past steps shown in a single-turn prompt; null or 'all' shows all."
    )


class ImportConfig(Section):
    """Everything that determines what an import makes of its files."""

    seed: int = Field(42, ge=0, description="Seed for the split into train and val.")
    games: GamesSection = GamesSection()
    prompt: ImportedPromptSection = ImportedPromptSection()
    dataset: DatasetSection = DatasetSection()
