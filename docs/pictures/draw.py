"""Draw the README's pictures from a real run: what a terminal shows while it goes on, and at its end.

    python docs/pictures/draw.py [--trials 20] [--output docs/pictures]

It tunes digits_mlp with two workers in a temporary folder, as `make demo` does, which takes a minute or two, and writes
running.svg and ended.svg. Which parameters are drawn, and when, differs from run to run.
"""

import argparse
import io
import tempfile
from pathlib import Path

from rich.console import Console, ConsoleRenderable
from rich.terminal_theme import MONOKAI

from hpo.database import address_of
from hpo.definition import find_study
from hpo.run.display import LinesView, Snapshot, page, summary
from hpo.run.ending import Signals
from hpo.run.launcher import run_study
from hpo.run.report import headlines
from hpo.run.settings import RunSettings, WorkerLimits
from hpo.study import StudyOptions, TicketState

HERE = Path(__file__).parent
N_WORKERS = 2
COLUMNS = 132
# rich's own format loads a font from the web, which a picture in a page may not do.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px;
line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


class HalfWay(LinesView):
    """Keeps what the live page would show in the middle of a run."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.kept: Snapshot | None = None
        self._is_settled = False

    def update(self, snapshot: Snapshot) -> None:
        """Keep the first snapshot of the second half in which all workers are training; until then the best so far."""
        super().update(snapshot)
        leased = [ticket for ticket in snapshot.tickets if ticket.state == TicketState.LEASED]
        n_training = sum(bool(ticket.epoch and ticket.epochs) for ticket in leased)
        # A run of a few short trials can end without any snapshot of an epoch in between: then the first one is drawn.
        if self._is_settled or (n_training == 0 and self.kept is not None):
            return
        self.kept = snapshot
        self._is_settled = n_training == N_WORKERS and snapshot.n_ended >= len(snapshot.tickets) // 2


def draw(path: Path, n_trials: int, *parts: ConsoleRenderable | str) -> None:
    """Write what a terminal shows as an SVG file."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(f"$ hpo run --study digits_mlp --trials {n_trials}", highlight=False)
    for part in parts:
        console.print(part, highlight=False, markup=False)
    console.print()  # the lowest line would lose what hangs below it
    text = console.export_svg(title="hpo", theme=MONOKAI, code_format=SVG, unique_id=path.stem)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def main() -> None:
    """Run and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--output", type=Path, default=HERE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder) / "runs"
        options = StudyOptions(
            file=find_study("digits_mlp", HERE.parents[1] / "studies"),
            address=address_of(None, runs_dir),
            runs_dir=runs_dir,
            data_dir=None,
            n_trials=arguments.trials,
            seed=None,
            n_threads=None,
            lease_seconds=None,
            target=None,
            is_new_generation=False,
        )
        limits = WorkerLimits(
            trial_timeout_seconds=None,
            patience_seconds=60.0,
            n_kept_models=0,
            max_growth_bytes=250_000_000,
            max_carried_bytes=0,
        )
        settings = RunSettings(
            options=options, limits=limits, n_workers=N_WORKERS, deadline_seconds=None, health_path=None
        )
        view = HalfWay(Console())
        outcome = run_study(settings, view, Signals())
        if view.kept is not None:
            draw(arguments.output / "running.svg", arguments.trials, page(view.kept))
        result = summary(outcome.rows, outcome.study.facts)
        draw(arguments.output / "ended.svg", arguments.trials, *headlines(outcome, options), result)


if __name__ == "__main__":
    main()
