"""Where phases are computed: each backend decides first and starts a process only when there is something to
compute.
"""
