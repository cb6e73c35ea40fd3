"""The commands of `unwrite`, each with what it imports inside, so that `--help` is instant."""
