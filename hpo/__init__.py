"""hpo: hyperparameter optimization for Keras. The map of its files is in .github/CONTRIBUTING.md."""

__version__ = "0.1.0"
