/* Files that are opened, and folders that are listed. */
/* The links in the first part of the path in path_buffer, each with what it holds. */
static void tell_links(const char *end) {
    char target[PATH_MAX], head[48];
    for (char *at = path_buffer + 1; at <= end; at++) {
        char kept = *at;
        if (kept && kept != '/') continue;
        *at = 0;
        long got = ends_with(path_buffer, "/..") ? -1 : syscall(SYS_readlinkat, AT_FDCWD, path_buffer, target, sizeof target - 1);
        target[got > 0 ? got : 0] = 0;
        if (got > 0 && !left_out(path_buffer, at - path_buffer) && first_time('l', path_buffer)) {
            snprintf(head, sizeof head, "%lld %zu ", (long long)now(), strlen(path_buffer));
            record('l', head, path_buffer, target);
        }
        *at = kept;
    }
}

/* Behind a link `..` leads elsewhere than its text says: the links on the way there count. */
static void tell_links_above(void) {
    char *last = NULL;
    for (char *at = path_buffer; (at = strstr(at, "/..")); at += 3)
        if (at[3] == '/' || !at[3]) last = at;
    if (last) tell_links(last);
}

static void missed(size_t length) {
    if (git || left_out(path_buffer, length) || strstr(path_buffer, "/__pycache__") ||
        strstr(path_buffer, "/lib/python3") || ends_with(path_buffer, "._pth") || ends_with(path_buffer, ".pyc") ||
        ends_with(path_buffer, ".so") || ends_with(path_buffer, "/.git") || ends_with(path_buffer, "-journal"))
        return;
    if (strstr(path_buffer, "/../")) tell_links_above();
    if (first_time('A', path_buffer)) tell_time('A', path_buffer);
}

/* True for an empty file that was made a moment ago. */
static int is_new(const struct stat *state) {
    return !state->st_size && now() - (state->st_ctim.tv_sec * 1000000000LL + state->st_ctim.tv_nsec) < 100000000LL;
}

/* Replace a name of the kernel for a file, such as /proc/self/cwd/data.csv or /dev/fd/3, by the file's own path. */
static int leads_elsewhere(int fd) {
    if (strncmp(path_buffer, "/proc/", 6) && strncmp(path_buffer, "/dev/fd/", 8)) return 0;
    if (!*real_path(fd, path_buffer) || !strncmp(real_buffer, "/proc/", 6)) return 0;
    strcpy(path_buffer, real_buffer);
    return 1;
}

static void opened_file(int fd, int folder, const char *path, int how) {
    size_t length = absolute(folder, path);
    struct stat state;
    if (!length) failed();
    else if (leads_elsewhere(fd)) length = strlen(path_buffer);
    if (!length || left_out(path_buffer, length)) return;
    int reads = (how & READS) && first_time('R', path_buffer);
    int both = (how & READS) && (how & WRITES) && !(how & STREAM);
    int writes = (how & WRITES) && (both ? !is_told('W', path_buffer) : first_time('W', path_buffer));
    if (!reads && !writes) return;
    if (state_of(fd, "", AT_EMPTY_PATH, &state) || !S_ISREG(state.st_mode)) return;
    int bytecode = strstr(path_buffer, "/__pycache__/") != NULL;
    const char *real = "";
    if (reads && bytecode && to_source(&state)) {
        if (!first_time('R', path_buffer)) return;
    } else {
        real = real_path(fd, path_buffer);
        if (*real && strstr(path_buffer, "/../")) tell_links_above(), strcpy(path_buffer, real), real = "";
    }
    /* A file that was made by this very opening held nothing that could be read. K: what it held stays. */
    if (reads && !(writes && is_new(&state))) tell_state('R', &state, path_buffer, real);
    else if (writes && (how & KEEPS) && !bytecode && !is_new(&state)) tell_state('K', &state, path_buffer, real);
    if (both && writes) {
        if (bytecode || !*real) real = path_buffer;
        writes = is_new(&state) || !hold(fd, &state, real);
        if (writes && !first_time('W', path_buffer)) writes = 0;
    }
    if (writes && !bytecode) tell_time('W', *real ? real : path_buffer);
    if (reads && !python && ends_with(path_buffer, ".py")) record('T', "", path_buffer, NULL);
}

/* The folder that was opened last as one, under the name that was asked for: its listing comes next. */
static struct { _Atomic int taken; dev_t device; ino_t inode; char path[PATH_MAX]; } last_folder;

static void opened_folder(int fd, int folder, const char *path) {
    struct stat state;
    size_t length = absolute(folder, path);
    if (!length || length >= PATH_MAX || state_of(fd, "", AT_EMPTY_PATH, &state)) return;
    /* What is opened relative to it has the path that it leads to. */
    if (first_time('o', path_buffer)) tell_links(path_buffer + length);
    if (atomic_exchange(&last_folder.taken, 1)) return;
    last_folder.device = state.st_dev, last_folder.inode = state.st_ino;
    memcpy(last_folder.path, path_buffer, length + 1);
    atomic_store(&last_folder.taken, 0);
}

