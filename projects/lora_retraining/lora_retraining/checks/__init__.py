"""Check everything that must hold before a training. Each check says in one line what it saw and what to do."""
