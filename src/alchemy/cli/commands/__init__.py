"""One module a subcommand; each has `command`."""
