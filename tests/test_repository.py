"""Content of the repository: git holds no file that .gitignore keeps out of it."""

import subprocess

from tests.conftest import REPOSITORY


def test_git_tracks_no_file_that_it_is_told_to_ignore():
    """Such a file may quote documents: `reports/validate/report.html` got into git once."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout == ""
