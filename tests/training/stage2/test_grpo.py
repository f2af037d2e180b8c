from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.config import Stage2Config
from core.errors import TrainingError
from memory.policy import ACTIONS, FEATURES, LearnedChooser, MemoryPolicy
from models.action_scorer import HeadScorer
from models.olmoe import OLMoEModel
from training.stage2_agemem.collect import Collector, TrainingStage
from training.stage2_agemem.credit import RULES, leave_one_out, return_to_go
from training.stage2_agemem.episodes import Episode, Path
from training.stage2_agemem.exploration import elliptical_bonus, projection
from training.stage2_agemem.grpo import StepBatch, StepwiseGRPO, kl_divergence
from training.stage2_agemem.rollouts import Job, RolloutSettings, Trajectory, run_jobs
from training.stage2_agemem.trainer import prepare_policy

QUIET = {"kl_coefficient": 0.0, "entropy_coefficient": 0.0}


def grpo_of(model: OLMoEModel, **settings: object) -> StepwiseGRPO:
    chosen = Stage2Config.model_validate({"head_width": 8, **settings})
    prepare_policy(model, chosen, seed=1)
    made = StepwiseGRPO(chosen)
    made.setup(HeadScorer(model))
    return made


def batch_of(made: StepwiseGRPO, advantages: list[float], seed: int = 0) -> StepBatch:
    draw = np.random.default_rng(seed)
    steps = len(advantages)
    texts = tuple(f"note {number} of the desk" for number in range(steps))
    features = torch.from_numpy(draw.random((steps, len(FEATURES))).astype(np.float32))
    assert made.scorer is not None
    with torch.no_grad():
        old = made.scorer.logits(made.scorer.embed(texts), features).log_softmax(-1)
    actions = torch.from_numpy(draw.integers(0, len(ACTIONS), steps))
    return StepBatch(texts, features, actions, old, torch.tensor(advantages))


def gradients(made: StepwiseGRPO) -> dict[str, torch.Tensor]:
    assert made.scorer is not None
    head = made.scorer.model.action_head
    assert head is not None
    return {n: p.grad.clone() for n, p in head.named_parameters() if p.grad is not None}


def test_advantages_add_up_to_nothing_and_equal_groups_are_skipped(model: OLMoEModel) -> None:
    made = grpo_of(model)
    rewards = torch.tensor([[0.0, 0.5, 1.0, 0.5], [0.3, 0.3, 0.3, 0.3]])
    found = made.compute_group_advantages(rewards)
    # Mean 0.5, sample deviation sqrt(0.5 / 3) = 0.40825: +-0.5 / 0.40825 = +-1.22474.
    assert found.values[0].tolist() == pytest.approx([-1.22474, 0.0, 1.22474, 0.0], abs=1e-4)
    assert found.values.sum(dim=1).abs().max() < 1e-6
    assert found.values[1].tolist() == [0.0] * 4
    assert found.skipped == 1


def test_costs_alone_do_not_become_the_lesson(model: OLMoEModel) -> None:
    made = grpo_of(model)
    found = made.compute_group_advantages(torch.tensor([[0.500, 0.495, 0.500, 0.500]]))
    assert found.values.abs().max() < 0.05


def test_equal_rewards_give_exactly_no_gradient(model: OLMoEModel) -> None:
    made = grpo_of(model, **QUIET)
    equal = made.compute_group_advantages(torch.full((1, 6), 0.7, dtype=torch.float64)).values[0]
    made.compute_loss(batch_of(made, equal.tolist()), 6.0).loss.backward()  # type: ignore[no-untyped-call]
    assert "hidden.weight" in gradients(made)
    assert all(bool((each == 0).all()) for each in gradients(made).values())
    other = made.compute_group_advantages(torch.tensor([[0.7, 0.7, 0.7, 0.7, 0.7, 0.2]])).values[0]
    made.compute_loss(batch_of(made, other.tolist()), 6.0).loss.backward()  # type: ignore[no-untyped-call]
    assert bool((gradients(made)["hidden.weight"] != 0).any())


