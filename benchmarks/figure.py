"""Draw what was measured: of search.py, best accuracy so far over time; of storage.py, the share of time that is lost.

python benchmarks/figure.py SEARCH.json FIGURE.svg     (with the Python of the peers' environment, which has matplotlib)
python benchmarks/figure.py STORAGE.json FIGURE.svg
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

COLORS = {
    "hpo": "#d1480f",
    "hpo, last weights": "#e07b39",
    "random on hpo": "#e8b48c",
    "ray": "#2a6f97",
    "kerastuner": "#6a994e",
    "optuna": "#7d6b91",
}
LABELS = {
    "hpo": "hpo",
    "hpo, last weights": "hpo without averaged weights",
    "random on hpo": "random search, hpo's engine",
    "ray": "Ray Tune, ASHA",
    "kerastuner": "KerasTuner Hyperband",
    "optuna": "Optuna script, model.fit",
}


def draw_search(results: dict[str, Any], axes: Any) -> None:
    """Draw the median and range of each contender."""
    for name in COLORS:
        own = [row["curve"] for row in results["rows"] if row["contender"] == name]
        if not own:
            continue
        seconds = np.array(sorted({0.0, results["budget"], *(at for curve in own for at, _ in curve)}))
        best = np.array(
            [[max((v for at, v in curve if at <= now), default=np.nan) for now in seconds] for curve in own]
        )
        known = ~np.isnan(best).any(axis=0)  # from when on all seeds have something
        style = {"color": COLORS[name], "step": "post"}
        axes.fill_between(seconds[known], best.min(axis=0)[known], best.max(axis=0)[known], alpha=0.15, lw=0, **style)
        middle = np.median(best, axis=0)
        width = 2.4 if name == "hpo" else 1.5
        axes.step(
            seconds, middle, where="post", color=COLORS[name], lw=width, label=f"{LABELS[name]}  {middle[-1]:.3f}"
        )
    axes.set(xlabel="seconds since the command, start-up included", ylabel="best validation accuracy so far")
    axes.set(xlim=(0, results["budget"]), ylim=(0.3, None))
    axes.legend(frameon=False, loc="lower right")


def draw_storage(rows: list[dict[str, Any]], axes: Any) -> None:
    """Draw the share of a trial's time that the database takes, over the number of workers, for each length."""
    for color, trial_seconds in zip(COLORS.values(), sorted({row["trial_seconds"] for row in rows}), strict=False):
        own = sorted(
            (row["n_workers"], row["overhead_per_trial_seconds"] / trial_seconds)
            for row in rows
            if row["trial_seconds"] == trial_seconds
        )
        label = f"trials of {trial_seconds:.0f} s"
        axes.plot([n for n, _ in own], [100 * share for _, share in own], "o-", color=color, label=label)
    ticks = sorted({row["n_workers"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="workers, each with a launcher", ylabel="% of a trial's time")
    axes.set_xticks(ticks, [str(n) for n in ticks], minor=False)
    axes.legend(frameon=False, loc="upper left")


def draw(results: Any, path: Path) -> None:
    """Write the figure; its format is the ending's."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hpo", "font.size": 10, "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
    (draw_search if isinstance(results, dict) else draw_storage)(results, axes)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
