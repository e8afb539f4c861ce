/* Files, folders and links that are made, renamed, shortened and removed. */
/* A path that the program made or replaced. W: a file, G: a folder, S: a link; y: a folder that was there already. */
static void made(char kind, int folder, const char *path) {
    int error = errno;
    if (!path || !enter()) return;
    size_t length = absolute(folder, path);
    if (length && !left_out(path_buffer, length) && !strstr(path_buffer, "/__pycache__/") &&
        first_time(kind, path_buffer))
        tell_time(kind, path_buffer);
    leave();
    errno = error;
}

/* A file of which a part stays. */
static void shortened(const char *path, const struct stat *state) {
    int error = errno;
    if (!enter()) return;
    size_t length = absolute(AT_FDCWD, path);
    if (length && !left_out(path_buffer, length) && first_time('K', path_buffer)) tell_state('K', state, path_buffer, "");
    leave();
    errno = error;
}

/* A name that stands for another file from now on: what it held counts where it was there before the phase. */
static void moved(int from_folder, const char *from, int to_folder, const char *to, const struct stat *state) {
    int error = errno, told = 0;
    if (!state) return;
    if ((S_ISREG(state->st_mode) || S_ISDIR(state->st_mode)) && enter()) {
        char head[64];
        size_t length = absolute(to_folder, to);
        if (length) memcpy(real_buffer, path_buffer, length + 1);
        length = length ? absolute(from_folder, from) : 0;
        if (length && !left_out(path_buffer, length) && !strstr(path_buffer, "/__pycache__/")) {
            if (S_ISDIR(state->st_mode)) {
                snprintf(head, sizeof head, "%lld %zu ", (long long)now(), length);
                record('g', head, path_buffer, real_buffer);
                told = 1;
            } else if (first_time('m', path_buffer)) {
                tell_state('m', state, path_buffer, real_buffer);
            }
        }
        leave();
    }
    if (!told) made(S_ISDIR(state->st_mode) ? 'G' : 'W', to_folder, to);
    errno = error;
}

/* Temporary files and folders, whose names the C library fills in. */
#define MKSTEMP(name) \
    PUBLIC int name(char *path) { \
        REAL(int, #name, char *); \
        int fd = real(path); \
        if (fd >= 0) made('W', AT_FDCWD, path); \
        return fd; \
    }
#define MKSTEMP_1(name) \
    PUBLIC int name(char *path, int one) { \
        REAL(int, #name, char *, int); \
        int fd = real(path, one); \
        if (fd >= 0) made('W', AT_FDCWD, path); \
        return fd; \
    }
#define MKSTEMP_2(name) \
    PUBLIC int name(char *path, int one, int two) { \
        REAL(int, #name, char *, int, int); \
        int fd = real(path, one, two); \
        if (fd >= 0) made('W', AT_FDCWD, path); \
        return fd; \
    }
MKSTEMP(mkstemp) MKSTEMP(mkstemp64) MKSTEMP_1(mkostemp) MKSTEMP_1(mkostemp64) MKSTEMP_1(mkstemps)
MKSTEMP_1(mkstemps64) MKSTEMP_2(mkostemps) MKSTEMP_2(mkostemps64)

PUBLIC char *mkdtemp(char *path) {
    REAL(char *, "mkdtemp", char *);
    char *done = real(path);
    if (done) made('G', AT_FDCWD, done);
    return done;
}

PUBLIC int mkdirat(int folder, const char *path, mode_t mode) {
    int result = syscall(SYS_mkdirat, folder, path, mode);
    if (!result) made('G', folder, path);
    else if (errno == EEXIST) made('y', folder, path);
    return result;
}

PUBLIC int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

PUBLIC int symlinkat(const char *target, int folder, const char *path) {
    int result = syscall(SYS_symlinkat, target, folder, path);
    if (!result) made('S', folder, path);
    return result;
}

PUBLIC int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

/* Told each time, since the names of temporary files are many and none comes twice. */
static void removed(int folder, const char *path) {
    int error = errno;
    if (!path || git || !enter()) return;
    size_t length = absolute(folder, path);
    if (length && !left_out(path_buffer, length) && !strstr(path_buffer, "/__pycache__/")) tell_time('d', path_buffer);
    leave();
    errno = error;
}

PUBLIC int unlinkat(int folder, const char *path, int flags) {
    int result = syscall(SYS_unlinkat, folder, path, flags);
    if (!result && !(flags & AT_REMOVEDIR)) removed(folder, path);
    return result;
}

PUBLIC int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

PUBLIC int remove(const char *path) {
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result && errno == EISDIR) return syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
    if (!result) removed(AT_FDCWD, path);
    return result;
}

#define TRUNCATE(name) \
    PUBLIC int name(const char *path, off_t length) { \
        struct stat state; \
        int known = length && path && active && !paused && !state_of(AT_FDCWD, path, 0, &state); \
        int result = syscall(SYS_truncate, path, length); \
        if (!result && known) shortened(path, &state); \
        if (!result) made('W', AT_FDCWD, path); \
        return result; \
    }
TRUNCATE(truncate) TRUNCATE(truncate64)

PUBLIC int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    struct stat state;
    int error = errno, known = active && !paused && !state_of(from_folder, from, AT_SYMLINK_NOFOLLOW, &state);
    errno = error;
    int result = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (!result && known) moved(from_folder, from, to_folder, to, &state);
    return result;
}

PUBLIC int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return renameat2(from_folder, from, to_folder, to, 0);
}

PUBLIC int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

PUBLIC int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    struct stat state;
    int error = errno, known = active && !paused && *from && !state_of(from_folder, from, AT_SYMLINK_NOFOLLOW, &state);
    errno = error;
    int result = syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    if (!result && known) moved(from_folder, from, to_folder, to, &state);
    return result;
}

PUBLIC int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
