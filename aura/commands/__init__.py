"""The subcommands of `aura`, a file each: they parse and print; functions elsewhere work."""
