"""Step-wise GRPO: the whole algorithm, to be read from top to bottom.

A group is G rollouts of one episode from forks of one memory. The terminal reward, normalised in its group,
is handed to every step (`broadcast`, the paper's rule; two others are selectable). The loss is the clipped
ratio with an exact KL to a fixed reference over the seven actions, divided by a constant.

Refuses to know memories and episodes: it sees texts, features, actions and rewards.
Shapes: P episodes, G members, S steps of all of them laid end to end, F features, A = 7 actions.
Source: AgeMem, arXiv 2601.01885 (step-wise GRPO); GRPO, arXiv 2402.03300, eq. 3 and 4; the constant
normaliser, arXiv 2503.20783.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from core.errors import TrainingError
from training.stage2_agemem.rewards import DEVIATION_FLOOR

if TYPE_CHECKING:
    from core.config import Stage2Config
    from models.action_scorer import HeadScorer


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """`values` [P, G]; `skipped` counts the groups without any difference, whose values are 0."""

    values: torch.Tensor
    skipped: int


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The steps of many rollouts.

    Shapes: `texts` S strings; `features` [S, F]; `actions` [S] int64; `old` [S, A] the log-probabilities
    that the behaviour had; `advantages` [S]; `reference` [S, A] the fixed reference's, once they are known.
    """

    texts: tuple[str, ...]
    features: torch.Tensor
    actions: torch.Tensor
    old: torch.Tensor
    advantages: torch.Tensor
    reference: torch.Tensor | None = None

    def rows(self, chosen: torch.Tensor) -> StepBatch:
        return StepBatch(
            tuple(self.texts[i] for i in chosen.tolist()),
            self.features[chosen],
            self.actions[chosen],
            self.old[chosen],
            self.advantages[chosen],
            None if self.reference is None else self.reference[chosen],
        )


@dataclass(frozen=True, slots=True)
class LossParts:
    """The loss and what it is made of; `clip_frac` is the share of steps whose ratio was clipped."""

    loss: torch.Tensor
    policy: float
    kl: float
    entropy: float
    clip_frac: float
    ratio: float