def test_the_ratio_is_one_on_the_first_pass(model: OLMoEModel) -> None:
    made = grpo_of(model)
    parts = made.compute_loss(batch_of(made, [1.0, -1.0, 0.5]), 3.0)
    assert parts.ratio == pytest.approx(1.0, abs=1e-6)
    assert parts.clip_frac == 0.0
    assert parts.kl == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"),
    [(1.3, 1.0, True), (1.3, -1.0, False), (0.7, 1.0, False), (0.7, -1.0, True), (1.1, 1.0, False)],
)
def test_a_ratio_is_clipped_only_where_it_would_gain_more(
    model: OLMoEModel, ratio: float, advantage: float, clipped: bool
) -> None:
    """PPO's bound of 0.2: the gain is min(ratio A, clip(ratio) A), and flat where the clip is smaller."""
    made = grpo_of(model, **QUIET, clip=0.2)
    batch = batch_of(made, [advantage])
    batch = replace(batch, old=batch.old - float(np.log(ratio)))
    parts = made.compute_loss(batch, 1.0)
    parts.loss.backward()  # type: ignore[no-untyped-call]
    assert parts.ratio == pytest.approx(ratio, rel=1e-5)
    assert parts.clip_frac == float(clipped)
    bound = min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
    assert float(parts.loss.detach()) == pytest.approx(-bound, rel=1e-5)
    assert any(bool(each.any()) for each in gradients(made).values()) is not clipped


def test_kl_to_an_equal_policy_is_flat_and_to_another_it_points_back() -> None:
    reference = torch.tensor([[0.2, 0.3, 0.5]]).log()
    same = reference.clone().requires_grad_()
    kl = kl_divergence(same.log_softmax(-1), reference)
    kl.sum().backward()  # type: ignore[no-untyped-call]
    assert float(kl.detach()) == pytest.approx(0.0, abs=1e-7)
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-6
    other = torch.tensor([[0.5, 0.3, 0.2]]).log().requires_grad_()
    kl = kl_divergence(other.log_softmax(-1), reference)
    kl.sum().backward()  # type: ignore[no-untyped-call]
    # 0.5 ln(0.5/0.2) + 0.2 ln(0.2/0.5) = 0.3 ln 2.5 = 0.274887; its gradient p (ln p/q - KL).
    assert float(kl.detach()) == pytest.approx(0.274887, abs=1e-5)
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    assert other.grad is not None
    assert other.grad[0].tolist() == pytest.approx(
        (p * ((p / q).log() - 0.274887)).tolist(), abs=1e-5
    )


@pytest.mark.parametrize(
    ("about_topics", "name"), [(False, "hidden.weight"), (True, "second.hidden.weight")]
)
def test_the_gradient_of_the_loss_is_its_slope(
    model: OLMoEModel, about_topics: bool, name: str
) -> None:
    made = grpo_of(model, kl_coefficient=0.1, entropy_coefficient=0.05, clip=0.9)
    batch = batch_of(made, [0.7, -0.4, 1.1, 0.2])
    assert made.scorer is not None
    head = made.scorer.model.action_head
    assert head is not None
    head.double()
    made._reference.double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    features = batch.features.double()
    features[:, FEATURES.index("has_topic")] = float(about_topics)
    batch = StepBatch(
        batch.texts, features, batch.actions, batch.old.double(), batch.advantages.double()
    )
    made.compute_loss(batch, 4.0).loss.backward()  # type: ignore[no-untyped-call]
    slope = gradients(made)[name]
    weight = dict(head.named_parameters())[name]
    for place in ((0, 3), (5, 40), (7, 128)):
        with torch.no_grad():
            weight[place] += 1e-6
            up = float(made.compute_loss(batch, 4.0).loss.detach())
            weight[place] -= 2e-6
            down = float(made.compute_loss(batch, 4.0).loss.detach())
            weight[place] += 1e-6
        assert (up - down) / 2e-6 == pytest.approx(float(slope[place].detach()), rel=1e-4, abs=1e-8)
    # What is learnt of topics changes nothing of what is known of symbols, and the other way round.
    others = [
        gradient
        for each, gradient in gradients(made).items()
        if each.startswith("second") is not about_topics
    ]
    assert not any(gradient.any() for gradient in others)


