from collections import Counter
from random import Random

import pytest

from alfworld_sft.policies.expert.prior import (
    BASE_RATE,
    NO_PRIOR,
    STRENGTH,
    Prior,
    SceneCounts,
    learned_counts,
    learned_prior,
)

COUNTS = {
    1: SceneCounts(Counter({"desk": 10, "shelf": 30}), {"mug": Counter({"desk": 6})}),
    2: SceneCounts(Counter({"desk": 10}), {"pen": Counter({"desk": 9})}),
}


def test_the_chance_is_counted_over_the_scenes_that_have_the_object():
    base = (6 + BASE_RATE) / (40 + 1)
    assert Prior(COUNTS).chance("mug", "desk") == pytest.approx((6 + STRENGTH * base) / (10 + STRENGTH))
    assert Prior(COUNTS).chance("mug", "shelf") == pytest.approx(STRENGTH * base / (30 + STRENGTH))


def test_a_class_of_place_that_was_never_seen_beside_the_object_counts_as_average():
    assert Prior(COUNTS).chance("mug", "bed") == pytest.approx((6 + BASE_RATE) / (40 + 1))


def test_without_counts_all_places_are_equal_and_none_is_impossible():
    assert NO_PRIOR.chance("mug", "desk") == NO_PRIOR.chance("pen", "bed") > 0
    assert not NO_PRIOR.known


def test_usual_contents_are_what_more_than_half_of_the_places_hold():
    assert Prior({2: COUNTS[2]}).usual_contents("desk") == ("pen",)
    assert Prior(COUNTS).usual_contents("desk") == ()


def test_a_games_own_scene_is_left_out():
    scene = next(iter(learned_counts()))
    without = learned_prior(scene)
    remaining = Prior({s: c for s, c in learned_counts().items() if s != scene})
    everything = learned_prior(None)
    classes = sorted(learned_counts()[scene].holding)
    assert [without.chance(o, "countertop") for o in classes] == [remaining.chance(o, "countertop") for o in classes]
    assert [without.chance(o, "countertop") for o in classes] != [everything.chance(o, "countertop") for o in classes]


def test_the_learned_prior_knows_where_things_are():
    prior = learned_prior(None)
    assert prior.chance("pillow", "bed") > 0.3
    assert prior.chance("pillow", "drawer") < 0.05
    assert prior.chance("egg", "fridge") > prior.chance("egg", "cabinet")


def test_contents_are_drawn_at_their_share_in_a_scene_that_has_the_other_thing():
    rng = Random(0)
    drawn = Counter(Prior(COUNTS).draw_contents("desk", "mug", rng) for _ in range(1000))
    assert set(drawn) == {("mug",), ()}, "scene 2 has no mug, so its pens are never drawn"
    assert drawn[("mug",)] == pytest.approx(600, abs=60)


def test_contents_are_drawn_from_any_scene_with_such_a_place_if_none_has_the_other_thing():
    drawn = {Prior(COUNTS).draw_contents("desk", "apple", Random(seed)) for seed in range(50)}
    assert drawn == {("mug",), ("pen",), ()}
    assert Prior(COUNTS).draw_contents("bed", "mug", Random(0)) == ()
    assert NO_PRIOR.draw_contents("desk", "mug", Random(0)) == ()
