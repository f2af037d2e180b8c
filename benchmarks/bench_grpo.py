"""A GRPO update of the memory policy against TRL's GRPOTrainer, on the same backbone, in one run.

    benchmarks/peers/setup.sh                     # once: TRL in an environment of its own
    python benchmarks/bench_grpo.py [--groups 8] [--rounds 15] [--without-trl] [--json]

Both learn from the same batch on the shipped nano (1.18 M weights): `--groups` states of training episodes,
eight samples of each, one decision a sample, three passes over the batch as one minibatch, AdamW in
float32, a clipped ratio of 0.2, KL with coefficient 0.003 to the beginning, gradients clipped at 1, one
thread, and the same reward (a checksum: about a microsecond). Every update has states that its process has
not seen. All engines stay loaded and take turns, an update each, every second round in the opposite order;
a ratio is taken within a round, and the table has medians over the rounds. The first two rounds are not
counted.

What an update is:

* athena: encodes the states and samples one of seven operations each by the action head
  (`MemoryPolicy.choose`), rewards, group advantages, `StepwiseGRPO.train_step`. Log-probabilities come with
  sampling, and the KL is exact over the seven operations. An equal text is encoded once. *head* trains the
  head alone, so passes after the first look embeddings up, and the reference is a copy of the head. *lora*
  and *all* encode in every pass, with gradients, and once more for the reference (adapter off; weights put
  back).
* trl: `GRPOTrainer` reads prompts, generates one token (`max_completion_length=1`) of 2,048 with
  `generate`, computes log-probabilities at the time of sampling (needed for more than one pass) and of a
  second copy of the model as reference, and takes three steps with the KL estimated from the chosen token.
  All that only costs time is off: gradient checkpointing, bf16, logs, files. *all* trains all weights, as
  GRPOTrainer does. *norm* trains the last norm's 128 weights alone, so hardly anything is left of the way
  back: the least that GRPOTrainer can cost. *no KL* spares the reference.

What differs and cannot be helped: seven operations or 2,048 tokens; a head of 64 units or none; an entropy
term, which TRL has not. TRL encodes equal prompts as often as they stand in the batch; therefore *head, all
texts different* gives every one of Athena's samples a state of its own, which is how most rollouts are
after the first note (the last table says what share). Required: both *head* arms at least 5 times TRL's
*all*, in samples a second.

The other two tables say where the processor time goes: of the update above, by arm, and of whole updates of
the unified stage with the shipped settings, rollouts on the real store included."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from launch import PEERS, ROOT, LaunchError, peer_python
from peers.decisions import reward
from stages import REST, Stages

sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from memory.policy import MemoryState
    from training.stage2_agemem.grpo import StepBatch

MEMBERS, EPOCHS, WARM_UP = 8, 3, 2
LIMIT = 5.0
REQUIRED = ("athena head", "athena head, all texts different")
RIVAL = "trl all"
TRL_ARMS: dict[str, tuple[str, ...]] = {
    RIVAL: ("--weights", "all"),
    "trl all, no KL": ("--weights", "all", "--kl", "0"),
    "trl norm": ("--weights", "norm"),
    "trl norm, no KL": ("--weights", "norm", "--kl", "0"),
}


@dataclass(slots=True)
class Arm:
    """One engine: `update(number)` takes the states of that round and gives (clock, processor) seconds."""

    name: str
    update: Callable[[int], tuple[float, float]]
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


# --- Athena's side


def settings_for(weights: Literal["head", "lora", "all"], samples: int) -> Any:
    from core.config import Stage2Config

    return Stage2Config(
        policy_weights=weights, rollouts=MEMBERS, epochs=EPOCHS, minibatch_steps=samples
    )


class AthenaUpdate:
    """A policy before its training, and one update of it."""

    def __init__(self, weights: Literal["head", "lora", "all"], samples: int) -> None:
        import numpy as np
        import torch

        from memory.policy import LearnedChooser, MemoryPolicy
        from models.action_scorer import HeadScorer
        from models.olmoe import OLMoEModel
        from training.stage2_agemem.grpo import StepwiseGRPO
        from training.stage2_agemem.trainer import prepare_policy

        self.model = OLMoEModel().load()
        settings = settings_for(weights, samples)
        prepare_policy(self.model, settings, 0)
        scorer = HeadScorer(self.model)
        self.policy = MemoryPolicy("trained", LearnedChooser(scorer))
        self.grpo = StepwiseGRPO(settings)
        self.grpo.setup(scorer)
        self.generator = torch.Generator().manual_seed(0)
        self.draws = np.random.default_rng(0)

    def __call__(self, states: Sequence[MemoryState]) -> dict[str, float]:
        """States of one group stand side by side."""
        return self.grpo.train_step(self.sample(states), self.generator)

    def sample(self, states: Sequence[MemoryState]) -> StepBatch:
        """Choices, rewards and advantages."""
        import numpy as np
        import torch

        from training.stage2_agemem.grpo import StepBatch

        choices = self.policy.choose(states, self.draws.random(len(states)))
        rewards = [
            reward(state.text, choice.index) for state, choice in zip(states, choices, strict=True)
        ]
        rewards_PG = torch.tensor(rewards, dtype=torch.float64).reshape(-1, MEMBERS)
        advantages = self.grpo.compute_group_advantages(rewards_PG).values
        return StepBatch(
            tuple(state.text for state in states),
            torch.from_numpy(np.stack([state.features for state in states])),
            torch.tensor([choice.index for choice in choices]),
            torch.tensor([choice.log_probabilities for choice in choices], dtype=torch.float32),
            advantages.reshape(-1).float(),
        )


def some_states(count: int) -> list[MemoryState]:
    """`count` states with different texts, from training episodes with an untrained policy."""
    from core.config import AthenaConfig
    from training.stage2_agemem.episodes import EPISODE_BARS, episode
    from training.stage2_agemem.rollouts import CountedTokens, Job, RolloutSettings, run_jobs
    from training.stage2_agemem.sources import paths_for

    paths = paths_for(AthenaConfig(), "train").paths
    source = AthenaUpdate("head", 1)
    rollouts = RolloutSettings(tokenizer=CountedTokens(source.model.tokenizer))
    found: dict[str, MemoryState] = {}
    number = 0
    while len(found) < count:
        jobs = [
            Job(episode(paths, "train", each), draws=source.draws.random((1, EPISODE_BARS)))
            for each in range(number, number + 20)
        ]
        number += 20
        for group in asyncio.run(run_jobs(source.policy, jobs, rollouts)):
            found |= {step.state.text: step.state for step in group[0].steps}
    # Episodes are walked from the first note on; a fixed shuffle mixes early and late states.
    kept = list(found.values())[:count]
    order = source.draws.permutation(count)
    return [kept[place] for place in order]


def athena_arms(rounds: Sequence[Sequence[MemoryState]], groups: int) -> list[Arm]:
    """The head on TRL's very prompts and on different texts; LoRA and all weights on TRL's prompts."""

    def arm(name: str, weights: Literal["head", "lora", "all"], same: bool) -> Arm:
        update = AthenaUpdate(weights, groups * MEMBERS)

        def timed(number: int) -> tuple[float, float]:
            batch = shared(rounds[number], groups) if same else list(rounds[number])
            clock, processor = time.perf_counter(), time.process_time()
            update(batch)
            return time.perf_counter() - clock, time.process_time() - processor

        return Arm(name, timed)

    return [
        arm(REQUIRED[0], "head", True),
        arm(REQUIRED[1], "head", False),
        arm("athena lora", "lora", True),
        arm("athena all", "all", True),
    ]


def shared(states: Sequence[MemoryState], groups: int) -> list[MemoryState]:
    """The first `groups` states, eight times each, side by side."""
    return [state for state in states[:groups] for _ in range(MEMBERS)]


# --- TRL's side


class Peer:
    """TRL in its own process: it waits for a line, makes an update, and says what it took."""

    def __init__(self, arguments: Sequence[str]) -> None:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [str(peer_python("trl")), str(PEERS / "trl_grpo.py"), *arguments],
            env=inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        self.about: dict[str, Any] = {}

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._errors.close()

    def ready(self) -> None:
        self.about = self._answer()

    def update(self, _: int) -> tuple[float, float]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["clock"], answer["processor"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise LaunchError("TRL stopped:\n" + self._errors.read()[-2_000:])
        answer: dict[str, Any] = json.loads(line)
        return answer


def trl_arms(
    stack: ExitStack, rounds: Sequence[Sequence[MemoryState]], groups: int, names: Sequence[str]
) -> tuple[list[Arm], dict[str, Any]]:
    from models.folder import NANO_FOLDER

    prompts = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "prompts.json"
    prompts.write_text(json.dumps([state.text for each in rounds for state in each[:groups]]))
    common = ["--model", str(NANO_FOLDER), "--prompts", str(prompts), "--groups", str(groups)]
    common += ["--members", str(MEMBERS), "--epochs", str(EPOCHS)]
    arms, about = [], {}
    for name in names:
        # One after another: four imports of torch at once take longer than in turn.
        peer = stack.enter_context(Peer([*common, *TRL_ARMS[name]]))
        peer.ready()
        arms.append(Arm(name, peer.update))
        about[name] = peer.about
    return arms, about


def race(arms: Sequence[Arm], rounds: int) -> None:
    for number in range(rounds):
        for arm in arms if number % 2 else reversed(arms):
            clock, processor = arm.update(number)
            if number >= WARM_UP:
                arm.clock.append(clock)
                arm.processor.append(processor)


def rows_of(arms: Sequence[Arm], samples: int) -> list[dict[str, Any]]:
    """One row per arm; ratios are medians over rounds, above 1 where the arm is faster than TRL's."""
    rivals = {arm.name: arm for arm in arms if arm.name in TRL_ARMS}
    rows = []
    for arm in arms:
        row: dict[str, Any] = {
            "arm": arm.name,
            "update_ms": round(1_000 * median(arm.clock), 2),
            "processor_ms": round(1_000 * median(arm.processor), 2),
            "samples_per_second": round(samples / median(arm.clock), 1),
            "samples_per_processor_second": round(samples / median(arm.processor), 1),
            "times_trl": {},
        }
        for name, rival in rivals.items():
            row["times_trl"][name] = {
                "clock": round(middle_ratio(rival.clock, arm.clock), 2),
                "processor": round(middle_ratio(rival.processor, arm.processor), 2),
            }
        if arm.name in REQUIRED and RIVAL in rivals:
            row["limit"] = LIMIT
            row["ok"] = row["times_trl"][RIVAL]["clock"] >= LIMIT
        rows.append(row)
    return rows