def test_the_leave_one_out_estimator_is_unbiased_on_a_bandit() -> None:
    """Arms of rewards 1, 0 and 0.5, policy (0.5, 0.3, 0.2): the exact gradient of the mean reward in the
    logits is p (r - mean) = (0.2, -0.18, -0.02); mean = 0.6."""
    policy, rewards = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 0.5])
    draw = np.random.default_rng(0)
    arms = draw.choice(3, size=(4, 200_000), p=policy)  # groups of 4 in many worlds
    score = np.eye(3)[arms] - policy  # gradient of log p(arm) in the logits
    estimate = (leave_one_out(rewards[arms])[..., None] * score).mean(axis=(0, 1))
    assert estimate == pytest.approx([0.2, -0.18, -0.02], abs=2e-3)
    # Each is compared with the other alone, not with the mean of both.
    assert leave_one_out(np.array([[1.0], [0.0]])).tolist() == [[1.0], [-1.0]]


def test_a_model_without_encode_or_head_is_refused() -> None:
    with pytest.raises(TrainingError, match="has no action_head"):
        StepwiseGRPO(Stage2Config()).setup(HeadScorer(OLMoEModel()))

    class Mute:
        action_head = object()

    with pytest.raises(TrainingError, match="has no encode"):
        StepwiseGRPO(Stage2Config()).setup(HeadScorer(Mute()))  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", ["head", "lora", "all"])
async def test_what_was_sampled_is_what_the_loss_sees(
    model: OLMoEModel, train_paths: list[Path], rollouts: RolloutSettings, weights: str
) -> None:
    """On collected rollouts every ratio of the loss is 1 before the first step, and the reference stays what
    it was when steps are taken."""
    settings = Stage2Config.model_validate(
        {
            "batch_episodes": 1,
            "rollouts": 2,
            "head_width": 8,
            "policy_weights": weights,
            "lora_rank": 2,
            "epochs": 1,
        }
    )
    prepare_policy(model, settings, seed=1)
    scorer = HeadScorer(model)
    policy = MemoryPolicy("trained", LearnedChooser(scorer))
    collector = Collector(train_paths, settings, rollouts, seed=3)
    groups = await collector.collect(TrainingStage.MULTI_TOOL, policy, 0, 0.0)
    steps = [step for group in groups for member in group for step in member.steps]
    assert 2 * 2 * 2 <= len(steps) <= 2 * 2 * 4
    again = scorer.log_probabilities(
        [step.state.text for step in steps], np.stack([step.state.features for step in steps])
    )
    sampled = np.array([step.choice.log_probabilities for step in steps])
    assert np.abs(again - sampled).max() < 1e-5
    made = StepwiseGRPO(settings)
    made.setup(scorer)
    batch = StepBatch(
        tuple(step.state.text for step in steps),
        torch.from_numpy(np.stack([step.state.features for step in steps])),
        torch.tensor([step.choice.index for step in steps]),
        torch.tensor(sampled).float(),
        torch.linspace(-1.0, 1.0, len(steps)),
    )
    for step in range(len(steps)):
        one = batch.rows(torch.tensor([step]))
        assert made.compute_loss(one, 1.0).ratio == pytest.approx(1.0, abs=1e-5)
    before = made._reference_scores(batch)
    first = made.train_step(batch, torch.Generator().manual_seed(0))
    assert first["kl"] == pytest.approx(0.0, abs=1e-6)
    assert made.compute_loss(batch, 1.0).kl > 1e-9
    assert torch.allclose(made._reference_scores(batch), before, atol=1e-6)


