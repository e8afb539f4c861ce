"""Confine a child process and run code in it. Standard library only: the child sees nothing else."""
