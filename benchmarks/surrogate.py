"""What the CIFAR-10 MLP would have scored: learning curves for any configuration, from the recorded ones.

One Gaussian process per optimizer over learning rate, width and batch size (logarithms) gives the mean curve of 15
epochs at a constant rate; four more, over all optimizers, what a cosine or averaged weights add to it, and how it goes
on to 30 epochs with and without averaged weights; a recorded curve's own jitter about its trend comes on top, so that a
pruner has to cope with it. An epoch's seconds are a fit to the recorded ones, on the low side: a second recorder always
ran beside, other work sometimes.

    python benchmarks/surrogate.py     prints its error, and the best settings of the space: what no search can beat
"""

import dataclasses
import itertools
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.optimize import nnls
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

OPTIMIZERS = ("adam", "sgd", "rmsprop")
SHORT, N_EPOCHS, LONG = 5, 15, 30
N_NEIGHBOURS = 4  # recorded curves that may lend their jitter
CHANCE = 0.1
N_SHOWN = 3
QUANTILE = 0.3
N_ROWS, N_INPUTS, N_CLASSES = 45_000, 3072, 10
N_SLOTS = {"adam": 3, "sgd": 1, "rmsprop": 2}  # arrays as large as the weights that one update goes through

Vector = NDArray[np.float64]
Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """Fitted once; every question has one answer but for the jitter, which the caller's generator draws.

    Attributes:
        means: Per optimizer, the process that gives the curve at a constant rate.
        tails: With averaged weights and without ("constant"), how far the epochs after the 15th lie above the last
            three before.
        cosine: What a cosine over 15 epochs (15 values) and over 5 (5 values) adds.
        averaging: What averaged weights add after each of 15 epochs.
        recorded: (schedule, epochs, optimizer) -> the features of the recorded curves and their jitter.
        seconds: Per optimizer, seconds per 1e9 multiplications and per 1e9 array elements updated, and at rest.
        error: Root mean square error of the last epoch's accuracy when each curve is left out in turn.
    """

    means: Mapping[str, GaussianProcessRegressor]
    tails: Mapping[str, GaussianProcessRegressor]
    cosine: GaussianProcessRegressor
    averaging: GaussianProcessRegressor
    recorded: Mapping[tuple[str, int, str], tuple[Vector, Vector]]
    seconds: Mapping[str, Vector]
    error: float

    def curve(self, config: Config, *, schedule: str, epochs: int, chance: np.random.Generator) -> Vector:
        """Return the validation accuracy after each of up to 30 epochs; of up to 15 for a cosine."""
        point = _features(config)[None]
        mean = self.means[config["optimizer"]].predict(point)[0][:epochs]
        if schedule == "cosine":
            mean = mean + _stretch(self.cosine.predict(_with_optimizer(config)[None])[0], epochs)
        if schedule == "averaged":
            mean = mean + self.averaging.predict(_with_optimizer(config)[None])[0][:epochs]
        if epochs > N_EPOCHS:
            tail = self.tails[schedule].predict(_with_optimizer(config)[None])[0]
            mean = np.concatenate([mean, mean[-3:].mean() + tail])[:epochs]
        length = SHORT if schedule == "cosine" and epochs <= (SHORT + N_EPOCHS) // 2 else N_EPOCHS
        points, jitter = self.recorded[schedule, length, config["optimizer"]]
        nearest = np.argsort(((points - point) ** 2).sum(axis=1))[:N_NEIGHBOURS]
        lent = np.resize(jitter[chance.choice(nearest)], epochs)
        means: Vector = np.clip(mean + lent, CHANCE, 1.0)
        return means

    def epoch_seconds(self, config: Config) -> float:
        """Return what an epoch takes on one thread."""
        return float(work(config) @ self.seconds[config["optimizer"]])