async def test_no_state_knows_the_questions(
    model: OLMoEModel, some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    """The same notes before other questions: the same texts, features and actions to the last bit."""
    prepare_policy(model, Stage2Config(head_width=8), seed=1)
    policy = MemoryPolicy("trained", LearnedChooser(HeadScorer(model)))
    own, other = some_episodes[:2]
    runs = [
        (await run_jobs(policy, [Job(replace(own, questions=questions))], rollouts))[0][0]
        for questions in (own.questions, other.questions)
    ]
    assert len(runs[0].steps) == 26
    for mine, others in zip(runs[0].steps, runs[1].steps, strict=True):
        assert mine.state.text == others.state.text
        assert mine.state.features.tobytes() == others.state.features.tobytes()
        assert mine.choice.action == others.choice.action


async def test_stages_take_one_a_few_and_all_notes(
    model: OLMoEModel, train_paths: list[Path], rollouts: RolloutSettings
) -> None:
    settings = Stage2Config(batch_episodes=1, rollouts=2, head_width=8)
    prepare_policy(model, settings, seed=1)
    policy = MemoryPolicy("trained", LearnedChooser(HeadScorer(model)))
    collector = Collector(train_paths, settings, rollouts, seed=3)
    single = await collector.collect(TrainingStage.SINGLE_TOOL, policy, 0, 0.0)
    assert {len(member.steps) for group in single for member in group} == {1}
    early = await collector.collect(TrainingStage.UNIFIED, policy, 0, 0.0)
    assert {4 <= len(member.steps) <= 8 for group in early for member in group} == {True}
    whole = await collector.collect(TrainingStage.UNIFIED, policy, 0, 1.0)
    assert {len(member.steps) for group in whole for member in group} == {26}
    assert all(
        step.state.text.startswith("desk of 4") for g in whole for m in g for step in m.steps
    )
    assert not any(
        step.state.text.startswith("desk of 4") for g in single for m in g for step in m.steps
    )


async def test_every_credit_rule_gives_each_step_a_share(
    model: OLMoEModel, some_episodes: list[Episode], rollouts: RolloutSettings
) -> None:
    from memory.rules import rule_policy

    draws = np.random.default_rng(0).random((4, 26))
    jobs = [Job(each, 4, draws=draws) for each in some_episodes[:3]]
    groups = await run_jobs(rule_policy("random"), jobs, rollouts)
    totals = torch.tensor([[m.parts.total for m in g] for g in groups], dtype=torch.float64)
    advantages = StepwiseGRPO(Stage2Config()).compute_group_advantages(totals).values
    for name, rule in RULES.items():
        rows = rule(groups, advantages, rollouts.weights)
        assert [len(row) for row in rows] == [26] * 12, name
    to_go = return_to_go(groups, advantages, rollouts.weights)
    for place in range(3):
        at_start = [row[0] for row in to_go[4 * place : 4 * place + 4]]
        # Leave-one-out differences of a group add up to nothing.
        assert sum(at_start) == pytest.approx(0.0, abs=1e-9)
    evidence = RULES["evidence"](groups, advantages, rollouts.weights)
    members = [member for group in groups for member in group]
    assert any(r.right and r.entry_id is not None for m in members for r in m.readings)
    for place, (row, member) in enumerate(zip(evidence, members, strict=True)):
        assert row == pytest.approx(_evidence_by_hand(groups[place // 4], member)), place


def _evidence_by_hand(group: list[Trajectory], member: Trajectory) -> list[float]:
    """Each answer's gain at the step whose outcome has the version that was read, all else to every step."""
    totals = [each.parts.total for each in group]
    deviation = max(float(np.std(totals, ddof=1)), 0.1)
    shared = member.parts.total - float(np.mean(totals))
    row = np.zeros(len(member.steps))
    for question, reading in enumerate(member.readings):
        gain = reading.right - float(np.mean([each.readings[question].right for each in group]))
        for place, step in enumerate(member.steps):
            written = step.outcome.entry_ids[:1] == (reading.entry_id,)
            if reading.entry_id is not None and written and step.outcome.version == reading.version:
                row[place] += gain
                shared -= gain / len(member.readings)
                break
    return [float(value) for value in row + shared / deviation]


def test_the_bonus_is_larger_for_what_is_new_in_the_group() -> None:
    chosen = projection(16, 5)
    common = torch.ones(16)
    other = torch.cat([torch.ones(8), -torch.ones(8)])
    bonus = elliptical_bonus(torch.stack([common, common, common, common, other]), chosen)
    assert bonus[4] > 2 * bonus[0]
    assert bonus[:4].tolist() == pytest.approx([float(bonus[0])] * 4)
    assert chosen.shape == (16, 4)
