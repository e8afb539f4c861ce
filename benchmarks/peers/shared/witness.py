"""Notes which phases executed, in a file that none of the tools knows of."""

import os


def executed(phase):
    with open(os.environ["WITNESS"], "a") as file:
        file.write(f"{phase}\n")
