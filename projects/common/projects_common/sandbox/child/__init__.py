"""What runs in the confined child process. Standard library only: the child sees nothing else."""
