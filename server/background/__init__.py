"""Work beside requests: supervised tasks, bounded pools of threads."""