/* Write the name of a folder that was asked for into path_buffer, where it leads into real_buffer. */
static size_t name_of_folder(int fd, const char *path, const struct stat *state) {
    size_t length = path ? absolute(AT_FDCWD, path) : 0;
    real_path(fd, "");
    if (!path && !atomic_exchange(&last_folder.taken, 1)) {
        if (last_folder.device == state->st_dev && last_folder.inode == state->st_ino)
            length = strlen(strcpy(path_buffer, last_folder.path));
        atomic_store(&last_folder.taken, 0);
    }
    if (length && strstr(path_buffer, "/..")) tell_links_above(), length = 0;
    return length ? length : strlen(strcpy(path_buffer, real_buffer));
}

/* A number for the names in a folder that was just opened: the sum of the checksums (CRC-32) of all names. */
static uint64_t sum_of_names(DIR *folder) {
    uint64_t sum = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        uint32_t sum_of_one = 0xFFFFFFFF;
        for (const char *at = entry->d_name; *at; at++) {
            sum_of_one ^= (unsigned char)*at;
            for (int bit = 0; bit < 8; bit++) sum_of_one = sum_of_one >> 1 ^ (sum_of_one & 1 ? 0xEDB88320 : 0);
        }
        sum += ~sum_of_one;
    }
    rewinddir(folder);
    return sum;
}

static void listed(DIR *folder, const char *path) {
    int error = errno;
    int skipped = skip_listing;
    skip_listing = 0;
    if (!folder || skipped || git || !enter()) return;
    struct stat state;
    char head[96];
    size_t length = state_of(dirfd(folder), "", AT_EMPTY_PATH, &state) ? 0 : name_of_folder(dirfd(folder), path, &state);
    if (length && !left_out(path_buffer, length) && first_time('L', path_buffer)) {
        snprintf(head, sizeof head, "%lld %lld %llu %zu ", state.st_mtim.tv_sec * 1000000000LL + state.st_mtim.tv_nsec,
                 (long long)now(), path ? (unsigned long long)sum_of_names(folder) : 0, length);
        record('L', head, path_buffer, strcmp(path_buffer, real_buffer) ? real_buffer : "");
    }
    leave();
    errno = error;
}

static void after_open(int fd, int folder, const char *path, int flags) {
    int error = errno, kind = flags & O_ACCMODE;
    if (!path || (flags & O_PATH) || !enter()) return;
    if (fd >= 0 && (flags & O_DIRECTORY)) {
        if (!git) opened_folder(fd, folder, path);
    } else if (fd >= 0) {
        int how = kind == O_RDONLY ? READS : flags & O_TRUNC ? WRITES : kind == O_RDWR ? READS | WRITES : WRITES | KEEPS;
        how |= flags & STREAM;
        opened_file(fd, folder, path, how);
    } else if ((error == ENOENT || error == ENOTDIR) && !(flags & (O_CREAT | O_DIRECTORY))) {
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

/* From now on relative paths have the path that the folder leads to. */
PUBLIC int chdir(const char *path) {
    int watched = active && !git && enter();
    size_t length = watched ? absolute(AT_FDCWD, path) : 0;
    int result = syscall(SYS_chdir, path), error = errno;
    if (!result && length && first_time('o', path_buffer)) tell_links(path_buffer + length);
    if (watched) leave();
    errno = error;
    return result;
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
        after_open(file ? fileno(file) : -1, AT_FDCWD, path, flags_of(mode) | STREAM); \
        return file; \
    }
#define FREOPEN(name) \
    PUBLIC FILE *name(const char *path, const char *mode, FILE *old) { \
        REAL(FILE *, #name, const char *, const char *, FILE *); \
        FILE *file = real(path, mode, old); \
        if (path) after_open(file ? fileno(file) : -1, AT_FDCWD, path, flags_of(mode) | STREAM); \
        return file; \
    }

OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
OPEN_2(__open_2) OPEN_2(__open64_2) OPENAT_2(__openat_2) OPENAT_2(__openat64_2)
CREAT(creat) CREAT(creat64)
FOPEN(fopen) FOPEN(fopen64) FREOPEN(freopen) FREOPEN(freopen64)

/* Listing. */

PUBLIC DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    DIR *folder = real(path);
    if (folder) listed(folder, path);
    else after_look(-1, AT_FDCWD, path);
    return folder;
}

PUBLIC DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int);
    DIR *folder = real(fd);
    listed(folder, NULL);
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
