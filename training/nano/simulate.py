"""Simulated prices: asymmetric GARCH with fat tails and jumps, under invented names.

Owns the process and its parameters' ranges. Each path draws its own parameters, so that no single world is
learnt by heart. Names end in "(simulated)", so no text about them can be taken for a fact.

Source: Glosten, Jagannathan and Runkle (1993) for the variance, Student t innovations after Bollerslev
(1987), Poisson jumps after Merton (1976).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

BURN_IN_BARS = 250
SIMULATED = "(simulated)"


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """What each path drew: parameters of its GJR-GARCH(1,1) with jumps, each [N].

    Units: `daily` is the long-run daily volatility as a fraction, `jump_chance` per bar.
    """

    daily: FloatArray
    omega: FloatArray
    alpha: FloatArray
    gamma: FloatArray
    beta: FloatArray
    freedom: FloatArray
    drift: FloatArray
    jump_chance: FloatArray

    @classmethod
    def draw(cls, paths: int, rng: np.random.Generator, *, jumps: bool) -> Process:
        n = paths
        daily = rng.uniform(0.12, 0.7, n) / np.sqrt(252.0)
        persistence = rng.uniform(0.9, 0.995, n)
        alpha = rng.uniform(0.04, 0.18, n)
        gamma = rng.uniform(0.0, 0.12, n)
        beta = np.maximum(persistence - alpha - 0.5 * gamma, 0.0)
        return cls(
            daily=daily,
            omega=daily**2 * (1.0 - alpha - beta - 0.5 * gamma),
            alpha=alpha,
            gamma=gamma,
            beta=beta,
            freedom=rng.uniform(4.0, 12.0, n),
            drift=rng.normal(0.0003, 0.0004, n),
            jump_chance=rng.uniform(0.0, 5.0, n) / 252.0 if jumps else np.zeros(n),
        )

    def step(
        self, variance: FloatArray, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """One bar from `variance` [..., N]: its return, the part of it that is noise, the next variance."""
        shape = variance.shape
        shock = rng.standard_t(self.freedom, shape) * np.sqrt((self.freedom - 2.0) / self.freedom)
        move = np.sqrt(variance) * shock
        jump = (rng.random(shape) < self.jump_chance) * rng.normal(0.0, 5.0, shape) * self.daily
        returns = np.clip(self.drift + move + jump, -0.4, 0.4)
        rising = self.alpha + self.gamma * (move < 0.0)
        return returns, move + jump, self.omega + rising * move**2 + self.beta * variance


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPaths:
    """Shapes: `close` and `volume` [T, N]; `names` N invented tickers; `variance` [T, N] is the hidden state
    after each bar, the variance of the next one."""

    names: tuple[str, ...]
    close: FloatArray
    volume: FloatArray
    variance: FloatArray
    process: Process


def simulate(paths: int, bars: int, *, seed: int, jumps: bool = True) -> SimulatedPaths:
    """N independent paths of T daily closes and volumes.

    Units: closes begin near 20 to 200; yearly volatilities lie between 12 % and 70 %. Without `jumps` the
    process is GJR-GARCH(1,1) alone.
    """
    rng = np.random.default_rng(seed)
    n = paths
    process = Process.draw(n, rng, jumps=jumps)
    hidden = process.daily**2
    steps = BURN_IN_BARS + bars
    returns = np.empty((steps, n))
    activity = np.empty((steps, n))
    variance = np.empty((steps, n))
    for step in range(steps):
        returns[step], noise, hidden = process.step(hidden, rng)
        activity[step] = np.abs(noise) / process.daily
        variance[step] = hidden
    start = rng.uniform(20.0, 200.0, n)
    close = start * np.exp(np.cumsum(np.log1p(returns[BURN_IN_BARS:]), axis=0))
    noise = rng.normal(0.0, 0.25, (bars, n))
    volume = 1e6 * np.exp(noise + 0.25 * activity[BURN_IN_BARS:])
    return SimulatedPaths(invented_names(n, rng), close, volume, variance[BURN_IN_BARS:], process)


def returns_ahead(
    paths: SimulatedPaths, bar: int, horizon_bars: int, draws: int, *, seed: int
) -> FloatArray:
    """Returns over the next `horizon_bars` of `draws` continuations of every path from one bar, [draws, N].

    What the path itself does next is one draw of these. Their shares tell the chances that it had, with far
    less noise than the one outcome that came: Rao and Blackwell's way of averaging over what is known.
    """
    rng = np.random.default_rng([seed, bar])
    hidden = np.broadcast_to(paths.variance[bar], (draws, len(paths.names)))
    growth = np.ones(hidden.shape)
    for _ in range(horizon_bars):
        returns, _noise, hidden = paths.process.step(hidden, rng)
        growth *= 1.0 + returns
    result: FloatArray = growth - 1.0
    return result


def invented_names(count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Tickers of five letters that name nothing, each marked as simulated."""
    consonants, vowels = list("BCDFGHJKLMNPRSTVWXZ"), list("AEIOU")
    names = []
    for _ in range(count):
        letters = [rng.choice(consonants), rng.choice(vowels), rng.choice(consonants)]
        letters += [rng.choice(vowels), rng.choice(["Q", "X", "Z"])]
        names.append(f"{''.join(letters)} {SIMULATED}")
    return tuple(names)
