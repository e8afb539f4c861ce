"""A module that the second phase imports without declaring it to any tool."""


def shifted(value):
    return value + 1
