"""What is written for people to keep or to send on: the experiment log, the state as a file, the report."""