def middle_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    return median(a / b for a, b in zip(first, second, strict=True))


# --- where our time goes


def watch(stages: Stages) -> None:
    """Stages of sampling and learning."""
    import torch

    from memory.policy import LearnedChooser
    from models.olmoe import OLMoEModel
    from training.stage2_agemem import grpo

    stages.around(LearnedChooser, "choose", "sampling: head, draw")
    stages.around(OLMoEModel, "_tokenize", "encode: cut into tokens")
    stages.around(OLMoEModel, "encode_batch", "encode: backbone")
    stages.around(OLMoEModel, "encode_cached", "encode: look up")
    stages.around(grpo.StepwiseGRPO, "train_step", "learning: minibatches, sums")
    stages.around(grpo.StepwiseGRPO, "compute_loss", "learning: head, loss")
    stages.around(grpo.StepwiseGRPO, "_reference_scores", "learning: reference", whole=True)
    stages.around(grpo, "kl_divergence", "learning: reference")
    stages.around(torch.Tensor, "backward", "learning: backward")
    stages.around(torch.nn.utils, "clip_grad_norm_", "learning: clip, optimiser")
    stages.around(torch.optim.AdamW, "step", "learning: clip, optimiser")
    stages.around(torch.optim.AdamW, "zero_grad", "learning: clip, optimiser")


