"""The page of `dvc plots show` with its scripts inside: DVC's own page gets them from a CDN, and is blank without it.

The scripts (Vega, Vega-Lite and Vega-Embed, BSD-3-Clause; 0.9 MB) are in the package vl-convert-python, so they are not
in git. They go into a template in this clone's `.dvc`, which git ignores, and `.dvc/config.local` names it.
"""

from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from aura.core import files
from aura.core.errors import UserError

TEMPLATE = Path(".dvc/plots.html")
CONFIG = Path(".dvc/config.local")
VEGA_LITE = "5.21"  # of the versions in the package, the last of DVC's templates' own, 5
_SECTION, _KEY = "plots", "html_template"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';
 style-src 'unsafe-inline'; img-src 'self' file: data: blob:">
{refresh_tag}
<title>Plots</title>
<style>
body { margin: 1.5rem; background: #fff; color: #1b1d21; font: 1rem system-ui, "Liberation Sans", sans-serif; }
main { display: flex; flex-wrap: wrap; gap: 1.5rem 2.5rem; align-items: flex-start; }
table { border-spacing: 1rem; }
</style>
<script>SCRIPTS</script>
</head>
<body>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def install(project: Path = Path()) -> Path | None:
    """Let `dvc plots` of this clone of a project use a page that needs no network; return the page's template.

    None if vl-convert-python is not installed: DVC's own page stays in use. A template that the user configured stays,
    too, and is returned.

    Raises:
        UserError: the folder is no project of DVC, or its config.local is damaged.
    """
    place = project / CONFIG
    if not place.parent.is_dir():
        raise UserError("expected a folder .dvc here, found none. Run this in the project's folder, or: dvc init")
    try:
        config = ConfigObj(str(place), interpolation=False, encoding="utf-8")
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise UserError(f"{place} is no configuration of DVC ({error}). Fix it, or remove it") from None
    section = config.setdefault(_SECTION, {})
    if not isinstance(section, dict):
        raise UserError(f"{place}: expected a section [{_SECTION}], got a value. Fix it, or remove it")
    if section.get(_KEY, TEMPLATE.name) != TEMPLATE.name:
        return Path(section[_KEY])
    try:
        import vl_convert
    except ImportError:
        return None
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]  # the stub lacks a default
    scripts = bundle.replace("</script", "<\\/script")
    files.write_bytes(project / TEMPLATE, PAGE.replace("SCRIPTS", scripts, 1).encode())
    section[_KEY] = TEMPLATE.name
    config.write()
    return TEMPLATE
