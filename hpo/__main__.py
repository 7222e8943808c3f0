"""The installed command: hpo run ... is python -m hpo.run ..., and so on."""

from hpo.command import plain_app, run_command
from hpo.dashboard import dashboard
from hpo.password import password
from hpo.run.__main__ import run
from hpo.status import status
from hpo.study.__main__ import app as study_app
from hpo.tensorboard import tensorboard

app = plain_app(no_args_is_help=True)
app.command("run")(run)
app.command("status")(status)
app.add_typer(study_app, name="study")
app.command("dashboard")(dashboard)
app.command("tensorboard")(tensorboard)
app.command("password")(password)


@app.callback()
def hpo() -> None:
    """Hyperparameter optimization for Keras."""


def main() -> None:
    """Run the installed command."""
    run_command(app)


if __name__ == "__main__":
    main()