def watch_rollouts(stages: Stages) -> None:
    """Stages of the rest of a whole update: the store, the memory, the episodes."""
    from memory import policy
    from memory.agemem import AgeMem
    from memory.context import ShortTermMemory
    from training.stage2_agemem import collect, rollouts, trainer

    stages.around(collect, "episode", "rollout: episodes made")
    stages.around(AgeMem, "retrieve_many", "rollout: retrieval")
    stages.around(AgeMem, "live", "rollout: live entries")
    stages.around(AgeMem, "apply", "rollout: store operations")
    stages.around(AgeMem, "snapshot", "rollout: forks, stores opened")
    stages.around(AgeMem, "fork", "rollout: forks, stores opened")
    stages.around(rollouts, "_leader", "rollout: forks, stores opened")
    for name in ("summary", "filter"):
        stages.around(AgeMem, name, "rollout: short-term memory")
    for name in ("append", "insert_hits", "copy"):
        stages.around(ShortTermMemory, name, "rollout: short-term memory")
    stages.around(policy, "state_text", "rollout: states")
    stages.around(policy, "_features", "rollout: states")
    stages.around(rollouts, "_finish", "rollout: reading, reward")
    stages.around(trainer.AgeMemTrainer, "_batch", "learning: batch")


def update_profile(
    rounds: Sequence[Sequence[MemoryState]], groups: int
) -> dict[str, dict[str, float]]:
    """Processor milliseconds an update by stage, for each of Athena's arms."""
    found = {}
    arms: list[tuple[str, Literal["head", "lora", "all"], bool]] = [
        ("head", "head", True),
        ("head, all different", "head", False),
        ("lora", "lora", True),
        ("all", "all", True),
    ]
    for name, weights, same in arms:
        update = AthenaUpdate(weights, groups * MEMBERS)
        stages = Stages()
        watch(stages)
        try:
            for number, states in enumerate(rounds):
                if number == WARM_UP:
                    stages.clear()
                update(shared(states, groups) if same else list(states))
            count = len(rounds) - WARM_UP
            found[name] = {stage: 1_000 * spent / count for stage, spent in stages.totals().items()}
        finally:
            stages.remove()
    return found


