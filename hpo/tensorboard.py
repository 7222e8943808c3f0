"""TensorBoard on a study's runs, behind the doors of hpo.web.doors: python -m hpo.tensorboard."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from hpo.command import AllowedHost, PasswordFile, plain_app, run_command, whole_number
from hpo.errors import OptionError
from hpo.names import is_plain_name

app = plain_app()

# TensorBoard asks for HParams and time series by POST; nothing that it loads here writes.
METHODS = ("GET", "HEAD", "POST")


@app.command()
def tensorboard(
    study: Annotated[
        str | None, typer.Option(envvar="HPO_STUDY", metavar="NAME", help="One study. Default: all in the runs folder.")
    ] = None,
    runs_dir: Annotated[
        Path, typer.Option(envvar="HPO_RUNS_DIR", metavar="DIR", help="Where the studies' logs are.")
    ] = Path("runs"),
    host: Annotated[
        str,
        typer.Option(
            envvar="HPO_TENSORBOARD_HOST", metavar="ADDRESS", help="Where to listen; behind TLS, if not here."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            envvar="HPO_TENSORBOARD_PORT",
            parser=whole_number(0, 65535),
            metavar="N",
            help="Its port; 0 for a free one.",
        ),
    ] = 6006,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
) -> None:
    """Compare trials in TensorBoard, HParams first; logs that are written later appear by themselves."""
    from hpo.study import folder_of
    from hpo.web import Rules, choose_password, protect, serve

    password = choose_password(password_file, host)
    if study is not None and not is_plain_name(study):
        raise OptionError(f'"{study}" cannot be a study\'s name.', "Name one with --study NAME; hpo status shows them.")
    logs_dir = runs_dir if study is None else folder_of(runs_dir, study).path
    if not logs_dir.is_dir():
        print(f"There is nothing in {logs_dir} yet.", flush=True)
    rules = Rules(host=host, names=allowed_host or (), password=password, allow=lambda method, path: method in METHODS)
    page = protect(build_app(logs_dir), rules, lambda: True)
    raise typer.Exit(serve(page, title=f"TensorBoard of {logs_dir}", host=host, port=port))


def build_app(logs_dir: Path) -> Any:
    """Start reading a folder of logs, in a thread, and return TensorBoard's page."""
    # TensorBoard imports TensorFlow if it can, 5 seconds and 400 MB, unless it finds this module of its own builds.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard import default, program

    # The first plugin that has data is the one a visitor sees. Other packages' plugins would come in behind the doors.
    plugins = sorted(
        default.get_static_plugins(), key=lambda plugin: getattr(plugin, "__name__", "") != "HParamsPlugin"
    )
    apps: list[Any] = []

    class Server(program.TensorBoardServer):
        """Keeps the page for hpo.web.doors's server, instead of serving it by itself."""

        def __init__(self, wsgi_app: Any, flags: Any) -> None:
            apps.append(wsgi_app)

        def serve_forever(self) -> None:
            pass

        def get_url(self) -> str:
            return ""

    board = program.TensorBoard(plugins=plugins, server_class=Server)
    # Its faster reader is a server beside this one that asks nobody for a password.
    board.configure(logdir=str(logs_dir), load_fast="false")
    board.launch()
    return apps[0]


if __name__ == "__main__":
    run_command(app)
