"""The recipe of the conda package says what pyproject.toml says."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kmeans_xp import __version__

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text())

#: packages that have another name on conda-forge
CONDA_NAMES = {"matplotlib": "matplotlib-base"}
#: the keys of the format, of those that a recipe of one Python package may need
KEYS = {
    "schema_version": None,
    "context": None,
    "package": {"name", "version"},
    "source": {"path", "url", "sha256", "patches"},
    "build": {"number", "noarch", "script", "python"},
    "requirements": {"build", "host", "run", "run_constraints"},
    "tests": None,
    "about": {"summary", "description", "license", "license_file", "homepage", "repository"},
}


def requirements(*names: str) -> set[str]:
    """Return requirements as conda writes them."""
    found = set()
    for requirement in names:
        name, least = re.fullmatch(r"([\w-]+)(>=[\d.]+(?:,<[\d.]+)?)", requirement).groups()
        found.add(f"{CONDA_NAMES.get(name, name)} {least}")
    return found


def test_it_has_the_keys_of_the_format() -> None:
    assert RECIPE["schema_version"] == 1
    assert set(RECIPE) == set(KEYS)
    for part, known in KEYS.items():
        assert known is None or set(RECIPE[part]) <= known, part


def test_it_is_the_recipe_of_this_package() -> None:
    project = PROJECT["project"]
    assert RECIPE["context"]["version"] == __version__
    assert RECIPE["package"]["name"] == project["name"]
    assert RECIPE["source"]["path"] == f"../dist/{project['name']}-${{{{ version }}}}.tar.gz"
    assert RECIPE["about"]["summary"] == project["description"]
    assert RECIPE["about"]["license"] == project["license"]
    assert [RECIPE["about"]["license_file"]] == project["license-files"]
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert RECIPE["build"]["python"]["entry_points"] == scripts


def test_its_versions_are_those_of_the_project() -> None:
    project, wanted = PROJECT["project"], RECIPE["requirements"]
    python = f"python {project['requires-python']}"
    assert set(wanted["run"]) == {python} | requirements(*project["dependencies"])
    assert set(wanted["host"]) == {python, "pip"} | requirements(
        *PROJECT["build-system"]["requires"]
    )
    extras = project["optional-dependencies"]
    optional = requirements(*(each for name in ("cpu", "cli", "plot") for each in extras[name]))
    assert set(wanted["run_constraints"]) == optional
