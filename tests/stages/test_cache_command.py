"""The action cache in a project: the command, the bound, and what a stage run by DVC does with it."""

import shutil
import sys

from tests.conftest import Project

EXTRACT = (sys.executable, "-m", "aura.stages.extract", "books")


def test_stats_and_prune_say_what_is_there_and_what_went(project: Project):
    assert ".aura/cache: 0 entries" not in project.run("aura", "cache", "stats").stdout
    assert "(0 extracted, 200 cached)" in project.run(*EXTRACT).stdout
    assert "removed 0 entries" in project.run("aura", "cache", "prune").stdout
    assert "removed 0 entries" not in project.run("aura", "cache", "prune", "--max-gb", "0").stdout
    assert ".aura/cache: 0 entries, 0 bytes" in project.run("aura", "cache", "stats").stdout
    assert "(200 extracted, 0 cached)" in project.run(*EXTRACT).stdout


def test_a_stage_keeps_the_cache_under_its_bound(project: Project):
    project.edit_params(cache={"max_gb": 0.00001})
    (project.folder / "data/books/000.txt").write_text("a changed document, long enough to be kept")
    assert "(1 extracted, 199 cached)" in project.run(*EXTRACT).stdout
    assert sum(path.stat().st_size for path in (project.folder / ".aura").rglob("*") if path.is_file()) <= 10_000


def test_projects_share_the_cache_that_the_environment_names(project: Project, tmp_path):
    """After a change, two worktrees with one cache: what one has extracted the other has too, to the same bytes."""
    other = project.copy(tmp_path / "other")
    for each in (project, other):
        shutil.rmtree(each.folder / ".aura")
        each.environment["AURA_CACHE"] = str(tmp_path / "shared")
    assert "(200 extracted, 0 cached)" in project.run(*EXTRACT).stdout
    assert "(0 extracted, 200 cached)" in other.run(*EXTRACT).stdout
    assert not (other.folder / ".aura").exists()
    assert other.run("dvc", "status", "extract@books").stdout == project.run("dvc", "status", "extract@books").stdout
