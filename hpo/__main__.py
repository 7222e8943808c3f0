"""The installed command: hpo run ... is python -m hpo.run ..., and so on."""

from typing import Annotated

import typer

from hpo import __version__
from hpo.check.__main__ import check
from hpo.cluster.__main__ import app as cluster_app
from hpo.command import plain_app, run_command
from hpo.dashboard.__main__ import dashboard
from hpo.finish.__main__ import finish
from hpo.init import init
from hpo.password import password
from hpo.report.__main__ import report
from hpo.reproduce.__main__ import reproduce
from hpo.run.__main__ import run
from hpo.status import status
from hpo.study.__main__ import app as study_app
from hpo.tensorboard import tensorboard

app = plain_app(no_args_is_help=True, add_completion=True)
app.command("init")(init)
app.command("check")(check)
app.command("run")(run)
app.command("finish")(finish)
app.command("reproduce")(reproduce)
app.command("status")(status)
app.command("report")(report)
app.add_typer(study_app, name="study")
app.add_typer(cluster_app, name="cluster")
app.command("dashboard")(dashboard)
app.command("tensorboard")(tensorboard)
app.command("password")(password)


def show_version(is_asked: bool) -> None:
    """Print hpo's version and end, where that is asked for."""
    if is_asked:
        print(f"hpo {__version__}")
        raise typer.Exit


@app.callback()
def hpo(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show hpo's version and end.")
    ] = False,
) -> None:
    """Hyperparameter optimization for Keras."""


def main() -> None:
    """Run the installed command."""
    run_command(app, name="hpo")


if __name__ == "__main__":
    main()
