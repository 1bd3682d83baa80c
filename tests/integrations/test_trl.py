"""TRL's GRPOTrainer plays our games: what the model samples is what it learns from."""

import asyncio
import json
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the extra trl is not installed")
pytest.importorskip("trl", reason="the extra trl is not installed")

from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen2_5_chat_template

from alfworld_sft.errors import GamesNotFoundError, TemplateError, UserError
from alfworld_sft.games import find_games
from alfworld_sft.integrations.trl import Games, first_messages, progress_of, progress_reward, success_reward
from alfworld_sft.policies.llm.local import LocalModel
from alfworld_sft.prompts.tags import compose_reply
from alfworld_sft.prompts.template import load_template
from alfworld_sft.world.observations import opening_look
from alfworld_sft.world.plan import shortest_plan
from tests.train.helpers_data import tiny_model, tiny_tokenizer, with_template
from tests.train.templates import QWEN3

EASY = ["pick_and_place_simple"]
MAX_STEPS = 6


def games(**options):
    """Easy games in few steps."""
    return Games("embedded", "valid_seen", EASY, **{"max_steps": MAX_STEPS, "max_tokens": 96, **options})


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """One thread, and no word of TRL's that its interfaces are experimental."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def grpo(folder, **options):
    """The config of two short steps, with groups of two."""
    return GRPOConfig(
        str(folder), max_steps=2, per_device_train_batch_size=4, num_generations=2, report_to="none", use_cpu=True,
        bf16=False, learning_rate=1e-2, save_strategy="no", disable_tqdm=True, logging_steps=1,
        **{"max_completion_length": 4096, **options},
    )  # fmt: skip


@pytest.fixture
def spelt(monkeypatch):
    """Models say what a test wants, in pieces of three letters: tokens that no tokenizer would make of the text.

    Every other episode of a batch follows the shortest plan; the others say nothing of use.
    """
    said = SimpleNamespace(seeds=[], replies=[])
    loaded = [ref.load() for ref in find_games("embedded", "valid_seen")]
    plans = {(game.task, opening_look(game)): list(shortest_plan(game)) for game in loaded if game.task_type in EASY}
    numbers = {}

    def reply(turn, tokenizer):
        number = numbers.setdefault(turn.player, len(numbers))
        view = turn.prompt.view
        opening = view.history[0].observation if view.step else view.observation
        command = "dance" if number % 2 else plans[view.task, opening][view.step]
        text = compose_reply(("think", "action"), {"think": "", "action": command})
        pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
        return [token for piece in pieces for token in tokenizer(piece, split_special_tokens=True)["input_ids"]]

    def pick(self, logits, turns):
        for turn in turns:
            if not turn.said:
                said.seeds.append(turn.prompt.seed)
                said.replies.append(reply(turn, self.encoder.tokenizer))
                turn.script = iter(said.replies[-1])
            turn.said.append(next(turn.script))
            turn.logprobs.append(0.0)
        return torch.tensor([turn.said[-1] for turn in turns])

    monkeypatch.setattr(LocalModel, "_pick", pick)
    return said


def trainer_of(folder, played, tokenizer, peft=None, rollout=None, **options):
    """A trainer of a random model on two games."""
    return GRPOTrainer(
        tiny_model(tokenizer), success_reward, grpo(folder, **options), played.dataset(2), processing_class=tokenizer,
        rollout_func=rollout or played.rollout, peft_config=peft,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("template", "peft"),
    [(None, None), (QWEN3, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))],
    ids=["all weights", "LoRA, and a template that forgets thoughts"],
)
def test_two_steps_of_training_learn_from_exactly_what_was_sampled(spelt, tmp_path, template, peft):
    tokenizer, played, outputs = with_template(template) if template else tiny_tokenizer(), games(), []

    def rollout(prompts, trainer):
        outputs.append(played.rollout(prompts, trainer) | {"prompts": prompts})
        assert trainer.model.training
        return {key: value for key, value in outputs[-1].items() if key != "prompts"}

    trainer = trainer_of(tmp_path, played, tokenizer, peft, rollout)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    assert trainer.train().global_step == 2
    changed = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed
    assert all(("lora_" in name) is bool(peft) for name in changed)
    for log in trainer.state.log_history[:2]:
        assert (log["rewards/success_reward/mean"], log["completions/clipped_ratio"]) == (0.5, 0)

    sampled = []
    for output in outputs:
        named = [prompt[-1]["game"] for prompt in output["prompts"]]
        assert named[0::2] == named[1::2]
        assert named[0] != named[2]
        assert (output["won"], output["progress"]) == ([True, False] * 2, [1.0, 0.0] * 2)
        assert output["steps"][1::2] == output["invalid_replies"][1::2] == [MAX_STEPS] * 2
        assert output["invalid_replies"][0::2] == [0, 0]
        for prompt, ids, said, mask in zip(
            *(output[name] for name in ("prompts", "prompt_ids", "completion_ids", "env_mask")), strict=True
        ):
            assert prompt[-1]["content"] in tokenizer.decode(ids)
            sampled += [token for token, own in zip(said, mask, strict=True) if own]
            given = tokenizer.decode([token for token, own in zip(said, mask, strict=True) if not own])
            *turns, end = given.split("<|im_start|>assistant\n")
            assert end == "<|im_end|>"
            assert all(turn.startswith("<|im_end|>\n<|im_start|>user\n") for turn in turns)
    assert sorted(sampled) == sorted(token for reply in spelt.replies for token in reply)
    assert len(set(spelt.seeds)) == len(spelt.seeds)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_tokens_that_are_learned(tmp_path, temperature):
    played = games(max_steps=3, max_tokens=24)
    trainer = trainer_of(tmp_path, played, tiny_tokenizer(), temperature=temperature, max_completion_length=None)
    output = played.rollout(played.dataset(3)["prompt"][:], trainer)
    for prompt, said, mask, logprobs in zip(
        *(output[name] for name in ("prompt_ids", "completion_ids", "env_mask", "logprobs")), strict=True
    ):
        with torch.no_grad():
            logits = trainer.model(torch.tensor([prompt + said])).logits[0, len(prompt) - 1 : -1] / temperature
        again = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0] * torch.tensor(mask)
        assert sum(mask) > 3
        assert logprobs == pytest.approx(again.tolist(), abs=1e-4)


def test_an_episode_that_fills_the_completion_ends_there_and_is_lost(spelt, tmp_path, caplog):
    played = games()
    trainer = trainer_of(tmp_path, played, tiny_tokenizer(), max_completion_length=250)
    with caplog.at_level("WARNING", "alfworld_sft"):
        output = played.rollout(played.dataset(2)["prompt"][:], trainer)
    assert output["won"] == [False, False]
    assert all(0 < steps < MAX_STEPS for steps in output["steps"])
    assert all(len(ids) <= 250 and ids[-1] not in trainer.eos_token_ids for ids in output["completion_ids"])
    [warning] = caplog.messages
    assert warning.startswith("2 of 2 episodes were cut and count as lost: after ")


def test_a_rollout_plays_inside_a_running_loop_as_in_a_notebook(tmp_path):
    played = games(max_steps=1, max_tokens=4)
    trainer = trainer_of(tmp_path, played, tiny_tokenizer())

    async def cell():
        return played.rollout(played.dataset(1)["prompt"][:], trainer)

    assert asyncio.run(cell())["steps"] == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_completion_length": 96}, "max_completion_length=96 must hold a complete episode, and here not even"),
        ({"top_k": 20}, "top_k=20 has no effect on Games.rollout; leave it out"),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            "chat_template_kwargs={'enable_thinking': False} has no",
        ),
    ],
)
def test_options_of_the_trainer_without_effect_are_refused(tmp_path, options, message):
    played = games()
    trainer = trainer_of(tmp_path, played, tiny_tokenizer(), **options)
    with pytest.raises(UserError) as caught:
        played.rollout(played.dataset(1)["prompt"][:], trainer)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("Play!", "a prompt's last message names no game; make the dataset with Games.dataset"),
        ([{"role": "user", "content": "Play!"}], "a prompt's last message names no game"),
        ([{"role": "user", "content": "Play!", "game": 9999}], "no game 9999 among "),
        ([{"role": "user", "content": "Play!", "game": "pick"}], "no game 'pick' among "),
        ([{"role": "user", "content": "Play!", "game": 0, "split": "test"}], "unknown split 'test'"),
    ],
)
def test_a_prompt_must_name_a_game(tmp_path, prompt, message):
    played = games()
    with pytest.raises(UserError) as caught:
        played.rollout([prompt], trainer_of(tmp_path, played, tiny_tokenizer()))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_games_that_cannot_be_played_are_refused(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('extends = "default"\ntags = ["think"]\n')
    with pytest.raises(TemplateError, match=r"'tags' must list some of .*, with action"):
        games(template=str(own))
    with pytest.raises(GamesNotFoundError):
        Games(tmp_path)
    with pytest.raises(UserError, match=r"^max_steps must be at least 1, not 0$"):
        games(max_steps=0)
    with pytest.raises(UserError, match=r"^generated games have no end; say how many with num_games$"):
        Games("generate").dataset()
    with pytest.raises(UserError, match=r"^num_games=9999: there are \d+ games"):
        games().dataset(9999)


def test_a_dataset_names_games_by_id_and_shows_what_is_asked_first():
    rows = games(template="react").dataset(3, seed=1)
    found = {ref.id: ref for ref in find_games("embedded", "valid_seen")}
    assert len({row["prompt"][-1]["game"] for row in rows}) == 3
    for row in rows:
        *before, last = row["prompt"]
        game = found[last["game"]].load()
        assert (last["split"], row["task_type"]) == ("valid_seen", game.task_type)
        asked = first_messages(game, load_template("react"))
        assert [{"role": m["role"], "content": m["content"]} for m in (*before, last)] == asked
    assert rows.to_list() == games(template="react").dataset(3, seed=1).to_list()
    assert rows.to_list() != games(template="react").dataset(3, seed=2).to_list()


def test_generated_games_and_another_split_can_be_named():
    first, again, other = (Games("generate", games_seed=3).dataset(2, seed=seed) for seed in (0, 0, 1))
    numbers, same, others = ([row["prompt"][-1]["game"] for row in made] for made in (first, again, other))
    assert numbers == same
    assert set(numbers).isdisjoint(others)
    assert games().dataset(1, split="train")[0]["prompt"][-1]["split"] == "train"


def test_progress_is_the_share_of_the_shortest_plan_that_is_done():
    game = find_games("embedded", "valid_seen").refs[0].load()
    plan = list(shortest_plan(game))
    assert progress_of(game, []) == 0.0
    assert progress_of(game, plan[:2]) == pytest.approx(2 / len(plan))
    assert progress_of(game, plan) == 1.0
    assert progress_reward(progress=[0.25], won=[False], completions=[""]) == [0.25]


def tool_call(command):
    """What a Qwen model writes to call the tool."""
    call = json.dumps({"name": "act", "arguments": {"command": command}})
    return f"<tool_call>\n{call}\n</tool_call><|im_end|>"


def test_a_tool_plays_a_game_and_answers_after_its_end():
    played = games()
    tool = played.environment()
    with pytest.raises(RuntimeError, match="call reset"):
        tool.act("look")
    [row] = played.tool_dataset(1)
    game = played._game_of(row["prompt"])
    opening = tool.reset(**row)
    assert game.task in opening
    assert "Admissible commands: " in opening
    assert tool.get_reward() == 0.0
    answers = [tool.act(command) for command in shortest_plan(game)]
    assert answers[-1].endswith("You have won the game. Do not call act again.")
    assert tool.act("look") == "The game is over, and it was won. Do not call act again."
    assert tool.get_reward() == 1.0
    tool.reset(**row)
    lost = [tool.act("dance") for _ in range(MAX_STEPS + 1)]
    assert lost[-2].startswith("Nothing happens.")
    assert lost[-1] == "The game is over, and it was lost. Do not call act again."
    assert tool.get_reward() == 0.0
    with pytest.raises(UserError, match=r"^a command is text, not NoneType$"):
        tool.act(None)


def test_two_steps_of_training_with_the_tool(tmp_path, monkeypatch):
    played, tokenizer = games(), with_template(qwen2_5_chat_template)
    trainer = GRPOTrainer(
        tiny_model(tokenizer), args=grpo(tmp_path), train_dataset=played.tool_dataset(2), processing_class=tokenizer,
        environment_factory=played.environment,
    )  # fmt: skip
    asked = []

    def generate(prompt_ids, *rest, **more):
        """Every other model follows the plan and says goodbye in the end; the others say so at once."""
        if len(prompt_ids) == len(trainer.environments):
            asked[:] = enumerate(trainer.environments)
        said = []
        for number, environment in asked.copy():
            plan = [] if number % 2 else shortest_plan(environment._env.game, environment._env.game_state)
            said.append(tool_call(plan[0]) if plan else "Goodbye.<|im_end|>")
            if not plan:
                asked.remove((number, environment))
        return [tokenizer(text)["input_ids"] for text in said], None

    monkeypatch.setattr(trainer, "_generate_single_turn", generate)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    assert trainer.train().global_step == 2
    assert any(not torch.equal(weight, before[name]) for name, weight in trainer.model.named_parameters())
    for log in trainer.state.log_history[:2]:
        assert log["rewards/AlfworldTool/mean"] == 0.5
        assert log["tools/failure_frequency"] == 0
        assert log["tools/call_frequency"] > 1