class StepwiseGRPO:
    """Owns the optimiser and the reference; `setup` binds it to a model's scorer."""

    def __init__(self, settings: Stage2Config) -> None:
        self.settings = settings
        self.scorer: HeadScorer | None = None
        self.optimiser: torch.optim.Optimizer | None = None
        self._reference: Any = None
        self._before: dict[str, torch.Tensor] = {}
        self._entropy = settings.entropy_coefficient

    def setup(self, scorer: HeadScorer) -> None:
        """Take the policy that is trained; its present state becomes the reference.

        The reference is a copy of what is trained: the head, and nothing of a backbone that is frozen or
        has an adapter (which is switched off). Raises: TrainingError for a model without `encode` or a loaded
        `action_head`: nothing stands in for its log-probabilities.
        """
        model = scorer.model
        for name in ("encode", "action_head"):
            if getattr(model, name, None) is None:
                raise TrainingError(
                    f"the model has no {name}.",
                    "Load an OLMoEModel (`OLMoEModel(config).load()`) before training its policy.",
                )
        self.scorer = scorer
        head = model.action_head
        assert head is not None
        self._reference = copy.deepcopy(head).requires_grad_(False)
        if self.settings.policy_weights == "all":
            self._before = {
                name: each.clone()
                for name, each in model.state_dict().items()
                if name.startswith("backbone.")
            }
        own = {id(each) for each in head.parameters()}
        trained = [each for each in model.parameters() if each.requires_grad]
        groups = [
            {"params": [each for each in trained if id(each) in own], "peak": self.settings.learning_rate},
            {
                "params": [each for each in trained if id(each) not in own],
                "peak": self.settings.backbone_learning_rate,
            },
        ]  # fmt: skip
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=self.settings.weight_decay
        )

    # --- advantages

    def compute_group_advantages(self, rewards_PG: torch.Tensor) -> GroupAdvantages:
        """(reward - group mean) / sample standard deviation; groups of equal rewards are skipped.

        The deviation has a floor: where all members answered alike and only costs differ, dividing by their
        tiny spread would make the cheapest action the lesson of every such group.
        """
        centred = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
        deviation = rewards_PG.std(dim=1, keepdim=True)
        equal = deviation.squeeze(1) < 1e-9
        values = centred / deviation.clamp_min(DEVIATION_FLOOR)
        values[equal] = 0.0
        return GroupAdvantages(values, int(equal.sum()))

    # --- loss

    def compute_loss(self, batch: StepBatch, normaliser: float) -> LossParts:
        """The clipped surrogate, KL and entropy of some steps, summed and divided by `normaliser`."""
        scorer = self._bound()
        reference_SA = batch.reference
        if reference_SA is None:
            # Before the policy's own pass: putting weights back in place would break its gradient.
            reference_SA = self._reference_scores(batch)
        embeddings_SD = self._embed(batch.texts)
        new_SA = scorer.logits(embeddings_SD, batch.features).log_softmax(-1)
        chosen = batch.actions[:, None]
        ratio_S = (new_SA.gather(1, chosen) - batch.old.gather(1, chosen)).squeeze(1).exp()
        low, high = 1.0 - self.settings.clip, 1.0 + self.settings.clip
        clipped_S = ratio_S.clamp(low, high)
        gain_S = torch.minimum(ratio_S * batch.advantages, clipped_S * batch.advantages)
        kl_S = kl_divergence(new_SA, reference_SA)
        entropy_S = -(new_SA.exp() * new_SA).sum(-1)
        total_S = -gain_S + self.settings.kl_coefficient * kl_S
        total_S = total_S - self._entropy * entropy_S
        outside = (ratio_S < low) & (batch.advantages < 0) | (ratio_S > high) & (
            batch.advantages > 0
        )
        return LossParts(
            total_S.sum() / normaliser,
            float(-gain_S.detach().mean()),
            float(kl_S.detach().mean()),
            float(entropy_S.detach().mean()),
            float(outside.float().mean()),
            float(ratio_S.detach().mean()),
        )

    def _embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of S texts; each distinct one is encoded once, with gradients where they are wanted."""
        scorer = self._bound()
        distinct = list(dict.fromkeys(texts))
        place = {text: row for row, text in enumerate(distinct)}
        if any(each.requires_grad for each in scorer.model.backbone.parameters()):
            rows_UD = scorer.model.encode_batch(distinct)
        else:
            rows_UD = scorer.embed(distinct)
        return rows_UD[torch.tensor([place[text] for text in texts], device=rows_UD.device)]

    def _reference_scores(self, batch: StepBatch) -> torch.Tensor:
        """The fixed reference's log-probabilities of the same states, [S, A], without gradients."""
        scorer = self._bound()
        with torch.no_grad(), self._reference_backbone():
            given = self._embed(batch.texts)
            scores = scorer.answer(self._reference, given, batch.features)
            return scores.log_softmax(-1)

    @contextmanager
    def _reference_backbone(self) -> Iterator[None]:
        """The backbone as it began: the adapter off, or the trained weights put back for a while."""
        model = self._bound().model
        if self.settings.policy_weights != "all":
            with model.without_adapter():
                yield
            return
        trained = {n: p for n, p in model.named_parameters() if n.startswith("backbone.")}
        present = {name: each.detach().clone() for name, each in trained.items()}
        for name, each in trained.items():
            each.copy_(self._before[name])
        try:
            yield
        finally:
            for name, each in trained.items():
                each.copy_(present[name])

    def train_step(
        self, batch: StepBatch, generator: torch.Generator, progress_frac: float = 0.0
    ) -> dict[str, float]:
        """Several epochs of minibatches over one batch of rollouts; the mean of what was measured.

        The normaliser is always `minibatch_steps`, however many steps are left where groups are skipped. The
        learning rate falls to a tenth, the entropy's coefficient to nothing, as `progress_frac` goes from 0
        to 1.
        """
        optimiser = self.optimiser
        if optimiser is None:
            raise TrainingError("nothing is set up.", "Call setup(scorer) first.")
        self._entropy = self.settings.entropy_coefficient * (1.0 - progress_frac)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * (1.0 - 0.9 * progress_frac)
        batch = replace(batch, reference=self._reference_scores(batch))
        steps = len(batch.texts)
        rows = self.settings.minibatch_steps
        sums: dict[str, float] = {}
        passes = 0
        for _ in range(self.settings.epochs):
            order = torch.randperm(steps, generator=generator)
            for start in range(0, steps, rows):
                chosen = batch.rows(order[start : start + rows])
                parts = self.compute_loss(chosen, float(rows))
                optimiser.zero_grad(set_to_none=True)
                parts.loss.backward()  # type: ignore[no-untyped-call]
                norm = torch.nn.utils.clip_grad_norm_(
                    [each for group in optimiser.param_groups for each in group["params"]],
                    self.settings.gradient_clip,
                )
                optimiser.step()
                passes += 1
                measured = {
                    "loss": float(parts.loss.detach()),
                    "kl": parts.kl,
                    "entropy": parts.entropy,
                    "clip_frac": parts.clip_frac,
                    "gradient_norm": float(norm),
                }
                for name, value in measured.items():
                    sums[name] = sums.get(name, 0.0) + value
        return {name: value / max(passes, 1) for name, value in sums.items()}

    # --- state

    def state_dict(self) -> dict[str, Any]:
        """The optimiser and the reference; the policy's own weights are the model's."""
        assert self.optimiser is not None
        return {
            "optimiser": self.optimiser.state_dict(),
            "reference": self._reference.state_dict(),
            "before": self._before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.optimiser is not None
        self.optimiser.load_state_dict(state["optimiser"])
        self._reference.load_state_dict(state["reference"])
        self._before = state["before"]

    def _bound(self) -> HeadScorer:
        if self.scorer is None:
            raise TrainingError("nothing is set up.", "Call setup(scorer) first.")
        return self.scorer


def kl_divergence(new_SA: torch.Tensor, reference_SA: torch.Tensor) -> torch.Tensor:
    """KL(policy || reference) per state, exact over the actions, [S]; arguments are log-probabilities."""
    divergence: torch.Tensor = (new_SA.exp() * (new_SA - reference_SA)).sum(-1)
    return divergence
