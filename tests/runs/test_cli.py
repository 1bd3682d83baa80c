from pathlib import Path
from types import SimpleNamespace

import pytest

from alfworld_sft.runs.cli import warn_of_failures


@pytest.mark.parametrize(
    ("failed", "count_as_lost", "said"),
    [
        ({3: "no answer"}, False, "1 episode failed (episode 3: no answer); to play it: "),
        ({3: "no answer", 5: "x"}, False, "2 episodes failed (episode 3: no answer); to play them: "),
        ({3: "no answer"}, True, "1 episode failed and counts as lost (episode 3: no answer); to play it: "),
        ({3: "no answer", 5: "x"}, True, "2 episodes failed and count as lost (episode 3: no answer); to play them: "),
    ],
)
def test_failed_episodes_are_told_with_the_first_reason(failed, count_as_lost, said, caplog):
    run = SimpleNamespace(failed=failed, kind="collect", path=Path("run"))
    warn_of_failures(run, count_as_lost=count_as_lost)
    assert caplog.messages == [f"{said}alfworld-sft collect --resume run"]
