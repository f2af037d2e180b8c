"""SMA 10/30 through nautilus_trader, timed.

    python nautilus_sma.py BARS.npz

Signals are precomputed and read by index. nautilus_trader fills a market order at the price at which its
book stands when the order comes, which after a bar is that bar's close. So that fills happen at the next
open, the bars are shifted: bar t runs from just after open t to open t + 1, and the book still walks
through high, low and close (a bar that opens where the last one closed spares it one price, which is to
its advantage). The decision taken there is the one of close t, and the order's quantity is exact.
One event a bar, as for the other engines. Prices have 6 decimals as the data has, quantities 12, money 8.
Included: `BacktestEngine.run` with its analysis after the run. Excluded: imports, making `Bar` objects,
`add_data`. Logging and the risk engine are off, as they make it slower.
"""

from __future__ import annotations

import argparse
from decimal import Decimal
from pathlib import Path

import nautilus_trader
import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy
from sma import COMMISSION_FRAC, INITIAL_CASH_USD, Bars, Timing, read_bars, report, sma_long, timed

VENUE = Venue("SIM")
PRICE_DECIMALS, SIZE_DECIMALS = 6, 12
SHARES = Currency("SYN", SIZE_DECIMALS, 0, "Synthetic", CurrencyType.CRYPTO)
ROUNDING = 1.0 - 1e-12
"""Leaves cash above zero: a cash account may not be overdrawn by a rounded commission."""


class SmaCross(Strategy):
    """Long while the signal says so."""

    def __init__(self, instrument: CurrencyPair, bar_type: BarType, long: list[bool]) -> None:
        super().__init__(StrategyConfig(strategy_id="SMA-001"))
        self.instrument, self.bar_type, self.long = instrument, bar_type, long
        self.bar = -1
        self.fills = 0
        self.held: Quantity | None = None

    def on_start(self) -> None:
        self.account = self.portfolio.account(VENUE)
        self.subscribe_bars(self.bar_type)

    def on_order_filled(self, event: OrderFilled) -> None:
        self.fills += 1
        self.held = event.last_qty if event.order_side == OrderSide.BUY else None

    def on_bar(self, bar: Bar) -> None:
        self.bar += 1
        if self.long[self.bar]:
            if self.held is None:
                cash_usd = self.account.balance_free(USDT).as_double()
                price = bar.close.as_double() * (1.0 + COMMISSION_FRAC)
                self.send(OrderSide.BUY, Quantity(cash_usd / price * ROUNDING, SIZE_DECIMALS))
        elif self.held is not None:
            self.send(OrderSide.SELL, self.held)

    def send(self, side: OrderSide, quantity: Quantity) -> None:
        self.submit_order(self.order_factory.market(self.instrument.id, side, quantity))


def spot_instrument() -> CurrencyPair:
    return CurrencyPair(
        instrument_id=InstrumentId(Symbol("SYN/USDT"), VENUE),
        raw_symbol=Symbol("SYNUSDT"),
        base_currency=SHARES,
        quote_currency=USDT,
        price_precision=PRICE_DECIMALS,
        size_precision=SIZE_DECIMALS,
        price_increment=Price(10.0**-PRICE_DECIMALS, PRICE_DECIMALS),
        size_increment=Quantity(10.0**-SIZE_DECIMALS, SIZE_DECIMALS),
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(str(COMMISSION_FRAC)),
        taker_fee=Decimal(str(COMMISSION_FRAC)),
    )


def shifted(bars: Bars, bar_type: BarType) -> list[Bar]:
    """The bars from one open to the next; the last bar has no next open and is left out."""
    opens, ends = bars.open[:-1].copy(), bars.open[1:].copy()
    times = np.array([t.removesuffix("Z") for t in bars.times[1:]], dtype="datetime64[ns]")
    stamps = times.astype(np.uint64)
    return Bar.from_raw_arrays_to_list(
        bar_type,
        PRICE_DECIMALS,
        SIZE_DECIMALS,
        opens,
        np.maximum(bars.high[:-1], ends),
        np.minimum(bars.low[:-1], ends),
        ends,
        bars.volume[:-1].copy(),
        stamps,
        stamps,
    )


def run(bars: Bars) -> Timing:
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(bypass=True),
        )
    )
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH,
        starting_balances=[Money(INITIAL_CASH_USD, USDT), Money(0, SHARES)],
    )
    instrument = spot_instrument()
    engine.add_instrument(instrument)
    bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
    engine.add_data(shifted(bars, bar_type))
    strategy = SmaCross(instrument, bar_type, sma_long(bars.close).tolist())
    engine.add_strategy(strategy)
    seconds, cpu_seconds = timed(engine.run)

    account = engine.portfolio.account(VENUE)
    shares = account.balance_total(SHARES).as_double()
    timing = Timing(
        engine="nautilus_trader",
        version=nautilus_trader.__version__,
        bars=len(bars),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        fills=strategy.fills,
        final_equity_usd=account.balance_total(USDT).as_double() + shares * float(bars.close[-1]),
    )
    engine.dispose()
    return timing


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bars", type=Path)
    given = parser.parse_args()
    bars = read_bars(given.bars)
    run(bars.head(500))
    report(run(bars))


if __name__ == "__main__":
    main()
