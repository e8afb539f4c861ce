/* Paths that are looked for, found or not, and what the Python half asks for. */

/* A path of the user's own folders that is there. Its size counts where a file's state was asked for. */
static void looked(int folder, const char *path, unsigned mode, long long size) {
    if (!active || git || !path || !*path) return;
    int error = errno;
    struct stat state;
    if (!enter()) return;
    size_t length = absolute(folder, path);
    int sized = S_ISREG(mode);
    if (length && kind_of(path_buffer, length) == 'O' && !left_out(path_buffer, length) &&
        !strstr(path_buffer, "/__pycache__") && !ends_with(path_buffer, ".pyc")) {
        if (builds && sized) {
            /* It compares times to decide what to build: the content stands for them. */
            if (first_time('R', path_buffer) && !state_of(folder, path, 0, &state))
                tell_state('R', &state, path_buffer, "");
        } else if (first_time(sized ? 'z' : 'k', path_buffer)) {
            char head[64];
            snprintf(head, sizeof head, "%lld %lld ", sized ? size : -1, (long long)now());
            record('k', head, path_buffer, NULL);
        }
    }
    leave();
    errno = error;
}

static void after_stat(int result, int folder, const char *path, unsigned mode, long long size) {
    if (result) after_look(result, folder, path);
    else looked(folder, path, mode, size);
}

#define LOOK(name, type, flags, parameters, folder) \
    PUBLIC int name parameters { \
        int result = syscall(SYS_newfstatat, folder, path, into, flags); \
        after_stat(result, folder, path, result ? 0 : into->st_mode, result ? 0 : into->st_size); \
        return result; \
    }
#define STAT(name, type, flags) LOOK(name, type, flags, (const char *path, struct type *into), AT_FDCWD)
#define FSTATAT(name, type) LOOK(name, type, flags, (int folder, const char *path, struct type *into, int flags), folder)
#define XSTAT(name, type, flags) \
    LOOK(name, type, flags, (__attribute__((unused)) int version, const char *path, struct type *into), AT_FDCWD)
#define FXSTATAT(name, type) \
    LOOK(name, type, flags, \
         (__attribute__((unused)) int version, int folder, const char *path, struct type *into, int flags), folder)
STAT(stat, stat, 0) STAT(stat64, stat64, 0) FSTATAT(fstatat, stat) FSTATAT(fstatat64, stat64)
STAT(lstat, stat, AT_SYMLINK_NOFOLLOW) STAT(lstat64, stat64, AT_SYMLINK_NOFOLLOW)
XSTAT(__xstat, stat, 0) XSTAT(__xstat64, stat64, 0) FXSTATAT(__fxstatat, stat) FXSTATAT(__fxstatat64, stat64)
XSTAT(__lxstat, stat, AT_SYMLINK_NOFOLLOW) XSTAT(__lxstat64, stat64, AT_SYMLINK_NOFOLLOW)

PUBLIC int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict into) {
    int result = syscall(SYS_statx, folder, path, flags, mask, into);
    after_stat(result, folder, path, result ? 0 : into->stx_mode, result ? 0 : (long long)into->stx_size);
    return result;
}

/* A link of the user's own folders whose target was asked for: its path is in path_buffer, its target in real_buffer. */
static void tell_link(size_t length) {
    char head[64];
    if (kind_of(path_buffer, length) != 'O' || left_out(path_buffer, length) || !first_time('r', path_buffer)) return;
    snprintf(head, sizeof head, "%lld %zu ", (long long)now(), length);
    record('r', head, path_buffer, real_buffer);
}

PUBLIC ssize_t readlinkat(int folder, const char *restrict path, char *restrict into, size_t size) {
    ssize_t got = syscall(SYS_readlinkat, folder, path, into, size);
    int error = errno;
    if (got < 0) {
        after_look(-1, folder, path);
    } else if (active && !git && *path && enter()) {
        size_t length = absolute(folder, path), n = (size_t)got < LONGEST ? (size_t)got : LONGEST - 1;
        memcpy(real_buffer, into, n);
        real_buffer[n] = 0;
        if (length) tell_link(length);
        leave();
    }
    errno = error;
    return got;
}

PUBLIC ssize_t readlink(const char *restrict path, char *restrict into, size_t size) {
    return readlinkat(AT_FDCWD, path, into, size);
}

/* The links on the way that the C library resolved by itself. */
static void resolved(const char *path) {
    int error = errno;
    if (!path || !*path || !active || git || !enter()) return;
    size_t length = absolute(AT_FDCWD, path);
    for (size_t at = 1; length && at <= length; at++) {
        char kept = path_buffer[at];
        if (kept && kept != '/') continue;
        path_buffer[at] = 0;
        long got = kind_of(path_buffer, at) == 'O' ? syscall(SYS_readlinkat, AT_FDCWD, path_buffer, real_buffer, LONGEST - 1) : -1;
        if (got > 0) real_buffer[got] = 0, tell_link(at);
        path_buffer[at] = kept;
    }
    leave();
    errno = error;
}

PUBLIC char *realpath(const char *restrict path, char *restrict into) {
    REAL(char *, "realpath", const char *, char *);
    char *found = real(path, into);
    if (found) resolved(path);
    else after_look(-1, AT_FDCWD, path);
    return found;
}

PUBLIC char *canonicalize_file_name(const char *path) { return realpath(path, NULL); }

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
    else if (!strcmp(wish, "settle")) {
        int was = paused;
        paused = 0;
        settle_all();
        paused = was;
    }
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
    after_stat(result, AT_FDCWD, path, 0, -1);
    return result;
}

PUBLIC int faccessat(int folder, const char *path, int mode, int flags) {
    REAL(int, "faccessat", int, const char *, int, int);
    int result = real(folder, path, mode, flags);
    after_stat(result, folder, path, 0, -1);
    return result;
}
