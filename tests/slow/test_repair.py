"""`aura repair` with every way in which DVC links its cache, and many damages at once."""

from pathlib import Path
from random import Random

import pytest

from tests.project.test_repair import check_read_damage, empty, ends_right, flip, objects, repair, tiny_project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("link", ["copy", "symlink", "reflink,copy"])
def test_what_came_of_a_damaged_intermediate_is_made_again(tmp_path: Path, link: str):
    check_read_damage(tmp_path / "project", link)


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_several_damages_at_once(tmp_path: Path, link: str):
    random = Random(link)  # noqa: S311 - damages, no secrets
    for number in range(2):  # some 6 s each
        project = tiny_project(tmp_path / str(number), link)
        project.run("dvc", "repro", "-q")
        runs = sorted((project.folder / ".dvc/cache/runs").glob("*/*/*"))
        for path in random.sample(objects(project) + objects(project, ".dir") + runs, 4):
            random.choice([flip, empty])(path)
        done = repair(project)
        assert done.returncode == 0, done.stderr
        ends_right(project)
