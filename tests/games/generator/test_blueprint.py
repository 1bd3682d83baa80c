import pytest

from alfworld_sft.games.generator.blueprint import Furniture, Point, Spot, Thing, file_bytes, game_of, pack, unpack
from alfworld_sft.games.generator.generate import generate_game
from alfworld_sft.world import parse_game


def test_ids_are_written_as_in_the_real_files():
    assert (
        Thing("CD", Point(36, 81, -217), (0,), 0).id
        == "CD_bar__plus_00_dot_36_bar__plus_00_dot_81_bar__minus_02_dot_17"
    )
    assert Spot(-4, 8, 3, 15).id == "loc_bar__minus_4_bar_8_bar_3_bar_15"
    assert Furniture("SinkBasin", Point(0, 5, 1234), 0, openable=False).id == (
        "Sink_bar__plus_00_dot_00_bar__plus_00_dot_05_bar__plus_12_dot_34_bar_SinkBasin"
    )


def test_packing_keeps_everything():
    blueprint = generate_game(1).blueprint
    assert unpack(pack(blueprint)) == blueprint


@pytest.mark.parametrize("line", ["[]", "3", '[1,2,3,4,5,[["a",[1],2,3]],[],[],0]', "{", "[1,2,3,4,5,6,7,8,9]"])
def test_what_is_no_blueprint_is_refused(line: str):
    with pytest.raises(ValueError):  # noqa: PT011 (JSON's own errors count, too)
        unpack(line)


@pytest.mark.parametrize("seed", range(40))
def test_a_blueprint_is_the_same_game_with_and_without_its_file(seed: int):
    made = generate_game(f"both/{seed}", endless=seed % 2 == 0)
    direct = game_of(made.blueprint, game_id=made.id, split="train", walkthrough=made.game.walkthrough)
    read = parse_game(file_bytes(made.blueprint, made.game.walkthrough or (), "p"), game_id=made.id, split="train")
    for field in ("task", "task_type", "scene", "variant", "objects", "receptacles", "locations", "initial", "goal"):
        assert getattr(direct, field) == getattr(read, field), field
    assert direct.walkthrough == read.walkthrough == made.game.walkthrough
