"""The simulated broker: takes orders at a close and fills them from the next bar on.

Owns working orders (one per symbol: a new one replaces what is still open), the participation cap, cash
and short limits, and costs. Refuses to know why an order was sent.

Rules, each at its function: sells before buys within a phase of the bar; buys scaled to the cash there
is after costs; at most `participation_frac` of a bar's volume per symbol; a day order's remainder
expires at the end of its session, a GTC order works until filled; a cancelled order never fills.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from core.types import Fill, Order, OrderIntent, Unfilled, UnfilledReason
from trading.candidate import QUANTUM, Candidate, floored, scaled, whole_shares
from trading.costs import (
    DOLLAR_DIGITS,
    CostModel,
    range_volatility_frac,
    volatility_before,
)
from trading.delisting import RETURN_BARS, Delisting, Return, delisting_price
from trading.history import Tape
from trading.margin import MARGIN_CALL
from trading.orders import DURING, OPENING, WorkingOrder, check_intent
from trading.panel import (
    CLOSE,
    HIGH,
    LOW,
    MARK,
    OPEN,
    RAW_CLOSE,
    STALE,
    VOLUME,
    FloatArray,
    Panel,
)
from trading.portfolio import QUANTITY_DIGITS, Portfolio
from trading.volumes import Volumes

_ROUNDING_USD = 2e-6
"""What rounding a fill's value and three costs to six digits can take from the cash, at most."""

_CENT_USD = 0.01


