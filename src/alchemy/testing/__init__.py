"""For tests: of programs (fixtures, in `alchemy.testing.plugin`), and of state stores (`alchemy.testing.contract`)."""
