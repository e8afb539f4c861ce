"""What the second phase imports, without having said so to any tool."""


def shifted(value):
    return value + 1