def whole_updates(updates: int) -> dict[str, Any]:
    """Updates of the unified stage once its episodes are whole, with the shipped settings."""
    from core.config import AthenaConfig, Stage2Config
    from models.olmoe import OLMoEModel
    from training.stage2_agemem.collect import WHOLE_FROM, TrainingStage
    from training.stage2_agemem.grpo import StepwiseGRPO
    from training.stage2_agemem.rollouts import CountedTokens, RolloutSettings
    from training.stage2_agemem.sources import paths_for
    from training.stage2_agemem.trainer import AgeMemTrainer

    total = updates + 1
    while (total - updates) / total < WHOLE_FROM:
        total += 1
    settings = Stage2Config(steps=total, eval_steps=total)
    model = OLMoEModel().load()
    stages = Stages()
    spent: list[dict[str, float]] = []
    steps: list[int] = []
    different: list[float] = []

    def observe(metrics: dict[str, Any]) -> None:
        if metrics["update"] >= total - updates:
            spent.append(stages.totals())
            steps.append(metrics["steps"])
        else:
            different.clear()
        stages.clear()

    class Counting(StepwiseGRPO):
        """Says how many of a batch's texts are different."""

        def train_step(self, batch: StepBatch, *rest: Any, **named: Any) -> dict[str, float]:
            different.append(len(set(batch.texts)) / max(len(batch.texts), 1))
            return super().train_step(batch, *rest, **named)

    trainer = AgeMemTrainer(
        model, settings, paths_for(AthenaConfig(), "train").paths, (), seed=0,
        rollouts=RolloutSettings(settings.entry_cap, tokenizer=CountedTokens(model.tokenizer)),
        stages=(TrainingStage.UNIFIED,), advance=observe,
    )  # fmt: skip
    trainer.grpo = Counting(settings)
    trainer.grpo.setup(trainer.scorer)
    watch(stages)
    watch_rollouts(stages)
    try:
        asyncio.run(trainer.train())
    finally:
        stages.remove()
    names = sorted({name for each in spent for name in each})
    by_stage = {name: median(each.get(name, 0.0) for each in spent) for name in names}
    seconds = median(sum(each.values()) for each in spent)
    return {
        "updates": updates,
        "episodes": settings.batch_episodes,
        "members": settings.rollouts,
        "steps": median(steps),
        "processor_seconds": round(seconds, 3),
        "steps_per_processor_second": round(median(steps) / seconds, 1),
        "different_texts_frac": round(median(different), 3),
        "stages_ms": {name: round(1_000 * value, 1) for name, value in by_stage.items()},
    }


