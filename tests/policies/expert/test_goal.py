import pytest

from alfworld_sft.errors import PolicyError
from alfworld_sft.policies.expert.goal import Goal, read_goal


@pytest.mark.parametrize(
    ("task", "goal"),
    [
        ("put a mug in desk.", Goal("mug", "desk")),
        ("put some vase on safe.", Goal("vase", "safe")),
        ("put a clean mug in desk.", Goal("mug", "desk", "clean")),
        ("clean some plate and put it in fridge.", Goal("plate", "fridge", "clean")),
        ("put a hot tomato in fridge.", Goal("tomato", "fridge", "heat")),
        ("heat some egg and put it in garbagecan.", Goal("egg", "garbagecan", "heat")),
        ("put a cool pan in stoveburner.", Goal("pan", "stoveburner", "cool")),
        ("cool some cup and put it in microwave.", Goal("cup", "microwave", "cool")),
        ("put two cd in safe.", Goal("cd", "safe", count=2)),
        ("find two pen and put them in dresser.", Goal("pen", "dresser", count=2)),
        ("look at bowl under the desklamp.", Goal("bowl", lamp="desklamp")),
        ("examine the pillow with the desklamp.", Goal("pillow", lamp="desklamp")),
    ],
)
def test_each_of_alfworlds_sentences_is_understood(task, goal):
    assert read_goal(task) == goal


def test_a_task_that_is_none_of_alfworlds_is_refused_with_its_words():
    with pytest.raises(PolicyError, match=r"does not understand the task 'wash the car\.'"):
        read_goal("wash the car.")
