/* What the command line of a program tells: a Python that leaves out the rest of the observation, what git is to do. */
static char words[4096];

static long read_words(void) {
    int in = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    long got = in < 0 ? -1 : syscall(SYS_read, in, words, sizeof words - 1);
    if (in >= 0) syscall(SYS_close, in);
    words[got > 0 ? got : 0] = 0;
    return got;
}

/* `-I` and `-E` ignore PYTHONPATH, `-S` leaves out the start-up code. */
static int is_isolated(void) {
    long got = read_words();
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

/* The first word of git that is no option. */
static const char *git_command(void) {
    long got = read_words();
    const char *name = strrchr(words, '/') ? strrchr(words, '/') + 1 : words;
    if (!strncmp(name, "git-", 4)) return name + 4;
    for (char *at = words + strlen(words) + 1; at < words + got; at += strlen(at) + 1) {
        if (*at != '-') return at;
        if (!strcmp(at, "-c") || !strcmp(at, "-C")) at += strlen(at) + 1;
    }
    return "";
}

__attribute__((constructor)) static void tell_command(void) {
    int error = errno;
    if (active && python && is_isolated() && enter()) {
        python = 0; /* What it opens as a source may be read as text as well. */
        record('Y', "", "", NULL);
        leave();
    } else if (active && git && enter()) {
        char head[64];
        snprintf(head, sizeof head, "%d-%lld ", (int)getpid(), (long long)now());
        record('v', head, git_command(), NULL);
        leave();
    }
    errno = error;
}
