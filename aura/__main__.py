"""`python -m aura`: the same as the `aura` command."""

from aura.cli.app import main

main()
