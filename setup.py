"""What pyproject.toml cannot say: the studies folder is shipped inside the package, as hpo/examples."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["hpo*"]), "hpo.examples"], package_dir={"hpo.examples": "studies"})
