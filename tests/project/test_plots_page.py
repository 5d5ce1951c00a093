"""`dvc plots show` draws without a network, and a clone that cannot do so is told in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer.testing
from configobj import ConfigObj
from dvc_render import render_html
from dvc_render.vega import VegaRenderer

from aura.cli.app import app
from aura.core.errors import UserError
from aura.project import plots_page
from tests.conftest import REPOSITORY
from tests.report.browser import CHROMIUM, visit


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH; apt-get install chromium")
def test_plots_are_drawn_without_a_request(tmp_path: Path):
    pytest.importorskip("vl_convert")
    template = plots_page.install()
    points = [{"step": step, "loss": 9 / step, "rev": "workspace"} for step in range(1, 30)]
    names = {"x": "step", "y": "loss"}
    renderers = [
        VegaRenderer(points, name, template=name, anchors_y_definitions=[], **names)
        for name in ("linear", "simple", "bar_horizontal")
    ]
    page = tmp_path / "dvc_plots/index.html"
    render_html(renderers, page, template)
    found = visit(page, ["document.querySelectorAll('canvas, svg.marks').length", "document.title"])
    assert found["answers"] == [3, "Plots"]
    assert [error for error in found["errors"] if error["params"].get("type") != "warning"] == []  # of DVC's templates
    assert found["requests"] == []


def test_the_clone_uses_the_page_and_git_ignores_it():
    pytest.importorskip("vl_convert")
    plots_page.CONFIG.write_text("[core]\nremote = mine\n")
    assert plots_page.install() == plots_page.install() == plots_page.TEMPLATE
    config = ConfigObj(str(plots_page.CONFIG))
    assert config == {"core": {"remote": "mine"}, "plots": {"html_template": "plots.html"}}
    made = (plots_page.TEMPLATE, plots_page.CONFIG)
    assert all(
        subprocess.run(["git", "check-ignore", "-q", path], cwd=REPOSITORY, check=False).returncode == 0
        for path in made
    )


def test_a_new_project_draws_without_a_network_and_git_ignores_how(tmp_path: Path):
    pytest.importorskip("vl_convert")
    done = typer.testing.CliRunner().invoke(app, ["init", "mine"])
    assert done.exit_code == 0, done.output
    config = ConfigObj(str(tmp_path / "mine" / plots_page.CONFIG))
    assert config["plots"] == {"html_template": "plots.html"}
    status = subprocess.run(
        ["git", "status", "--short"], cwd=tmp_path / "mine", capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_a_template_of_the_user_stays():
    plots_page.CONFIG.write_text("[plots]\nhtml_template = mine.html\n")
    assert plots_page.install() == Path("mine.html")
    assert plots_page.CONFIG.read_text() == "[plots]\nhtml_template = mine.html\n"


def test_without_the_package_dvcs_own_page_stays_with_a_note(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    done = typer.testing.CliRunner().invoke(app, ["plots"])
    assert done.exit_code == 0
    assert "from a CDN" in " ".join(done.output.split())
    assert not plots_page.CONFIG.exists()


@pytest.mark.parametrize("content", ["[plots\n", "plots = 3\n"])
def test_a_damaged_configuration_is_one_message(content: str):
    plots_page.CONFIG.write_text(content)
    with pytest.raises(UserError, match=r"\.dvc/config\.local.*Fix it, or remove it"):
        plots_page.install()


def test_outside_of_a_project_the_message_says_where():
    subprocess.run(["rm", "-r", ".dvc"], check=True)
    with pytest.raises(UserError, match=r"expected a folder \.dvc here"):
        plots_page.install()