# --- the whole


def run(groups: int, rounds: int, updates: int, names: Sequence[str]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    samples, total = groups * MEMBERS, rounds + WARM_UP
    states = some_states(total * samples)
    batches = [states[place * samples : (place + 1) * samples] for place in range(total)]
    with ExitStack() as stack:
        peers, about = trl_arms(stack, batches, groups, names)
        arms = [*athena_arms(batches, groups), *peers]
        counter = AthenaUpdate("head", 1).model.tokenizer
        race(arms, total)
    tokens = [counter.count(state.text) for state in states]
    return {
        "samples": samples,
        "groups": groups,
        "members": MEMBERS,
        "passes": EPOCHS,
        "rounds": rounds,
        "tokens_a_text": round(sum(tokens) / len(tokens), 1),
        "torch": torch.__version__,
        "load": [round(each, 1) for each in os.getloadavg()],
        "peers": about,
        "rows": rows_of(arms, samples),
        "update_ms": update_profile(batches, groups),
        "whole": whole_updates(updates) if updates else None,
    }


def show(found: dict[str, Any]) -> None:
    print(
        f"{found['groups']} states x {found['members']} samples, {found['passes']} passes, "
        f"{found['tokens_a_text']} tokens a text, medians of {found['rounds']} rounds, load {found['load']}"
    )
    for name, about in found["peers"].items():
        print(f"{name}: {about}")
    columns = list(found["peers"])
    print(
        f"\n{'an update':<36}{'ms':>9}{'CPU ms':>9}{'samples/s':>11}  times faster than, clock (CPU)"
    )
    for row in found["rows"]:
        ratios = "  ".join(
            f"{name}: {row['times_trl'][name]['clock']:.2f} ({row['times_trl'][name]['processor']:.2f})"
            for name in columns
        )
        mark = "" if "ok" not in row else "  ok" if row["ok"] else f"  MISSED: {LIMIT:g}"
        print(
            f"{row['arm']:<36}{row['update_ms']:>9.2f}{row['processor_ms']:>9.2f}"
            f"{row['samples_per_second']:>11,.0f}  {ratios}{mark}"
        )
    by_arm = found["update_ms"]
    print("\nwhere an update's processor time goes, ms" + "".join(f"{name:>21}" for name in by_arm))
    for stage in [*sorted({stage for each in by_arm.values() for stage in each} - {REST}), REST]:
        cells = "".join(f"{each.get(stage, 0.0):>21.2f}" for each in by_arm.values())
        print(f"  {stage:<39}{cells}")
    print(f"  {'in all':<39}" + "".join(f"{sum(each.values()):>21.2f}" for each in by_arm.values()))
    whole = found["whole"]
    if whole is None:
        return
    print(
        f"\na whole unified update: {whole['episodes']} episodes x {whole['members']}, {whole['steps']:,.0f} "
        f"steps, {whole['processor_seconds']:.2f} s of CPU "
        f"({whole['steps_per_processor_second']:,.0f} steps/s); "
        f"{whole['different_texts_frac']:.0%} of the learnt texts are different"
    )
    in_all = sum(whole["stages_ms"].values())
    for stage, spent in sorted(whole["stages_ms"].items(), key=lambda item: -item[1]):
        print(f"  {stage:<39}{spent:>10.1f} ms {spent / in_all:>7.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--groups", type=int, default=8, help="states in a batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=3, help="whole updates; 0 for none")
    parser.add_argument("--trl", action="append", choices=list(TRL_ARMS), help="default: all four")
    parser.add_argument("--without-trl", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    names = [] if chosen.without_trl else chosen.trl or list(TRL_ARMS)
    try:
        found = run(chosen.groups, chosen.rounds, chosen.updates, names)
    except LaunchError as error:
        raise SystemExit(str(error)) from error
    if chosen.json:
        print(json.dumps(found, indent=1))
    else:
        show(found)
    sys.exit(0 if all(row.get("ok", True) for row in found["rows"]) else 1)


if __name__ == "__main__":
    main()
