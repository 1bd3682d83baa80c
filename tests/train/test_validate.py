import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from alfworld_sft.models.loss_mask import TokenKind
from alfworld_sft.train.data.pack import Packed
from alfworld_sft.train.validate import ValidationSums, sum_batch, true_spans

T, A, P, R = TokenKind.THINK, TokenKind.ACTION, TokenKind.PREDICTION, TokenKind.OTHER_REPLY
WORDS = {1: "go", 2: " to", 3: " desk", 4: "take", 5: " mug", 9: ">take"}


def batch(kinds, labels, weights=None):
    n = len(kinds)
    return Packed(
        input_ids=torch.zeros(1, n, dtype=torch.long),
        position_ids=torch.arange(n)[None],
        labels=torch.tensor([labels]),
        weights=torch.tensor([weights or [1.0 if label >= 0 else 0.0 for label in labels]]),
        kinds=torch.tensor([[int(kind) for kind in kinds]], dtype=torch.uint8),
        cu_seqlens=torch.tensor([0, n], dtype=torch.int32),
        tokens=n,
        samples=(),
    )


def decode(ids):
    return "".join(WORDS.get(i, "") for i in ids)


def tally(kinds, labels, nll, correct, weights=None):
    return sum_batch(batch(kinds, labels, weights), torch.tensor(nll), torch.tensor(correct), decode)


def test_an_action_counts_only_when_all_of_it_is_right():
    kinds = [T, R, A, A, A, R, T, A, A, R]
    labels = [7, 7, 1, 2, 3, 7, 7, 4, 5, 7]
    right = [False, True, True, True, True, True, True, True, False, True]
    figures = tally(kinds, labels, [1.0] * 10, right).figures()
    assert figures["val/action_accuracy"] == 0.5
    assert (figures["val/action_accuracy_go"], figures["val/action_accuracy_take"]) == (1.0, 0.0)


def test_losses_are_split_by_kind_and_weighed_only_in_the_whole():
    figures = tally([T, P, A, R], [7, 7, 1, 7], [4.0, 2.0, 1.0, 1.0], [True] * 4, [1.0, 0.5, 1.0, 1.0]).figures()
    assert figures["val/loss"] == pytest.approx((4 + 1 + 1 + 1) / 3.5)
    assert (figures["val/loss_think"], figures["val/loss_prediction"], figures["val/loss_action"]) == (4.0, 2.0, 1.0)
    assert "val/loss_observation" not in figures


def test_tokens_without_loss_count_nowhere():
    figures = tally([A, R, A], [1, -100, 4], [5.0, 0.0, 1.0], [False, False, True], [0.0, 0.0, 1.0]).figures()
    assert figures == {
        "val/loss": 1.0,
        "val/loss_action": 1.0,
        "val/action_accuracy": 1.0,
        "val/action_accuracy_take": 1.0,
    }


def test_the_end_of_a_tag_in_the_first_token_does_not_hide_the_verb():
    assert tally([A, A], [9, 5], [1.0, 1.0], [True, True]).actions == {"take": 1}


def test_nothing_to_count_gives_no_figures():
    assert ValidationSums().figures() == {}


def test_processes_add_up():
    whole = ValidationSums()
    for correct in (True, False):
        whole.add(tally([A], [1], [2.0], [correct]))
    assert whole.figures()["val/action_accuracy"] == 0.5
    assert whole.figures()["val/loss"] == 2.0


def test_runs_are_found_at_both_ends():
    assert list(true_spans(torch.tensor([True, True, False, True]))) == [(0, 2), (3, 4)]
    assert list(true_spans(torch.tensor([False]))) == []
