"""The installed command: hpo run ..., and python -m hpo."""

import typer

from hpo import run

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
app.command("run")(run.run)


@app.callback()
def hpo() -> None:
    """Hyperparameter optimization for Keras."""


def main() -> None:
    """Run the installed command."""
    run.main(app)


if __name__ == "__main__":
    main()
