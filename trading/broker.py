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

from core.errors import OrderRejected
from core.types import Fill, Order, OrderIntent
from trading.costs import CostModel, close_volatility_frac, range_volatility_frac
from trading.history import Tape
from trading.orders import DURING, OPENING, WorkingOrder
from trading.panel import CLOSE, HIGH, LOW, MARK, OPEN, RAW_CLOSE, STALE, VOLUME
from trading.portfolio import QUANTITY_DIGITS, Portfolio

_QUANTUM = 10**QUANTITY_DIGITS


class _Candidate:
    """One order about to fill in a bar: signed quantity wanted and all that its cost depends on."""

    __slots__ = (
        "capped",
        "price",
        "quantity",
        "raw_ratio",
        "sigma_frac",
        "taking",
        "volume",
        "working",
    )

    def __init__(
        self,
        working: WorkingOrder,
        quantity: float,
        price: float,
        *,
        taking: bool,
        raw_ratio: float,
        volume: float,
        sigma_frac: float,
        capped: bool,
    ) -> None:
        self.working = working
        self.quantity = quantity
        self.price = price
        self.taking = taking
        self.raw_ratio = raw_ratio
        self.volume = volume
        self.sigma_frac = sigma_frac
        self.capped = capped


class SimulatedBroker:
    """Fills orders against the bars of a tape and books them in a portfolio."""

    def __init__(
        self,
        tape: Tape,
        portfolio: Portfolio,
        costs: CostModel,
        *,
        participation_frac: float | None = None,
        allow_fractional: bool = True,
        allow_short: bool = False,
        impact_volatility_bars: int = 20,
        delisting_bars: int = 10,
        intraday: bool = False,
        next_id: int = 1,
    ) -> None:
        self._tape = tape
        self._portfolio = portfolio
        self._costs = costs
        self._participation_frac = participation_frac
        self._allow_fractional = allow_fractional
        self._allow_short = allow_short
        self._sigma_bars = impact_volatility_bars
        self._delisting_bars = delisting_bars
        self._intraday = intraday
        self._next_id = next_id
        self.working: dict[int, WorkingOrder] = {}
        self.orders = 0
        self.fills = 0

    # --- orders -----------------------------------------------------------------------------------

    def submit(self, intent: OrderIntent) -> Order:
        """Take an order; it replaces the symbol's working order. Raises OrderRejected on nonsense."""
        fixed = intent.value_usd is None
        amount = intent.quantity if fixed else intent.value_usd
        prices = [p for p in (intent.limit_price, intent.stop_price) if p is not None]
        if amount is None or not math.isfinite(amount):
            raise OrderRejected(
                f"An order for {intent.symbol} has the amount {amount}.",
                "Give a finite value_usd (market) or quantity (limit, stop).",
            )
        if any(not (math.isfinite(price) and price > 0.0) for price in prices):
            raise OrderRejected(
                f"An order for {intent.symbol} has the limit {intent.limit_price} and the stop "
                f"{intent.stop_price}.",
                "Prices must be positive numbers.",
            )
        order = Order(
            id=f"o{self._next_id}",
            symbol=intent.symbol,
            side=intent.side,
            quantity=abs(amount) if fixed else None,
            value_usd=None if fixed else amount,
            type=intent.type,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            tif=intent.tif,
            tag=intent.tag,
        )
        self._next_id += 1
        self.orders += 1
        self.working[intent.column] = WorkingOrder(order, intent.column)
        return order

    def cancel(self, columns: Sequence[int]) -> None:
        """End the working orders of these columns; a cancelled order never fills."""
        for column in columns:
            self.working.pop(column, None)

    # --- a bar ------------------------------------------------------------------------------------

    def fill_bar(self) -> list[Fill]:
        """Fill what the present row of the tape allows; then let day orders expire.

        Order of events: market, gapped stop and marketable limit orders at the open, sells before buys;
        then what the bar touches later, sells before buys.
        """
        tape = self._tape
        row = tape.row
        known = tape.known
        phases: tuple[list[tuple[WorkingOrder, float]], list[tuple[WorkingOrder, float]]] = ([], [])
        seen: list[WorkingOrder] = []
        for column in sorted(self.working) if len(self.working) > 1 else tuple(self.working):
            working = self.working[column]
            open_ = float(known[OPEN, row, column])
            if math.isnan(open_):
                continue  # no bar: the order waits for the symbol's next session
            seen.append(working)
            if self._intraday and working.order.tif == "day":
                today = tape.panel.as_of[row][:10]
                if working.session is not None and working.session != today:
                    del self.working[column]
                    continue
                working.session = today
            bar = (
                open_,
                float(known[HIGH, row, column]),
                float(known[LOW, row, column]),
                float(known[CLOSE, row, column]),
            )
            match = working.match(bar)
            if match is not None:
                phases[match[0]].append((working, match[1]))
        fills: list[Fill] = []
        for phase in (OPENING, DURING):
            if phases[phase]:
                self._fill_phase(phases[phase], phase, fills)
        for working in seen:
            self._expire(working)
        return fills

    def _expire(self, working: WorkingOrder) -> None:
        """Drop a day order after its daily bar; an intraday one goes when another day's bar comes."""
        if working.order.tif == "day" and not self._intraday:
            self.working.pop(working.column, None)

    def _fill_phase(
        self, matched: list[tuple[WorkingOrder, float]], phase: int, fills: list[Fill]
    ) -> None:
        sells: list[_Candidate] = []
        buys: list[_Candidate] = []
        for working, price in matched:
            candidate = self._candidate(working, price, phase)
            if candidate is not None:
                (buys if candidate.quantity > 0.0 else sells).append(candidate)
        for candidate in sells:
            self._execute(candidate, candidate.quantity, fills)
        if buys:
            scale = self._scale(buys)
            for candidate in buys:
                quantity = candidate.quantity * scale
                if scale < 1.0:
                    quantity = math.floor(quantity * _QUANTUM) / _QUANTUM
                self._execute(candidate, quantity, fills, whole=scale >= 1.0)

    def _candidate(self, working: WorkingOrder, price: float, phase: int) -> _Candidate | None:
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
            self.working.pop(column, None)
            return None
        if quantity < 0.0 and not self._allow_short:
            quantity = max(quantity, -held)
        closing_all = quantity == -held
        known, row = self._tape.known, self._tape.row
        volume = float(known[VOLUME, row, column])
        capped = False
        if self._participation_frac is not None and not math.isnan(volume):
            cap: float = self._participation_frac * volume
            if abs(quantity) > cap:
                quantity = math.copysign(math.floor(cap * _QUANTUM) / _QUANTUM, quantity)
                capped, closing_all = True, False
        if quantity < 0.0 and self._allow_short:
            quantity = self._within_margin(quantity, column, price)
        raw_ratio = float(known[CLOSE, row, column] / known[RAW_CLOSE, row, column])
        if not self._allow_fractional and not closing_all:
            quantity = _whole(quantity, raw_ratio)
        if quantity == 0.0:
            return None
        passive = order.limit_price is not None and phase == DURING
        return _Candidate(
            working,
            quantity,
            price,
            taking=not passive,
            raw_ratio=raw_ratio,
            volume=volume,
            sigma_frac=0.0 if passive else self._sigma(column),
            capped=capped,
        )

    def _within_margin(self, quantity: float, column: int, price: float) -> float:
        """A sale cut so that the short value after it is at most the equity.

        Together with buys that may not spend short proceeds (`_free_cash`) this keeps gross at most twice
        the equity: Regulation T's 50 % initial margin on both sides (12 CFR 220.12).
        """
        held = self._portfolio.positions[column]
        if held + quantity >= 0.0:
            return quantity
        equity, short_usd = self._equity_and_short(column)
        room = max(equity - short_usd, 0.0)
        lowest = -math.floor(room / price * _QUANTUM) / _QUANTUM
        allowed: float = min(max(quantity, lowest - held), 0.0)
        return allowed

    def _equity_and_short(self, without: int | None = None) -> tuple[float, float]:
        """(equity, short value without one column) at the marks known before this bar."""
        tape, portfolio = self._tape, self._portfolio
        equity, short_usd = portfolio.cash_usd, 0.0
        for column in sorted(portfolio.held):
            value = portfolio.positions[column] * float(tape.known[MARK, tape.row - 1, column])
            equity += value
            if value < 0.0 and column != without:
                short_usd -= value
        return equity, short_usd

    def _free_cash(self, buys: list[_Candidate]) -> float:
        """Cash that buys may spend: all of it, less what secures the shorts they do not cover."""
        cash = self._portfolio.cash_usd
        if not self._allow_short:
            return cash
        _, short_usd = self._equity_and_short()
        for candidate in buys:
            column = candidate.working.column
            covered = min(candidate.quantity, max(-self._portfolio.positions[column], 0.0))
            short_usd -= covered * float(self._tape.known[MARK, self._tape.row - 1, column])
        return cash - max(short_usd, 0.0)

    def _sigma(self, column: int) -> float:
        """Daily volatility known before this bar; the bar's own range where closes are too few."""
        if not self._costs.impact_coefficient:
            return 0.0
        known, row = self._tape.known, self._tape.row
        first = max(row - self._sigma_bars - 1, 0)
        sigma = close_volatility_frac(known[MARK, first:row, column].tolist())
        if sigma is None:
            sigma = range_volatility_frac(
                float(known[HIGH, row, column]), float(known[LOW, row, column])
            )
        return sigma

    def _cost_parts(self, candidate: _Candidate, quantity: float) -> tuple[float, float, float]:
        """(commission, spread, impact) in dollars. A limit order that rests pays neither spread nor
        impact, and one that takes pays them only as far as its limit leaves room."""
        size = abs(quantity)
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
            room = round(abs(limit - candidate.price) * size, 6)
            spread = min(spread, room)
            impact = min(impact, room - spread)
        return commission, spread, impact

    def _scale(self, buys: list[_Candidate]) -> float:
        """The largest fraction of all buys that the cash pays for, costs included.

        Costs grow faster than size (impact) or not at all (a minimum), so the fraction is found by
        bisection on the exact cost unless every cost is a fixed fraction of value.
        """
        cash = self._free_cash(buys)
        if len(buys) == 1 and self._costs.linear and buys[0].taking:
            candidate = buys[0]
            if candidate.working.order.limit_price is None:
                need = candidate.quantity * candidate.price * (1.0 + self._costs.linear_frac)
                return 1.0 if need <= cash else max(cash, 0.0) / need
        if self._need(buys, 1.0) <= cash:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            if self._need(buys, middle) <= cash:
                low = middle
            else:
                high = middle
        return low

    def _need(self, buys: list[_Candidate], scale: float) -> float:
        return math.fsum(
            candidate.quantity * scale * candidate.price
            + sum(self._cost_parts(candidate, candidate.quantity * scale))
            for candidate in buys
        )

    def _execute(
        self, candidate: _Candidate, quantity: float, fills: list[Fill], whole: bool = True
    ) -> None:
        working = candidate.working
        order, column = working.order, working.column
        if not whole and not self._allow_fractional:
            quantity = _whole(quantity, candidate.raw_ratio)
        if quantity == 0.0:
            return
        commission, spread, impact = self._cost_parts(candidate, quantity)
        fill = Fill(order.id, order.symbol, quantity, candidate.price, commission, spread, impact)
        self._book(column, fill, order.tag)
        fills.append(fill)
        if working.left is None:
            # A market order stays only for what the cap left over; its target value stands.
            done = not candidate.capped
        else:
            working.left = round(working.left - quantity, QUANTITY_DIGITS)
            done = working.left == 0.0
        if done:
            self.working.pop(column, None)

    def _book(self, column: int, fill: Fill, tag: str | None) -> None:
        self.fills += 1
        self._portfolio.apply(column, fill, self._tape.panel.as_of[self._tape.row], tag)

    # --- delisting and borrowing ------------------------------------------------------------------

    def close_delisted(self) -> tuple[list[Order], list[Fill]]:
        """Close held symbols that had no bar for `delisting_bars` rows, at their last close.

        Point in time: only rows without a bar that have passed count. Commission and spread are paid;
        there is no volume, so no cap and no impact.
        """
        orders: list[Order] = []
        fills: list[Fill] = []
        tape, portfolio = self._tape, self._portfolio
        stale = tape.known[STALE, tape.row]
        for column in sorted(portfolio.held):
            if not stale[column] >= self._delisting_bars:
                continue
            self.working.pop(column, None)
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
            price = float(tape.known[MARK, tape.row, column])
            raw = tape.known[RAW_CLOSE, : tape.row + 1, column]
            closes = tape.known[CLOSE, : tape.row + 1, column]
            last = int(np.flatnonzero(~np.isnan(closes))[-1])
            value = abs(quantity) * price
            commission = self._costs.commission_usd(
                value, abs(quantity) * float(closes[last] / raw[last])
            )
            spread = self._costs.spread_usd(value)
            orders.append(order)
            fill = Fill(order.id, symbol, quantity, price, commission, spread, 0.0)
            self._book(column, fill, order.tag)
            fills.append(fill)
        return orders, fills

    def charge_borrow(self) -> float:
        """Charge the days since the last row for what was short over them; returns dollars."""
        tape, portfolio = self._tape, self._portfolio
        if tape.row == 0 or not self._costs.borrow_bps_per_year:
            return 0.0
        short_usd = 0.0
        for column in sorted(portfolio.held):
            quantity = portfolio.positions[column]
            if quantity < 0.0:
                short_usd -= quantity * float(tape.known[MARK, tape.row - 1, column])
        if not short_usd > 0.0:
            return 0.0
        elapsed = tape.times[tape.row] - tape.times[tape.row - 1]
        charge = self._costs.borrow_usd(short_usd, float(elapsed / np.timedelta64(1, "D")))
        portfolio.pay(charge)
        return charge


def _whole(quantity: float, raw_ratio: float) -> float:
    """The quantity cut to whole raw shares, in adjusted shares (dollars kept: shares x adjusted price =
    raw shares x raw price, so raw shares = shares x adjusted / raw)."""
    raw_shares = math.floor(abs(quantity) * raw_ratio + 1e-9)
    return (
        math.copysign(round(raw_shares / raw_ratio, QUANTITY_DIGITS), quantity)
        if raw_shares
        else 0.0
    )
