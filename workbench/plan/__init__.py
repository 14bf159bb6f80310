"""From an experiment to keyed steps. Nothing here makes anything: the package lies below the one that starts processes."""
