"""Whether a run's folder is as it was recorded: `athena runs verify RUN`.

Two questions: are the files those that the manifest names by hash, and does the chain of forecast seals
follow from the records. Whether the same inputs give the same bytes again is `athena runs repeat`. Refuses to
fix anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.forecast_scores import ledger_of
from core.errors import RunFolderError
from core.runlog import STEPS
from core.seals import MANIFEST, Integrity, Problem, integrity

NOT_SEALED = "not sealed: the run came to no end, or was made before runs had hashes"


def verify_files(run_dir: Path) -> dict[str, Any]:
    """The JSON of `athena runs verify`: `ok state problems[{file,what}] unlisted[] forecasts_sealed`.

    `forecasts_sealed` is null for records without forecasts, and where the records are not as recorded.
    """
    found = integrity(run_dir)
    problems = list(found.problems)
    if found.state == "not sealed":
        problems.append(Problem(MANIFEST, NOT_SEALED))
    sealed: bool | None = None
    if not any(each.file == STEPS for each in problems):
        sealed = _chain(run_dir, problems)
    return {
        "ok": not problems,
        "run_dir": str(run_dir),
        **Integrity(found.state, tuple(problems), found.unlisted).to_dict(),
        "forecasts_sealed": sealed,
    }


def _chain(run_dir: Path, problems: list[Problem]) -> bool | None:
    try:
        ledger = ledger_of(run_dir)
    except RunFolderError as error:
        problems.append(Problem(STEPS, error.message))
        return None
    if not ledger.questions and not ledger.open:
        return None
    if not ledger.sealed:
        what = f"the forecasts of {ledger.first_broken} do not follow from those before"
        problems.append(Problem(STEPS, what))
    return ledger.sealed
