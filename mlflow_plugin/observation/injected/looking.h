/* Paths that are looked for and not found, and what the Python half asks for. */
#define STAT(name, type, flags) \
    PUBLIC int name(const char *path, struct type *into) { \
        int result = syscall(SYS_newfstatat, AT_FDCWD, path, into, flags); \
        after_look(result, AT_FDCWD, path); \
        return result; \
    }
#define FSTATAT(name, type) \
    PUBLIC int name(int folder, const char *path, struct type *into, int flags) { \
        int result = syscall(SYS_newfstatat, folder, path, into, flags); \
        if (!(flags & AT_SYMLINK_NOFOLLOW)) after_look(result, folder, path); \
        return result; \
    }
#define XSTAT(name, type, flags) \
    PUBLIC int name(int version, const char *path, struct type *into) { \
        (void)version; \
        int result = syscall(SYS_newfstatat, AT_FDCWD, path, into, flags); \
        after_look(result, AT_FDCWD, path); \
        return result; \
    }
#define FXSTATAT(name, type) \
    PUBLIC int name(int version, int folder, const char *path, struct type *into, int flags) { \
        (void)version; \
        int result = syscall(SYS_newfstatat, folder, path, into, flags); \
        if (!(flags & AT_SYMLINK_NOFOLLOW)) after_look(result, folder, path); \
        return result; \
    }
STAT(stat, stat, 0) STAT(stat64, stat64, 0) FSTATAT(fstatat, stat) FSTATAT(fstatat64, stat64)
XSTAT(__xstat, stat, 0) XSTAT(__xstat64, stat64, 0) FXSTATAT(__fxstatat, stat) FXSTATAT(__fxstatat64, stat64)

PUBLIC int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict into) {
    int result = syscall(SYS_statx, folder, path, flags, mask, into);
    if (!(flags & AT_SYMLINK_NOFOLLOW)) after_look(result, folder, path);
    return result;
}

/* Add a prefix that is not in the settings. */
static void keep_prefix(const char *prefix, char kind) {
    static char more[16 * PATH_MAX];
    static unsigned used;
    size_t n = strlen(prefix) + 1;
    for (unsigned i = 0; i < prefix_count; i++)
        if (prefixes[i].kind == kind && !strcmp(prefixes[i].text, prefix)) return;
    if (prefix_count == PREFIXES || used + n > sizeof more) return;
    memcpy(more + used, prefix, n);
    add_prefix(more + used, kind);
    used += n;
}

/* What the Python half asks for by looking for a file that cannot exist. */
static int answered(const char *wish) {
    if (!strcmp(wish, "pause")) paused++;
    else if (!strcmp(wish, "resume")) paused -= paused > 0;
    else if (!strcmp(wish, "listing")) skip_listing = 1;
    else if (!strcmp(wish, "failed")) failed();
    else if (!strcmp(wish, "python")) {
        /* Whatever was listed so far, the import system listed. */
        python = 1;
        if (enter()) record('D', "", "", NULL), leave();
    } else if (!strcmp(wish, "forget")) {
        memset((void *)seen, 0, active ? SLOTS * sizeof *seen : 0);
        told = full_told = 0;
        if (active) hello();
    } else if (!strncmp(wish, "skip/", 5)) {
        keep_prefix(wish + 4, 'S');
    } else if (!strncmp(wish, "own/", 4)) {
        keep_prefix(wish + 3, 'O');
    }
    return active ? 0 : -1;
}

PUBLIC int access(const char *path, int mode) {
    if (path && !strncmp(path, MAGIC, sizeof MAGIC - 1)) return answered(path + sizeof MAGIC - 1);
    int result = syscall(SYS_faccessat, AT_FDCWD, path, mode);
    after_look(result, AT_FDCWD, path);
    return result;
}

PUBLIC int faccessat(int folder, const char *path, int mode, int flags) {
    REAL(int, "faccessat", int, const char *, int, int);
    int result = real(folder, path, mode, flags);
    after_look(result, folder, path);
    return result;
}
