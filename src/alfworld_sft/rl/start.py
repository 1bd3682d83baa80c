"""Which model does a run start from? A full one as it is; an adapter is merged first, into the run's folder.

So switching the new adapters off gives the model that the run started from, which is the reference of its KL
divergence, and `merge` and `evaluate` find the base of the run's own checkpoints.
"""

from __future__ import annotations

import logging
from pathlib import Path

from alfworld_sft.errors import UserError, file_errors
from alfworld_sft.files import sha256_of, whole_folder
from alfworld_sft.models.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_of_adapter, read_adapter_config
from alfworld_sft.models.merge import merge
from alfworld_sft.models.stamp import CheckpointError
from alfworld_sft.rl.config import RLConfig
from alfworld_sft.train.distributed import Ranks
from alfworld_sft.train.folder import START

logger = logging.getLogger(__name__)

SOURCE = "adapter.sha256"
"""The hash of the adapter that a folder was merged from, in that folder."""


def with_full_model(config: RLConfig, ranks: Ranks, *, resumes: bool) -> RLConfig:
    """Return the config with a full model as its start; every process must call this.

    An adapter is merged once: a run that resumes uses what it merged before. Raises UserError, also if that was of
    another adapter.
    """
    given = Path(config.model.partial_pretrain).expanduser()
    if not (given / ADAPTER_CONFIG).is_file():
        return config
    merged = config.local_dir / START
    problem: UserError | None = None
    if ranks.first:
        try:
            _merge_once(given, merged, resumes=resumes)
        except UserError as error:
            problem = error
    problem = ranks.share(problem)
    if problem:
        raise problem
    return config.model_copy(update={"model": config.model.model_copy(update={"partial_pretrain": str(merged)})})


def _merge_once(adapter: Path, merged: Path, *, resumes: bool) -> None:
    source = merged / SOURCE
    read_adapter_config(adapter)
    digest = sha256_of(adapter / ADAPTER_WEIGHTS)
    if resumes and source.is_file():
        if source.read_text(encoding="utf-8") != digest:
            raise CheckpointError(
                f"{merged.parent} was started from another adapter than {adapter}; name that one, or another"
                " trainer.default_local_dir"
            )
        return
    if merged.is_dir() and not source.is_file() and any(merged.iterdir()):
        raise UserError(f"{merged} is no model that rl has merged; move it, or name another trainer.default_local_dir")
    if Path(base_of_adapter(adapter)).resolve() == merged.resolve():
        raise UserError(
            f"{adapter} is an adapter of {merged}, which this run would replace; name another trainer.default_local_dir"
        )
    logger.info("merging the adapter %s into %s, from which the run starts", adapter, merged)
    with file_errors("write", merged, "make room or fix its permissions"), whole_folder(merged, replace=True) as folder:
        merge(adapter, folder)
        (folder / SOURCE).write_text(digest, encoding="utf-8")