class SimulatedBroker:
    """Fills orders against the bars of a tape and books them in a portfolio."""

    def __init__(
        self,
        tape: Tape,
        portfolio: Portfolio,
        costs: CostModel,
        *,
        participation_frac: float | None = None,
        min_order_usd: float = 0.0,
        allow_fractional: bool = True,
        allow_short: bool = False,
        impact_volatility_bars: int = 20,
        delisting_bars: int = 60,
        delisting_return_frac: float = -0.30,
        intraday: bool = False,
        next_id: int = 1,
    ) -> None:
        self._tape = tape
        self._portfolio = portfolio
        self._costs = costs
        self._participation_frac = participation_frac
        self._min_order_usd = min_order_usd
        self._allow_fractional = allow_fractional
        self._allow_short = allow_short
        self._sigma_bars = impact_volatility_bars
        self._delisting_bars = delisting_bars
        self._delisting_return_frac = delisting_return_frac
        self._intraday = intraday
        self._next_id = next_id
        self._sigmas_of: Panel | None = None
        self._sigmas: dict[int, FloatArray] = {}
        self.working: dict[int, WorkingOrder] = {}
        self.orders = 0
        self.fills = 0
        self.ended: list[Unfilled] = []
        self.unfilled: dict[str, int] = {}
        self.fills_of_unknown_volume = 0
        self._volumes = Volumes(tape)
        self.delisted: list[Delisting] = []
        self.returned: list[Return] = []

    # --- orders -----------------------------------------------------------------------------------

    def submit(self, intent: OrderIntent) -> Order:
        """Take an order; it replaces the symbol's working order. Raises OrderRejected on nonsense."""
        check_intent(intent)
        fixed = intent.value_usd is None
        amount = intent.quantity if fixed else intent.value_usd
        assert amount is not None
        order = Order(
            id=f"o{self._next_id}",
            symbol=intent.symbol,
            side=intent.side,
            quantity=round(abs(amount), QUANTITY_DIGITS) if fixed else None,
            value_usd=None if fixed else amount,
            type=intent.type,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            tif=intent.tif,
            tag=intent.tag,
        )
        self._next_id += 1
        self.orders += 1
        if (before := self.working.get(intent.column)) is not None:
            self._end(before, "replaced")
        self.working[intent.column] = WorkingOrder(order, intent.column)
        return order

    def cancel(self, columns: Sequence[int], reason: UnfilledReason = "replaced") -> None:
        """End the working orders of these columns; a cancelled order never fills."""
        for column in columns:
            if (working := self.working.get(column)) is not None:
                self._end(working, reason)

    def _end(self, working: WorkingOrder, reason: UnfilledReason) -> None:
        """Take an order out that was not filled whole, and note what was left of it.

        Cash is counted with a reserve for rounding (`_ROUNDING_USD` a purchase): an order that only this kept
        from being whole, by less than a cent, counts as filled.
        """
        left = working.missing if working.left is None else abs(working.left)
        self.working.pop(working.column, None)
        if reason == "cash" and working.begun and left is not None:
            tape = self._tape
            if left * float(tape.stack[MARK, tape.row, working.column]) < _CENT_USD:
                return
        self.ended.append(Unfilled(working.order.id, left, reason))
        self.unfilled[reason] = self.unfilled.get(reason, 0) + 1

    def take_ended(self) -> list[Unfilled]:
        """The orders that have ended unfilled since this was last asked, in the order in which they did."""
        ended = self.ended
        if ended:
            self.ended = []
        return ended

    # --- a bar ------------------------------------------------------------------------------------

    def fill_bar(self) -> list[Fill]:
        """Fill what the present row of the tape allows; then let day orders expire.

        Order of events: market, gapped stop and marketable limit orders at the open, sells before buys;
        then what the bar touches later, sells before buys.
        """
        tape = self._tape
        row = tape.row
        stack = tape.stack
        phases: tuple[list[tuple[WorkingOrder, float]], list[tuple[WorkingOrder, float]]] = ([], [])
        seen: list[WorkingOrder] = []
        for column in sorted(self.working) if len(self.working) > 1 else tuple(self.working):
            working = self.working[column]
            open_ = float(stack[OPEN, row, column])
            if math.isnan(open_):
                # No bar: the order waits for the symbol's next session, unless there is none to come.
                if stack[STALE, row, column] >= self._delisting_bars:
                    self._end(working, "no_bar")
                continue
            seen.append(working)
            if self._intraday and working.order.tif == "day":
                today = _session_day(tape.panel.times[row])
                if working.session is not None and working.session != today:
                    self._end(working, working.cause or "expired")
                    continue
                working.session = today
            bar = (
                open_,
                float(stack[HIGH, row, column]),
                float(stack[LOW, row, column]),
                float(stack[CLOSE, row, column]),
            )
            match = working.match(bar)
            working.cause = None
            if match is not None:
                phases[match[0]].append((working, match[1]))
            else:
                unmoved = working.order.stop_price is not None and not working.triggered
                working.cause = "stop" if unmoved else "limit"
        fills: list[Fill] = []
        for phase in (OPENING, DURING):
            if phases[phase]:
                self._fill_phase(phases[phase], phase, fills)
        for working in seen:
            self._expire(working)
        return fills

    def _expire(self, working: WorkingOrder) -> None:
        """End a day order after its bar of a day or more; an intraday one ends with another day's bar."""
        if self.working.get(working.column) is not working:
            return
        if working.order.tif == "day" and not self._intraday:
            self._end(working, working.cause or "expired")

    def _fill_phase(
        self, matched: list[tuple[WorkingOrder, float]], phase: int, fills: list[Fill]
    ) -> None:
        sells: list[Candidate] = []
        buys: list[Candidate] = []
        for working, price in matched:
            candidate = self._candidate(working, price, phase)
            if candidate is not None:
                (buys if candidate.quantity > 0.0 else sells).append(candidate)
        if sells:
            self._sell(sells, fills)
        if buys:
            self._buy(buys, fills)

    def _sell(self, sells: list[Candidate], fills: list[Fill]) -> None:
        """Execute sales one by one, so that each short sale sees the margin that those before it took.

        Short value after a sale is at most the equity. Together with buys that may not spend short
        proceeds (`_cover`) this keeps gross at most twice the equity: Regulation T's 50 % initial margin
        on both sides (12 CFR 220.12).
        """
        equity = short_usd = 0.0
        if self._allow_short:
            equity, short_usd = self._equity_and_short()
        positions = self._portfolio.positions
        for candidate in sells:
            quantity, column, price = candidate.quantity, candidate.working.column, candidate.price
            held = positions[column]
            if held + quantity >= 0.0:
                self._execute(candidate, quantity, fills)
                continue
            short_usd -= max(-held, 0.0) * self._price_now(column)
            lowest = -math.floor(max(equity - short_usd, 0.0) / price * QUANTUM) / QUANTUM
            if held + quantity < lowest:
                quantity = min(round(lowest - held, QUANTITY_DIGITS), 0.0)
                candidate.working.cause = "margin"
            self._execute(candidate, quantity, fills, whole=quantity == candidate.quantity)
            short_usd += max(-positions[column], 0.0) * price

    def _buy(self, buys: list[Candidate], fills: list[Fill]) -> None:
        """Execute purchases, all scaled by one fraction to the cash there is after costs."""
        wanted = [candidate.quantity for candidate in buys]
        cash = self._portfolio.cash_usd - len(buys) * _ROUNDING_USD
        if self._allow_short and self._portfolio.held:
            cash = self._cover(buys, cash)
        scale = self._scale(buys, cash)
        for candidate, full in zip(buys, wanted, strict=True):
            quantity = candidate.quantity
            if scale < 1.0:
                quantity = max(candidate.base, floored(scaled(candidate, scale)))
            if quantity < full:
                candidate.working.cause = "cash"
            self._execute(candidate, quantity, fills, whole=quantity == full)

    def _cover(self, buys: list[Candidate], cash: float) -> float:
        """Let purchases that cover a short come before those that open; returns the cash for the rest.

        What covers may spend all cash; when it does not fit it is scaled and nothing else is bought.
        A book without equity, or one called for margin, covers in full, into debt, as its broker would.
        What opens may not spend the value of the shorts that stay open (`_sell`).
        """
        equity, short_usd = self._equity_and_short()
        positions = self._portfolio.positions
        covering = [each for each in buys if positions[each.working.column] < 0.0]
        wanted = [each.quantity for each in covering]
        for each in covering:
            each.quantity = min(each.quantity, -positions[each.working.column])
        called = covering and all(each.working.order.tag == MARGIN_CALL for each in covering)
        whole = equity <= 0.0 or called
        scale = 1.0 if whole else self._scale(covering, cash)
        if scale < 1.0 or whole:
            for each in buys:
                if each not in covering:
                    each.quantity = 0.0
                elif scale < 1.0:
                    each.quantity = floored(each.quantity * scale)
                each.base = each.quantity
            return cash
        for each, full in zip(covering, wanted, strict=True):
            each.base, each.quantity = each.quantity, full
            short_usd -= each.base * self._price_now(each.working.column)
        return cash - max(short_usd, 0.0)

    def _candidate(self, working: WorkingOrder, price: float, phase: int) -> Candidate | None:
        order, column = working.order, working.column
        held = self._portfolio.positions[column]
        if working.left is not None:
            quantity = working.left
        elif order.value_usd == 0.0:
            quantity = -held
        else:
            assert order.value_usd is not None
            quantity = round(order.value_usd / price - held, QUANTITY_DIGITS)
        if (quantity > 0.0) != (order.side == "buy") or quantity == 0.0:
            # The open moved past the target: a buy never sells, a sell never buys.
            working.missing = 0.0
            self._end(working, "expired")
            return None
        working.missing = abs(quantity)
        if quantity < 0.0 and not self._allow_short and quantity < -max(held, 0.0):
            quantity = -max(held, 0.0)
            working.cause = "margin"
        closing = closing_all = quantity == -held
        stack, row = self._tape.stack, self._tape.row
        volume = self._volumes.at(column)
        capped = False
        if volume == 0.0:
            working.cause = "no_volume"
            return None
        if self._participation_frac is not None and not math.isnan(volume):
            cap: float = self._participation_frac * volume
            if abs(quantity) > cap:
                quantity = math.copysign(math.floor(cap * QUANTUM) / QUANTUM, quantity)
                working.cause = "participation"
                capped, closing_all = True, False
        raw_ratio = float(stack[CLOSE, row, column] / stack[RAW_CLOSE, row, column])
        if not self._allow_fractional and not closing_all:
            whole = whole_shares(quantity, raw_ratio)
            if whole != quantity and not capped:
                working.cause = "whole_shares"
            quantity = whole
        if quantity == 0.0:
            return None
        passive = phase == DURING and working.rested
        return Candidate(
            working,
            quantity,
            price,
            taking=not passive,
            raw_ratio=raw_ratio,
            volume=volume,
            sigma_frac=0.0 if passive else self._sigma(column),
            capped=capped,
            closing=closing,
        )

    def _equity_and_short(self) -> tuple[float, float]:
        """(equity, short value) at the prices of this bar's open."""
        portfolio = self._portfolio
        equity, short_usd = portfolio.cash_usd, 0.0
        for column in sorted(portfolio.held):
            value = portfolio.positions[column] * self._price_now(column)
            equity += value
            if value < 0.0:
                short_usd -= value
        return equity, short_usd

    def _price_now(self, column: int) -> float:
        """This bar's open, or the last known close where there is no bar."""
        stack, row = self._tape.stack, self._tape.row
        price = float(stack[OPEN, row, column])
        return float(stack[MARK, row, column]) if math.isnan(price) else price

    def _sigma(self, column: int) -> float:
        """Daily volatility known before this bar; the bar's own range where closes are too few."""
        if not self._costs.impact_coefficient:
            return 0.0
        tape = self._tape
        row = tape.row
        if self._sigmas_of is not tape.panel:
            self._sigmas_of, self._sigmas = tape.panel, {}
        sigmas = self._sigmas.get(column)
        if sigmas is None:
            sigmas = volatility_before(tape.stack[CLOSE, :, column], self._sigma_bars)
            self._sigmas[column] = sigmas
        sigma = float(sigmas[row])
        if math.isnan(sigma):
            sigma = range_volatility_frac(
                float(tape.stack[HIGH, row, column]), float(tape.stack[LOW, row, column])
            )
        return sigma

    def _cost_parts(self, candidate: Candidate, quantity: float) -> tuple[float, float, float]:
        """(commission, spread, impact) in dollars. A limit order that rests pays neither spread nor
        impact, and one that takes pays them only as far as its limit leaves room. The last answer is kept:
        a purchase that fits is priced when the cash is counted and again when it is booked."""
        if quantity == candidate.priced:
            return candidate.parts
        candidate.priced = quantity
        candidate.parts = parts = self._price_parts(candidate, abs(quantity))
        return parts

    def _price_parts(self, candidate: Candidate, size: float) -> tuple[float, float, float]:
        value = size * candidate.price
        costs = self._costs
        commission = costs.commission_usd(value, size * candidate.raw_ratio)
        if not candidate.taking:
            return commission, 0.0, 0.0
        spread = costs.spread_usd(value)
        impact = 0.0
        if costs.impact_coefficient and candidate.volume > 0.0:
            impact = costs.impact_usd(value, size / candidate.volume, candidate.sigma_frac)
        limit = candidate.working.order.limit_price
        if limit is not None:
            room = round(abs(limit - candidate.price) * size, DOLLAR_DIGITS)
            spread = min(spread, room)
            impact = min(impact, round(room - spread, DOLLAR_DIGITS))
        return commission, spread, impact

    def _scale(self, buys: list[Candidate], cash: float) -> float:
        """The largest fraction of all buys (beyond their `base`) that the cash pays for, costs included.

        Costs grow faster than size (impact) or not at all (a minimum), so the fraction is found on the
        exact cost, by shrinking a bracket around it, unless every cost is a fixed fraction of value.
        """
        if len(buys) == 1 and self._costs.linear and not buys[0].base:
            candidate = buys[0]
            if candidate.taking and candidate.working.order.limit_price is None:
                need = candidate.quantity * candidate.price * (1.0 + self._costs.linear_frac)
                return 1.0 if need <= cash else max(cash, 0.0) / need
        high_need = self._need(buys, 1.0)
        if high_need <= cash:
            return 1.0
        low, high = 0.0, 1.0
        low_need = self._need(buys, 0.0)
        if low_need > cash:
            return 0.0
        guessing = True
        for _ in range(60):
            if cash - low_need <= 1e-10 * cash or high - low <= 1e-15:
                break
            # The chord of a convex need meets the cash below the answer; a bad guess is followed by halving.
            share = (cash - low_need) / (high_need - low_need) if guessing else 0.5
            middle = low + share * (high - low)
            need = self._need(buys, middle)
            if need <= cash:
                guessing = not guessing or cash - need < 0.25 * (cash - low_need)
                low, low_need = middle, need
            else:
                guessing = True
                high, high_need = middle, need
        return low

    def _need(self, buys: list[Candidate], scale: float) -> float:
        total = 0.0
        for candidate in buys:
            quantity = scaled(candidate, scale)
            commission, spread, impact = self._cost_parts(candidate, quantity)
            total += quantity * candidate.price + commission + spread + impact
        return total

    def _execute(
        self, candidate: Candidate, quantity: float, fills: list[Fill], whole: bool = True
    ) -> None:
        working = candidate.working
        order, column = working.order, working.column
        if not whole and not self._allow_fractional:
            quantity = whole_shares(quantity, candidate.raw_ratio)
            if abs(quantity) < abs(candidate.quantity) and working.cause is None:
                working.cause = "whole_shares"
        if quantity == 0.0:
            return
        if self._min_order_usd and self._too_small(candidate, quantity):
            self._end(working, "min_order")
            return
        commission, spread, impact = self._cost_parts(candidate, quantity)
        paid = commission + spread + impact + quantity * candidate.price
        if quantity < 0.0 < paid and paid > self._portfolio.cash_usd:
            working.cause = (
                "cash"  # a sale that costs more than it brings, and nothing to pay the rest from
            )
            return
        fill = Fill(order.id, order.symbol, quantity, candidate.price, commission, spread, impact)
        self._book(column, fill, order.tag)
        fills.append(fill)
        working.begun = True
        if math.isnan(candidate.volume):
            tape = self._tape
            self.fills_of_unknown_volume += tape.stack[VOLUME, tape.row, column] == 0.0
        if working.left is None:
            assert working.missing is not None
            working.missing = round(working.missing - abs(quantity), QUANTITY_DIGITS)
            if working.missing == 0.0:
                self.working.pop(column, None)
            elif not candidate.capped:
                # A market order stays only for what the cap left over; its target value stands.
                self._end(working, working.cause or "expired")
        else:
            working.left = round(working.left - quantity, QUANTITY_DIGITS)
            if working.left == 0.0:
                self.working.pop(column, None)

    def _too_small(self, candidate: Candidate, quantity: float) -> bool:
        """Whether an order is worth less than `min_order_usd`: as much of it as there is cash for, whatever
        a bar's volume lets through. What sells out is never too small, nor the rest of an order."""
        working = candidate.working
        if candidate.closing or working.begun:
            return False
        size = abs(quantity)
        if candidate.capped and quantity == candidate.quantity:
            left = working.missing if working.left is None else abs(working.left)
            assert left is not None
            size = max(size, left)
        return size * candidate.price < self._min_order_usd

    def _book(self, column: int, fill: Fill, tag: str | None) -> None:
        self.fills += 1
        self._portfolio.apply(column, fill, self._tape.panel.as_of[self._tape.row], tag)

    # --- delisting and borrowing ------------------------------------------------------------------

    def note_returns(self) -> None:
        """Note the held symbols that have a bar again after `RETURN_BARS` missed ones; before this bar's
        fills, which may close them."""
        tape, positions = self._tape, self._portfolio.positions
        row = tape.row
        if row == 0:
            return
        missed = tape.stack[STALE, row - 1]
        for column in sorted(self._portfolio.held):
            open_ = float(tape.stack[OPEN, row, column])
            if missed[column] >= RETURN_BARS and not math.isnan(open_):
                last = float(tape.stack[MARK, row - 1, column])
                symbol = tape.panel.symbols[column]
                self.returned.append(
                    Return(symbol, row, positions[column], int(missed[column]), last, open_)
                )

    def close_delisted(self) -> tuple[list[Order], list[Fill]]:
        """Close held symbols that have missed `delisting_bars` of their own bars, or whose universe file
        ended their membership and that had no bar since, at what `delisting_price` says.

        Point in time: only bars that were missed already count. Their working orders have just ended
        (`fill_bar`). Commission and spread are paid; there is no volume, so no cap and no impact.
        """
        orders: list[Order] = []
        fills: list[Fill] = []
        stale = self._tape.stack[STALE, self._tape.row]
        for column in sorted(self._portfolio.held):
            if not stale[column] >= 1.0:
                continue
            left = self._has_left(column)
            if left or stale[column] >= self._delisting_bars:
                order, fill = self._close_delisted_one(column, left)
                orders.append(order)
                fills.append(fill)
        return orders, fills

    def _last_bar(self, column: int) -> int:
        """The row of a symbol's last bar up to the present."""
        closes = self._tape.stack[CLOSE, : self._tape.row + 1, column]
        return int(np.flatnonzero(~np.isnan(closes))[-1])

    def _has_left(self, column: int) -> bool:
        """Whether a symbol is no member any more and has had no bar since: it does not trade on."""
        leaves = int(self._tape.panel.leaves_at[column])
        return leaves <= self._tape.row and self._last_bar(column) < leaves

    def _close_delisted_one(self, column: int, left: bool) -> tuple[Order, Fill]:
        tape, portfolio = self._tape, self._portfolio
        quantity = -portfolio.positions[column]
        symbol = tape.panel.symbols[column]
        order = Order(
            id=f"o{self._next_id}",
            symbol=symbol,
            side="buy" if quantity > 0.0 else "sell",
            quantity=abs(quantity),
            value_usd=None,
            type="market",
            limit_price=None,
            stop_price=None,
            tif="day",
            tag="delisted",
        )
        self._next_id += 1
        self.orders += 1
        last = self._last_bar(column)
        close = float(tape.stack[CLOSE, last, column])
        raw_ratio = close / float(tape.stack[RAW_CLOSE, last, column])
        price = delisting_price(close, -quantity, self._delisting_return_frac, left_universe=left)
        value = round(abs(quantity) * price, DOLLAR_DIGITS)
        commission = self._costs.commission_usd(value, abs(quantity) * raw_ratio)
        spread = self._costs.spread_usd(value)
        if quantity < 0.0:
            room = max(value - spread + max(portfolio.cash_usd, 0.0), 0.0)
            commission = min(commission, round(room, DOLLAR_DIGITS))
        fill = Fill(order.id, symbol, quantity, price, commission, spread, 0.0)
        self._book(column, fill, order.tag)
        cost = round(abs(quantity) * abs(close - price), DOLLAR_DIGITS)
        self.delisted.append(Delisting(symbol, tape.row, -quantity, close, price, cost, left))
        return order, fill

    def charge_borrow(self) -> float:
        """Charge the days since the last row for what was short at that row's close; returns dollars.

        Call it before this bar's fills: what they open has not been borrowed yet.
        """
        tape, portfolio = self._tape, self._portfolio
        if tape.row == 0 or not self._costs.borrow_bps_per_year:
            return 0.0
        short_usd = 0.0
        for column in sorted(portfolio.held):
            quantity = portfolio.positions[column]
            if quantity < 0.0:
                short_usd -= quantity * float(tape.stack[MARK, tape.row - 1, column])
        if not short_usd > 0.0:
            return 0.0
        elapsed = tape.panel.times[tape.row] - tape.panel.times[tape.row - 1]
        charge = self._costs.borrow_usd(short_usd, float(elapsed / np.timedelta64(1, "D")))
        portfolio.pay(charge)
        return charge


def _session_day(moment: np.datetime64) -> str:
    """The day of a bar by the moment it is known: one known at midnight belongs to the day before."""
    return str((moment - np.timedelta64(1, "ns")).astype("datetime64[D]"))
