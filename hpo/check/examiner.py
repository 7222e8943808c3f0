"""A study's configurations, each trained a little in processes of its own, to see what comes of it."""

from dataclasses import replace

from hpo.check.children import Children, say
from hpo.check.findings import Finding, Findings
from hpo.check.stretch import Configuration, Stretch, plan_in_process, train_in_process
from hpo.errors import WorkersFailingError
from hpo.machine import memory_bytes
from hpo.run import default_workers
from hpo.study import StudyOptions


class Examiner:
    """Looks at one study."""

    def __init__(self, options: StudyOptions) -> None:
        self._options = options
        self._children = Children(options.file, options.runs_dir)

    def examine(self) -> Findings | None:
        """Look at each configuration; None where somebody stopped the check before there was anything to tell.

        Raises:
            HpoError: The study cannot be opened, as a run would say.
        """
        plan = self._children.ask("loads the study", plan_in_process, self._options)
        if plan is None:
            return None
        found = []
        for configuration in plan.configurations:
            if not self._children.is_stopped:
                found.append(self._look_at(configuration))
        n_threads = self._options.n_threads or 1
        return Findings(
            study=self._options.file.name,
            trainer=self._options.file.trainer,
            plan=plan,
            found=found,
            n_threads=n_threads,
            n_workers=min(default_workers(n_threads), plan.n_trials),
            memory_bytes=memory_bytes(),
            is_stopped=self._children.is_stopped,
        )

    def _look_at(self, configuration: Configuration) -> Finding:
        found = Finding(configuration=configuration)
        try:
            whole = self._train(configuration, "whole", min(2, configuration.epochs))
            if isinstance(whole, str):
                return replace(found, failure=whole)
            found = replace(found, whole=whole)
            n_epochs = 0 if whole is None or whole.is_too_long else len(whole.history)
            cut: Stretch | None = None
            for last_epoch in range(1, n_epochs + 1):
                again = self._train(configuration, "cut", last_epoch)
                if isinstance(again, str):
                    return replace(found, failure=f"trained again, up to epoch {last_epoch}: {again}")
                cut = again
                if cut is None:
                    break
        except WorkersFailingError as error:
            return replace(found, failure=f"{error.message} {error.hint}".strip(), is_dead=True)
        return replace(found, cut=cut)

    def _train(self, configuration: Configuration, name: str, last_epoch: int) -> Stretch | str | None:
        """Return what came of it, why it cannot be trained, or None where somebody stopped the check."""
        if name == "whole":
            doing = f"{last_epoch} epoch{'s' if last_epoch > 1 else ''}"
        else:
            doing = "1 epoch, then a stop" if last_epoch == 1 else "1 more, in another process"
        say(f"{configuration.label}: {doing}")
        trial_dir = self._children.folder.path / f"{configuration.label}-{name}"
        what = f"trains the configuration {configuration.label}"
        stretch: Stretch | str | None = self._children.ask(
            what, train_in_process, self._options, configuration, trial_dir, last_epoch
        )
        return stretch
