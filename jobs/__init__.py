"""One module per submitted job: parse arguments, call the stage, return an exit code."""
