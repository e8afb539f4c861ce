/* Files that are opened, made, renamed and listed. */
static void missed(size_t length) {
    if (git || kind_of(path_buffer, length) != 'O' || left_out(path_buffer, length) || strstr(path_buffer, "/__pycache__") ||
        ends_with(path_buffer, ".pyc") || ends_with(path_buffer, ".so") || ends_with(path_buffer, "/.git") ||
        ends_with(path_buffer, "-journal") || ends_with(path_buffer, "-wal"))
        return;
    if (first_time('A', path_buffer)) tell_time('A', path_buffer);
}

static void opened_file(int fd, int folder, const char *path, int how) {
    size_t length = absolute(folder, path);
    struct stat state;
    if (!length || left_out(path_buffer, length)) return;
    int reads = (how & READS) && first_time('R', path_buffer);
    int writes = (how & WRITES) && first_time('W', path_buffer);
    if (!reads && !writes) return;
    if (state_of(fd, "", AT_EMPTY_PATH, &state) || !S_ISREG(state.st_mode)) return;
    int bytecode = strstr(path_buffer, "/__pycache__/") != NULL;
    const char *real = "";
    if (reads && bytecode && to_source(&state)) {
        if (!first_time('R', path_buffer)) return;
    } else {
        real = real_path(fd, path_buffer);
        if (*real && (strstr(path_buffer, "/../") || ends_with(path_buffer, "/.."))) strcpy(path_buffer, real), real = "";
    }
    /* A file that was made by this very opening held nothing that could be read. */
    if (reads && !(writes && state.st_size == 0)) tell_state('R', &state, path_buffer, real);
    if (writes && !bytecode) tell_time('W', *real ? real : path_buffer);
    if (reads && !python && ends_with(path_buffer, ".py")) record('T', "", path_buffer, NULL);
}

static void after_open(int fd, int folder, const char *path, int flags) {
    int error = errno, kind = flags & O_ACCMODE;
    if (!path || (flags & O_PATH) || (flags & O_DIRECTORY) || !enter()) return;
    if (fd >= 0) {
        int how = kind == O_RDONLY ? READS : kind == O_RDWR && !(flags & O_TRUNC) ? READS | WRITES : WRITES;
        opened_file(fd, folder, path, how);
    } else if ((error == ENOENT || error == ENOTDIR) && !(flags & O_CREAT)) {
        size_t length = absolute(folder, path);
        if (length) missed(length);
    }
    leave();
    errno = error;
}

static void after_look(int result, int folder, const char *path) {
    if (!result || !path || !active || (errno != ENOENT && errno != ENOTDIR) || !*path) return;
    int error = errno;
    if (!enter()) return;
    size_t length = absolute(folder, path);
    if (length) missed(length);
    leave();
    errno = error;
}

/* A path that the program made or replaced. W: a file, G: a folder, S: a link. */
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

/* A name that stands for another file from now on: what it held counts where it was there before the phase. */
static void moved(int from_folder, const char *from, int to_folder, const char *to, const struct stat *state) {
    int error = errno;
    if (state && S_ISREG(state->st_mode) && enter()) {
        size_t length = absolute(from_folder, from);
        if (length && !left_out(path_buffer, length) && !strstr(path_buffer, "/__pycache__/") &&
            first_time('m', path_buffer))
            tell_state('m', state, path_buffer, "");
        leave();
    }
    if (state) made(S_ISDIR(state->st_mode) ? 'G' : 'W', to_folder, to);
    errno = error;
}

static void listed(DIR *folder) {
    int error = errno;
    int skipped = skip_listing;
    skip_listing = 0;
    if (!folder || skipped || git || !enter()) return;
    struct stat state;
    char head[64];
    real_path(dirfd(folder), "");
    size_t length = strlen(real_buffer);
    if (length && !left_out(real_buffer, length) && !state_of(dirfd(folder), "", AT_EMPTY_PATH, &state) &&
        first_time('L', real_buffer)) {
        snprintf(head, sizeof head, "%lld %lld ", state.st_mtim.tv_sec * 1000000000LL + state.st_mtim.tv_nsec,
                 (long long)now());
        record('L', head, real_buffer, NULL);
    }
    leave();
    errno = error;
}

