"""Why a symbol was bought, sold or kept, in a sentence: from what one record shows, and nothing else. Pure.

Shared by `athena decide` and `athena why`. A view or a limit that the record does not have is not told, and a
decider that gave no reason is said to have given none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.forecasts import WHOLE

AGENTS = "agents"
"""What a manifest's `decided_by` says where the agents decided, and no strategy of one's own."""
SMALL = 1e-9
_BY_BROKER = {
    "margin_call": "A margin call: the broker closed it, whatever was wanted.",
    "delisted": "It had left the universe, or had missed enough bars to count as delisted: it was closed "
    "without a bar of its own.",
}


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decided a run, and over how many bars the analyst's expectations are (None where not known)."""

    name: str = AGENTS
    horizon_bars: int | None = None

    @property
    def is_agents(self) -> bool:
        return self.name == AGENTS


def limits_of(record: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    """What bound a symbol, and from where to where."""
    return [
        {
            "reason": reason,
            "wanted_frac": verdict["wanted_frac"],
            "allowed_frac": verdict["allowed_frac"],
        }
        for verdict in record["verdict"]
        if verdict["symbol"] == symbol
        for reason in verdict["reasons"]
    ]


def views_of(record: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    """What each agent that spoke held of a symbol."""
    found = []
    for agent, columns in record["views"].items():
        if symbol in columns["symbols"]:
            place = columns["symbols"].index(symbol)
            found.append(
                {
                    "agent": agent,
                    "expected_return_frac": columns["expected_return_frac"][place],
                    "confidence_frac": columns["confidence_frac"][place],
                }
            )
    return found


def forecasts_of(record: Mapping[str, Any], symbol: str) -> dict[str, list[float]]:
    """The chances that each source told of a symbol."""
    told = record["forecasts"]
    if not told or symbol not in told["symbols"]:
        return {}
    place = told["symbols"].index(symbol)
    return {
        source: rows[place] for source, rows in told["chances"].items() if rows[place] is not None
    }


def told_chances(forecasts: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """(chance of a fall, chance of a rise) as all sources together told them."""
    whole = forecasts.get(WHOLE)
    return None if whole is None else (sum(whole[:2]), sum(whole[3:]))


def reason_of(
    record: Mapping[str, Any], symbol: str, decider: Decider, order: Mapping[str, Any] | None
) -> str:
    """The sentences that a record supports about one symbol, with the order sent, or None.

    `record` is a line of `steps.jsonl`; targets leave out what was kept as it was, and zeros.
    """
    tag = None if order is None else order["tag"]
    limits = limits_of(record, symbol)
    by_broker = _BY_BROKER.get(tag or "")
    if by_broker is not None and (
        tag == "delisted" or any(limit["reason"] == tag for limit in limits)
    ):
        return by_broker
    told = [_own(record, symbol, decider)]
    told += [_view(view, decider) for view in views_of(record, symbol)]
    if chances := told_chances(forecasts_of(record, symbol)):
        horizon = record["forecasts"].get("horizon_bars")
        within = "" if horizon is None else f" within {horizon} bars"
        told.append(
            f"All forecasts together: a fall {percent(chances[0])}, a rise {percent(chances[1])}{within}."
        )
    told += [
        f"The limit {limit['reason']} changed the wanted {percent(limit['wanted_frac'])} to "
        f"{percent(limit['allowed_frac'])}."
        for limit in limits
    ]
    told.append(_outcome(record, symbol, order, bool(limits)))
    return " ".join(sentence for sentence in told if sentence)


def _own(record: Mapping[str, Any], symbol: str, decider: Decider) -> str:
    """What the decider itself said."""
    own = record.get("reasons", {}).get(symbol)
    if own is not None:
        return f"{decider.name}: {own if own.endswith(('.', '!', '?')) else f'{own}.'}"
    if decider.is_agents:
        return ""
    if decider.name == "weights":
        return "No row of the weights took effect at this close."
    return f"{decider.name} gave no reason."


def _view(view: Mapping[str, Any], decider: Decider) -> str:
    horizon = decider.horizon_bars
    over = "" if horizon is None or view["agent"] != "market_analyst" else f" over {horizon} bars"
    return (
        f"{view['agent']} expected {100.0 * view['expected_return_frac']:+.2f} %{over}, confidence "
        f"{100.0 * view['confidence_frac']:.0f} %."
    )


def _outcome(
    record: Mapping[str, Any], symbol: str, order: Mapping[str, Any] | None, limited: bool
) -> str:
    """What came of it: a target and an order, or that things were left as they were."""
    target = record["targets"].get(symbol)
    if order is not None:
        if target is not None:
            return f"The target is {percent(target)} of the equity."
        leaves_out = order["value_usd"] == 0.0 or order["value_usd"] is None
        return "The target is 0 %." if leaves_out else ""
    if target is not None:
        return (
            f"The target is {percent(target)} of the equity, and what is held stands there already."
        )
    if record["positions"].get(symbol):
        return "No target was set: it is kept as it is."
    if limited:
        return "Nothing is held, and nothing was ordered."
    if symbol in record.get("reasons", {}) or views_of(record, symbol):
        return "Nothing is held, and no target above 0 % came of it."
    return "Nothing is held, and the record has no view, target or order of it."


def percent(frac: float) -> str:
    """A fraction of equity or a chance, for a sentence."""
    return f"{100.0 * frac:.2f} %"
