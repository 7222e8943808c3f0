"""hpo: hyperparameter optimization for Keras. `python -m hpo.run --study NAME`; the map is in .github/CONTRIBUTING.md."""

__version__ = "0.1.0"