def work(config: Config) -> Vector:
    """Return an epoch's 1e9 multiplications, its 1e9 updated elements, and 1."""
    width = config["width"]
    n_weights = N_INPUTS * width + width * width + width * N_CLASSES
    n_steps = N_ROWS / config["batch_size"]
    return np.array([3 * n_weights * N_ROWS / 1e9, n_steps * n_weights * N_SLOTS[config["optimizer"]] / 1e9, 1.0])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the recorded curves; where a training diverged, chance follows."""
    curves = [json.loads(line) for line in path.read_text().splitlines()]
    for curve in curves:
        values = curve["val_accuracy"]
        curve["val_accuracy"] = values + [CHANCE] * (curve["epochs"] - len(values))
    return curves


def fit(curves: Sequence[dict[str, Any]]) -> Surrogate:
    """Fit to recorded curves."""
    constant = _longest(curves, "constant")
    averaged = _longest(curves, "averaged")
    cosines = [[c for c in curves if (c["schedule"], c["epochs"]) == ("cosine", n)] for n in (N_EPOCHS, SHORT)]
    means, errors = {}, []
    for optimizer in OPTIMIZERS:
        own = [curve for curve in constant if curve["optimizer"] == optimizer]
        x = np.array([_features(curve) for curve in own])
        y = np.array([curve["val_accuracy"][:N_EPOCHS] for curve in own])
        means[optimizer] = _regress(x, y)
        errors.append(_leave_one_out(means[optimizer], y)[:, -1])
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for curve in [*constant, *(curve for curve in curves if curve["schedule"] != "constant")]:
        length = min(curve["epochs"], N_EPOCHS)
        groups.setdefault((curve["schedule"], length, curve["optimizer"]), []).append(curve)
    return Surrogate(
        means=means,
        tails={"constant": _fit_tail(constant), "averaged": _fit_tail(averaged)},
        cosine=_fit_gain(constant, *cosines),
        averaging=_fit_gain(constant, averaged),
        recorded={
            key: (np.array([_features(c) for c in own]), np.array([_jitter(c["val_accuracy"][: key[1]]) for c in own]))
            for key, own in groups.items()
        },
        seconds={optimizer: _fit_seconds(curves, optimizer) for optimizer in OPTIMIZERS},
        error=float(np.sqrt(np.mean(np.concatenate(errors) ** 2))),
    )


def _longest(curves: Sequence[dict[str, Any]], schedule: str) -> list[dict[str, Any]]:
    """Return one curve of each configuration that has any at this schedule."""
    own = sorted((curve for curve in curves if curve["schedule"] == schedule), key=lambda curve: curve["epochs"])
    return list({curve["number"]: curve for curve in own}.values())


def _features(config: Config) -> Vector:
    """Place a configuration in a box of about unit sides."""
    rate, width, batch = (
        math.log10(config["learning_rate"]),
        math.log2(config["width"]),
        math.log2(config["batch_size"]),
    )
    return np.array([(rate + 4) / 3, (width - 5) / 4, (batch - 5) / 3])


def _with_optimizer(config: Config) -> Vector:
    return np.concatenate([_features(config), [float(config["optimizer"] == name) for name in OPTIMIZERS]])


def _regress(x: Vector, y: Vector) -> GaussianProcessRegressor:
    kernel = ConstantKernel(1.0) * Matern(np.full(x.shape[1], 0.5), (0.05, 20.0), nu=2.5) + WhiteKernel(0.05)
    return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0).fit(x, y)


def _leave_one_out(process: GaussianProcessRegressor, y: Vector) -> Vector:
    """Return each row's error when it is left out (Rasmussen and Williams 2006, equation 5.12)."""
    inverse = cho_solve((process.L_, True), np.eye(len(y)))
    centred: Vector = y - y.mean(axis=0)
    errors: Vector = (inverse @ centred) / np.diag(inverse)[:, None]
    return errors


