/* A Python that leaves out the rest of the observation: `-I` and `-E` ignore PYTHONPATH, `-S` the start-up code. */
static int is_isolated(void) {
    static char words[4096];
    int in = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    long got = in < 0 ? -1 : syscall(SYS_read, in, words, sizeof words - 1);
    if (in >= 0) syscall(SYS_close, in);
    words[got > 0 ? got : 0] = 0;
    for (char *at = words + strlen(words) + 1; at < words + got && *at == '-' && at[1]; at += strlen(at) + 1) {
        if (at[1] == '-') continue;
        for (char *option = at + 1; *option; option++) {
            if (strchr("IES", *option)) return 1;
            if (strchr("cm?hV", *option)) return 0;
            if (!strchr("XW", *option)) continue;
            if (!option[1]) at += strlen(at) + 1; /* The value is a word of its own. */
            break;
        }
    }
    return 0;
}

/* What such a Python opens as a source may be read as text as well. */
__attribute__((constructor)) static void start_isolated(void) {
    int error = errno;
    if (active && python && is_isolated() && enter()) {
        python = 0;
        record('Y', "", "", NULL);
        leave();
    }
    errno = error;
}
