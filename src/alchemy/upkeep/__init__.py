"""Work on state from outside the program: what the command line does without running it."""