def _fit_tail(curves: Sequence[dict[str, Any]]) -> GaussianProcessRegressor:
    long = [curve for curve in curves if curve["epochs"] == LONG]
    y = [np.array(c["val_accuracy"][N_EPOCHS:]) - np.mean(c["val_accuracy"][N_EPOCHS - 3 : N_EPOCHS]) for c in long]
    return _regress(np.array([_with_optimizer(curve) for curve in long]), np.array(y))


def _fit_gain(constant: Sequence[dict[str, Any]], *kinds: Sequence[dict[str, Any]]) -> GaussianProcessRegressor:
    """Fit what other trainings of a configuration have above the one at a constant rate, one kind after the other."""
    numbered = [{curve["number"]: curve["val_accuracy"] for curve in kind} for kind in kinds]
    x, y = [], []
    for curve in constant:
        if all(curve["number"] in kind for kind in numbered):
            others = [kind[curve["number"]][:N_EPOCHS] for kind in numbered]
            x.append(_with_optimizer(curve))
            y.append(np.concatenate([np.subtract(o, curve["val_accuracy"][: len(o)]) for o in others]))
    return _regress(np.array(x), np.array(y))


def _stretch(gain: Vector, epochs: int) -> Vector:
    """Return a cosine's gain over any number of epochs from those over 15 and 5, at the same shares of the way."""
    share = np.arange(1, epochs + 1) / epochs
    long = np.interp(share, np.arange(1, N_EPOCHS + 1) / N_EPOCHS, gain[:N_EPOCHS])
    short = np.interp(share, np.arange(1, SHORT + 1) / SHORT, gain[N_EPOCHS:])
    weight = min(max((epochs - SHORT) / (N_EPOCHS - SHORT), 0.0), 1.0)
    mixed: Vector = weight * long + (1 - weight) * short
    return mixed


def _jitter(values: Sequence[float]) -> Vector:
    """Return a curve less its trend, a polynomial in the logarithm of the epoch."""
    epoch = np.log(np.arange(1, len(values) + 1))
    degree = 3 if len(values) > SHORT else 2
    trend: Vector = np.polynomial.Polynomial.fit(epoch, values, degree)(epoch)
    return np.asarray(values) - trend


def _fit_seconds(curves: Sequence[dict[str, Any]], optimizer: str) -> Vector:
    """Fit seconds per epoch to a low quantile of each shape's, relative errors counting."""
    shapes: dict[tuple[float, ...], list[float]] = {}
    for curve in curves:
        if curve["optimizer"] == optimizer:
            shapes.setdefault(tuple(work(curve)), []).extend(curve["seconds"][1:])  # the first epoch compiles
    rows = np.array([np.array(key) / np.quantile(seconds, QUANTILE) for key, seconds in shapes.items() if seconds])
    weights, _ = nnls(rows, np.ones(len(rows)))
    return np.asarray(weights)


def main() -> None:
    """Print how far the surrogate is off, and the settings with the highest curves, without jitter."""
    warnings.simplefilter("ignore")  # lengths at their bounds
    surrogate = fit(read(Path(__file__).with_name("curves.jsonl")))
    print(f"root mean square error of the last epoch's accuracy, left out in turn: {surrogate.error:.3f}")
    still = dataclasses.replace(
        surrogate, recorded={k: (x, 0 * jitter) for k, (x, jitter) in surrogate.recorded.items()}
    )
    rates = [round(float(rate), 6) for rate in np.logspace(-4, -1, 31)]
    grid = itertools.product(OPTIMIZERS, rates, (32, 64, 128, 256, 512), (32, 64, 128, 256))
    configs = [dict(zip(("optimizer", "learning_rate", "width", "batch_size"), values, strict=True)) for values in grid]
    for schedule in ("constant", "averaged", "cosine"):
        chance = np.random.default_rng(0)
        tops = [float(still.curve(c, schedule=schedule, epochs=N_EPOCHS, chance=chance).max()) for c in configs]
        for index in np.argsort(tops)[: -N_SHOWN - 1 : -1]:
            print(f"{schedule:9} {tops[index]:.3f}  {configs[index]}")


if __name__ == "__main__":
    main()
