"""What must hold before anything is trained. Each check looks, and says in one line what it saw and what to do."""