/* Opening. */

static int flags_of(const char *mode) {
    int plus = strchr(mode, '+') != NULL;
    if (*mode == 'r') return plus ? O_RDWR : O_RDONLY;
    return (plus && *mode == 'a' ? O_RDWR : O_WRONLY) | O_CREAT | (*mode == 'w' ? O_TRUNC : 0);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

/* Before the constructor ran nothing is looked up: a memory allocator may be opening its settings. */
#define OPEN(name) \
    PUBLIC int name(const char *path, int flags, ...) { \
        MODE(flags) \
        if (!active) return syscall(SYS_openat, AT_FDCWD, path, flags, mode); \
        REAL(int, #name, const char *, int, ...); \
        int fd = real ? real(path, flags, mode) : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode); \
        after_open(fd, AT_FDCWD, path, flags); \
        return fd; \
    }
#define OPENAT(name) \
    PUBLIC int name(int folder, const char *path, int flags, ...) { \
        MODE(flags) \
        if (!active) return syscall(SYS_openat, folder, path, flags, mode); \
        REAL(int, #name, int, const char *, int, ...); \
        int fd = real ? real(folder, path, flags, mode) : (int)syscall(SYS_openat, folder, path, flags, mode); \
        after_open(fd, folder, path, flags); \
        return fd; \
    }
#define OPEN_2(name) \
    PUBLIC int name(const char *path, int flags) { \
        int fd = syscall(SYS_openat, AT_FDCWD, path, flags, 0); \
        after_open(fd, AT_FDCWD, path, flags); \
        return fd; \
    }
#define OPENAT_2(name) \
    PUBLIC int name(int folder, const char *path, int flags) { \
        int fd = syscall(SYS_openat, folder, path, flags, 0); \
        after_open(fd, folder, path, flags); \
        return fd; \
    }
#define CREAT(name) \
    PUBLIC int name(const char *path, mode_t mode) { \
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); \
        after_open(fd, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC); \
        return fd; \
    }
#define FOPEN(name) \
    PUBLIC FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, #name, const char *, const char *); \
        FILE *file = real(path, mode); \
        after_open(file ? fileno(file) : -1, AT_FDCWD, path, flags_of(mode)); \
        return file; \
    }
#define FREOPEN(name) \
    PUBLIC FILE *name(const char *path, const char *mode, FILE *old) { \
        REAL(FILE *, #name, const char *, const char *, FILE *); \
        FILE *file = real(path, mode, old); \
        if (path) after_open(file ? fileno(file) : -1, AT_FDCWD, path, flags_of(mode)); \
        return file; \
    }

OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
OPEN_2(__open_2) OPEN_2(__open64_2) OPENAT_2(__openat_2) OPENAT_2(__openat64_2)
CREAT(creat) CREAT(creat64)
FOPEN(fopen) FOPEN(fopen64) FREOPEN(freopen) FREOPEN(freopen64)

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
    return result;
}

PUBLIC int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

PUBLIC int symlinkat(const char *target, int folder, const char *path) {
    int result = syscall(SYS_symlinkat, target, folder, path);
    if (!result) made('S', folder, path);
    return result;
}

PUBLIC int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

#define TRUNCATE(name) \
    PUBLIC int name(const char *path, off_t length) { \
        int result = syscall(SYS_truncate, path, length); \
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

/* Listing. */

PUBLIC DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    DIR *folder = real(path);
    if (folder) listed(folder);
    else after_look(-1, AT_FDCWD, path);
    return folder;
}

PUBLIC DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int);
    DIR *folder = real(fd);
    listed(folder);
    return folder;
}

#define SCANDIR(name, entry) \
    PUBLIC int name(const char *path, struct entry ***names, int (*filter)(const struct entry *), \
                    int (*compare)(const struct entry **, const struct entry **)) { \
        REAL(int, #name, const char *, struct entry ***, int (*)(const struct entry *), \
             int (*)(const struct entry **, const struct entry **)); \
        DIR *folder = opendir(path); \
        if (folder) closedir(folder); \
        return real(path, names, filter, compare); \
    }
SCANDIR(scandir, dirent) SCANDIR(scandir64, dirent64)
