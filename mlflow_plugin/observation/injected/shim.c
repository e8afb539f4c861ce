/* Records which files a dynamically linked program opens, lists and misses. Preloaded into every process of a phase.
 *
 * Each record is appended to a file of its own in the folder that MLFLOW_PHASES_OBSERVE names, when a path is met for
 * the first time, with one write. No descriptor stays open, no memory is allocated, errno is left as it was found.
 * The records are described in observation/reading.py.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <netdb.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#undef open
#undef openat
#undef fopen
#undef stat
#undef lstat
#undef fstatat
#define PUBLIC __attribute__((visibility("default")))
#define MAGIC "/.mlflow-phases/"
#define SLOTS (1u << 19)
#define MOST 200000u
#define PREFIXES 256
#define LONGEST (2 * PATH_MAX)

enum outcome { READS = 1, WRITES = 2 };

static struct { const char *text; unsigned length; char kind; } prefixes[PREFIXES]; /* O: own, S: skipped */
static unsigned prefix_count, told, full_told, python;
static _Atomic uint64_t *seen;
static char settings[1 << 16], records[PATH_MAX], preload[PATH_MAX + 16], observe[PATH_MAX + 32], injected[PATH_MAX + 16];
static int active;

static __thread int busy, paused, skip_listing;
static __thread char path_buffer[LONGEST], real_buffer[LONGEST], record_buffer[2 * LONGEST + 256];

static void *next_symbol(const char *name) { return dlsym(RTLD_NEXT, name); }

/* The next definition of a function, looked up once. */
#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))next_symbol(name)

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int state_of(int folder, const char *path, int flags, struct stat *into) {
    return syscall(SYS_newfstatat, folder, path, into, flags);
}

/* Enter the recorder: false where nothing is recorded now, or where a signal interrupted it. */
static int enter(void) {
    if (!active || paused || busy) return 0;
    return busy = 1;
}

static void tell(const char *bytes, size_t length) {
    int out = syscall(SYS_openat, AT_FDCWD, records, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) return;
    ssize_t written = syscall(SYS_write, out, bytes, length);
    (void)written;
    syscall(SYS_close, out);
}

/* Append a record: its kind, what `head` holds, the path, and a second text where there is one; ended by a zero. */
static void record(char kind, const char *head, const char *path, const char *second) {
    int length = snprintf(record_buffer, sizeof record_buffer, "%c %s%s%s", kind, head, path, second ? second : "");
    if (length > 0 && (size_t)length < sizeof record_buffer) tell(record_buffer, length + 1);
}

/* Remember that something was told; false where it had been already, or where too much was. */
static int first_time(char kind, const char *path) {
    uint64_t hash = 1469598103934665603ULL ^ (unsigned char)kind;
    for (const char *at = path; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
    hash ^= hash >> 29;
    hash = hash ? hash : 1;
    for (unsigned slot = hash & (SLOTS - 1);; slot = (slot + 1) & (SLOTS - 1)) {
        uint64_t found = seen[slot];
        if (found == hash) return 0;
        if (found) continue;
        if (told >= MOST) {
            if (!__atomic_exchange_n(&full_told, 1, __ATOMIC_RELAXED)) record('Z', "", "", NULL);
            return 0;
        }
        if (__atomic_compare_exchange_n((uint64_t *)&seen[slot], &found, hash, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            __atomic_add_fetch(&told, 1, __ATOMIC_RELAXED);
            return 1;
        }
        if (found == hash) return 0;
    }
}

/* Write the absolute path, without `//` and `/./`, into path_buffer; its length, or 0 where it cannot be known. */
static size_t absolute(int folder, const char *path) {
    size_t length = 0;
    if (*path != '/') {
        long got;
        if (folder == AT_FDCWD) {
            got = syscall(SYS_getcwd, path_buffer, PATH_MAX) - 1;
        } else {
            char link[40];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            got = syscall(SYS_readlinkat, AT_FDCWD, link, path_buffer, PATH_MAX);
        }
        if (got <= 0 || path_buffer[0] != '/') return 0;
        length = path_buffer[got - 1] == '/' ? got - 1 : got;
    }
    for (const char *at = path; *at;) {
        while (*at == '/') at++;
        size_t part = strcspn(at, "/");
        if (part && !(part == 1 && *at == '.')) {
            if (length + part + 2 > LONGEST) return 0;
            path_buffer[length++] = '/';
            memcpy(path_buffer + length, at, part);
            length += part;
        }
        at += part;
    }
    if (!length) path_buffer[length++] = '/';
    path_buffer[length] = 0;
    return length;
}

/* The kind of the longest prefix that a path has: O, S, or 0 for none. */
static char kind_of(const char *path, size_t length) {
    unsigned longest = 0;
    char kind = 0;
    for (unsigned i = 0; i < prefix_count; i++) {
        unsigned n = prefixes[i].length;
        if (n >= longest && n <= length && (path[n] == '/' || !path[n]) && !memcmp(path, prefixes[i].text, n))
            longest = n, kind = prefixes[i].kind;
    }
    return kind;
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), n = strlen(end);
    return length >= n && !memcmp(text + length - n, end, n);
}

static int left_out(const char *path, size_t length) {
    return kind_of(path, length) == 'S' || strstr(path, "/site-packages/") || strstr(path, "/dist-packages/") ||
           strstr(path, "/.git/") || strstr(path, "/lib/python3.") || ends_with(path, "/pyvenv.cfg");
}

/* Where a descriptor leads, in real_buffer; empty where that is the path itself or unknown. */
static const char *real_path(int fd, const char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long got = syscall(SYS_readlinkat, AT_FDCWD, link, real_buffer, LONGEST - 1);
    real_buffer[got > 0 ? got : 0] = 0;
    return real_buffer[0] == '/' && strcmp(real_buffer, path) ? real_buffer : "";
}

/* Turn the path of bytecode in path_buffer into that of its source, where that exists. */
static int to_source(struct stat *state) {
    char *folder = strstr(path_buffer, "/__pycache__/");
    if (!folder || !ends_with(path_buffer, ".pyc")) return 0;
    char *name = folder + strlen("/__pycache__/"), *dot = strchr(name, '.');
    size_t n = dot ? (size_t)(dot - name) : 0;
    if (!n || strchr(name, '/')) return 0;
    char *source = real_buffer;
    size_t base = folder + 1 - path_buffer;
    memcpy(source, path_buffer, base);
    memcpy(source + base, name, n);
    strcpy(source + base + n, ".py");
    if (state_of(AT_FDCWD, source, 0, state)) return 0;
    strcpy(path_buffer, source);
    return 1;
}

static void tell_state(char kind, const struct stat *state, const char *path, const char *real) {
    char head[160];
    snprintf(head, sizeof head, "%lld %lld %lld %llu %lld %zu ", (long long)state->st_size,
             state->st_mtim.tv_sec * 1000000000LL + state->st_mtim.tv_nsec,
             state->st_ctim.tv_sec * 1000000000LL + state->st_ctim.tv_nsec, (unsigned long long)state->st_ino,
             (long long)now(), strlen(path));
    record(kind, head, path, real);
}

static void tell_time(char kind, const char *path) {
    char head[32];
    snprintf(head, sizeof head, "%lld ", (long long)now());
    record(kind, head, path, NULL);
}

static void missed(size_t length) {
    if (kind_of(path_buffer, length) != 'O' || left_out(path_buffer, length) || strstr(path_buffer, "/__pycache__") ||
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
    busy = 0;
    errno = error;
}

static void after_look(int result, int folder, const char *path) {
    if (!result || !path || !active || (errno != ENOENT && errno != ENOTDIR) || !*path) return;
    int error = errno;
    if (!enter()) return;
    size_t length = absolute(folder, path);
    if (length) missed(length);
    busy = 0;
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
    busy = 0;
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
        busy = 0;
    }
    if (state) made(S_ISDIR(state->st_mode) ? 'G' : 'W', to_folder, to);
    errno = error;
}

static void listed(DIR *folder) {
    int error = errno;
    int skipped = skip_listing;
    skip_listing = 0;
    if (!folder || skipped || !enter()) return;
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
    busy = 0;
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

/* Looking. */

#define STAT(name, type, flags) \
    PUBLIC int name(const char *path, struct type *into) { \
        int result = syscall(SYS_newfstatat, AT_FDCWD, path, into, flags); \
        after_look(result, AT_FDCWD, path); \
        return result; \
    }
#define FSTATAT(name, type) \
    PUBLIC int name(int folder, const char *path, struct type *into, int flags) { \
        int result = syscall(SYS_newfstatat, folder, path, into, flags); \
        after_look(result, folder, path); \
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
        after_look(result, folder, path); \
        return result; \
    }
STAT(stat, stat, 0) STAT(stat64, stat64, 0) STAT(lstat, stat, AT_SYMLINK_NOFOLLOW)
STAT(lstat64, stat64, AT_SYMLINK_NOFOLLOW) FSTATAT(fstatat, stat) FSTATAT(fstatat64, stat64)
XSTAT(__xstat, stat, 0) XSTAT(__xstat64, stat64, 0) XSTAT(__lxstat, stat, AT_SYMLINK_NOFOLLOW)
XSTAT(__lxstat64, stat64, AT_SYMLINK_NOFOLLOW) FXSTATAT(__fxstatat, stat) FXSTATAT(__fxstatat64, stat64)

PUBLIC int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict into) {
    int result = syscall(SYS_statx, folder, path, flags, mask, into);
    after_look(result, folder, path);
    return result;
}

/* What the Python half asks for by looking for a file that cannot exist. */
static int answered(const char *wish) {
    if (!strcmp(wish, "pause")) paused++;
    else if (!strcmp(wish, "resume")) paused -= paused > 0;
    else if (!strcmp(wish, "listing")) skip_listing = 1;
    else if (!strcmp(wish, "python")) {
        /* Whatever was listed so far, the import system listed. */
        python = 1;
        if (enter()) record('D', "", "", NULL), busy = 0;
    } else if (!strncmp(wish, "skip/", 5)) {
        static char more[8 * PATH_MAX];
        static unsigned used;
        size_t n = strlen(wish + 4);
        if (prefix_count < PREFIXES && used + n + 1 < sizeof more) {
            memcpy(more + used, wish + 4, n + 1);
            prefixes[prefix_count].text = more + used;
            prefixes[prefix_count].length = n;
            prefixes[prefix_count++].kind = 'S';
            used += n + 1;
        }
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

/* The network. */

static void tell_address(char kind, const struct sockaddr *address, const char *name) {
    char text[INET6_ADDRSTRLEN], head[INET6_ADDRSTRLEN + 16];
    int port;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        port = ntohs(four->sin_port);
        inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    } else {
        const struct sockaddr_in6 *six = (const void *)address;
        port = ntohs(six->sin6_port);
        inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    }
    snprintf(head, sizeof head, "%s %d ", text, port);
    char key[2 * INET6_ADDRSTRLEN + 300];
    snprintf(key, sizeof key, "%s%.256s", head, name);
    if ((port || kind == 'N') && first_time(kind, key)) record(kind, head, name, NULL);
}

static int is_internet(const struct sockaddr *address) {
    return address && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

PUBLIC int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int type = 0, error = errno;
    socklen_t size = sizeof type;
    if (is_internet(address) && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_STREAM && enter()) {
        tell_address('P', address, "");
        busy = 0;
    }
    errno = error;
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    return real(fd, address, length);
}

PUBLIC int bind(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, "bind", int, const struct sockaddr *, socklen_t);
    int result = real(fd, address, length), error = errno;
    struct sockaddr_storage got;
    socklen_t size = sizeof got;
    if (!result && is_internet(address) && !getsockname(fd, (struct sockaddr *)&got, &size) && enter()) {
        tell_address('B', (struct sockaddr *)&got, "");
        busy = 0;
    }
    errno = error;
    return result;
}

PUBLIC int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    REAL(int, "getaddrinfo", const char *, const char *, const struct addrinfo *, struct addrinfo **);
    int result = real(host, service, hints, found), error = errno;
    if (!result && host && enter()) {
        int most = 16;
        for (struct addrinfo *at = *found; at && most--; at = at->ai_next)
            if (is_internet(at->ai_addr)) tell_address('N', at->ai_addr, host);
        busy = 0;
    }
    errno = error;
    return result;
}

/* Programs that are started keep being watched, and one that cannot be is named. */

static void check_program(const char *path, int depth) {
    unsigned char head[4096];
    struct stat state;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    long got = -1;
    if (!state_of(fd, "", AT_EMPTY_PATH, &state) && S_ISREG(state.st_mode))
        got = syscall(SYS_read, fd, head, sizeof head - 1);
    syscall(SYS_close, fd);
    if (got < (long)sizeof(ElfW(Ehdr))) {
        if (got < 4) return;
    } else if (!memcmp(head, ELFMAG, SELFMAG)) {
        const ElfW(Ehdr) *elf = (const void *)head;
        int is_static = head[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32);
        for (unsigned i = 0; is_static && i < elf->e_phnum; i++) {
            size_t at = elf->e_phoff + i * sizeof(ElfW(Phdr));
            if (at + sizeof(ElfW(Phdr)) > (size_t)got || ((const ElfW(Phdr) *)(head + at))->p_type == PT_INTERP)
                is_static = 0;
        }
        int raised = (state.st_mode & (S_ISUID | S_ISGID)) && geteuid();
        if ((is_static || raised) && enter()) {
            if (first_time('X', path)) record('X', is_static ? "static " : "setuid ", path, NULL);
            busy = 0;
        }
        return;
    }
    if (head[0] == '#' && head[1] == '!' && !depth) {
        head[got] = 0;
        char *word = (char *)head + 2 + strspn((char *)head + 2, " \t");
        word[strcspn(word, " \t\r\n")] = 0;
        check_program(word, 1);
    }
}

static void check_command(const char *file) {
    int error = errno;
    if (!file || !active || paused) return;
    if (strchr(file, '/')) {
        check_program(file, 0);
    } else {
        const char *at = getenv("PATH");
        char place[PATH_MAX];
        while (at && *at) {
            size_t n = strcspn(at, ":");
            if (n && n + strlen(file) + 2 < sizeof place) {
                snprintf(place, sizeof place, "%.*s/%s", (int)n, at, file);
                if (!syscall(SYS_faccessat, AT_FDCWD, place, X_OK)) {
                    check_program(place, 0);
                    break;
                }
            }
            at += n + (at[n] == ':');
        }
    }
    errno = error;
}

static size_t count(char *const list[]) {
    size_t n = 0;
    while (list && list[n]) n++;
    return n;
}

/* Copy an environment with one variable that is to hold `value`, in front of what it holds already. */
static void keep(char **into, size_t *n, const char *setting, char separator, char *room) {
    size_t name = strcspn(setting, "=") + 1;
    const char *value = setting + name;
    for (size_t i = 0; i < *n; i++) {
        if (strncmp(into[i], setting, name)) continue;
        if (!separator || strstr(into[i] + name, value)) return;
        sprintf(room, "%s%s%s", setting, into[i][name] ? (char[]){separator, 0} : "", into[i] + name);
        into[i] = room;
        return;
    }
    into[(*n)++] = (char *)setting;
}

static size_t room_for(char *const envp[]) {
    size_t most = 0;
    for (size_t i = 0; envp && envp[i]; i++)
        if (!strncmp(envp[i], "LD_PRELOAD=", 11) || !strncmp(envp[i], "PYTHONPATH=", 11)) most += strlen(envp[i]);
    return most + 2 * PATH_MAX + 64;
}

static char *const *watched(char *const envp[], char **into, char *room) {
    size_t n = 0;
    for (; envp && envp[n]; n++) into[n] = envp[n];
    if (paused) {
        /* What an unobserved thread starts is not observed either. */
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
            if (strncmp(into[i], "MLFLOW_PHASES_OBSERVE=", 22)) into[kept++] = into[i];
        n = kept;
    } else {
        keep(into, &n, observe, 0, room);
        keep(into, &n, preload, ':', room);
        keep(into, &n, injected, ':', room + room_for(envp));
    }
    into[n] = NULL;
    return into;
}

#define WATCHED(envp) \
    (active ? watched(envp, alloca((count(envp) + 4) * sizeof(char *)), alloca(2 * room_for(envp))) \
            : (envp))

PUBLIC int execve(const char *path, char *const argv[], char *const envp[]) {
    REAL(int, "execve", const char *, char *const[], char *const[]);
    check_command(path);
    return real(path, argv, WATCHED(envp));
}

PUBLIC int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }

PUBLIC int fexecve(int fd, char *const argv[], char *const envp[]) {
    REAL(int, "fexecve", int, char *const[], char *const[]);
    return real(fd, argv, WATCHED(envp));
}

PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[]) {
    REAL(int, "execvpe", const char *, char *const[], char *const[]);
    check_command(file);
    return real(file, argv, WATCHED(envp));
}

PUBLIC int execvp(const char *file, char *const argv[]) { return execvpe(file, argv, environ); }

#define EXECL(name, call, last) \
    PUBLIC int name(const char *path, const char *first, ...) { \
        va_list list; \
        size_t n = 1; \
        va_start(list, first); \
        while (first && va_arg(list, char *)) n++; \
        va_end(list); \
        char **argv = alloca((n + 1) * sizeof(char *)); \
        char *const *envp = environ; \
        argv[0] = (char *)first; \
        va_start(list, first); \
        for (size_t i = 1; i <= n && first; i++) argv[i] = va_arg(list, char *); \
        if (last) envp = va_arg(list, char *const *); \
        va_end(list); \
        return call(path, argv, envp); \
    }
EXECL(execl, execve, 0) EXECL(execle, execve, 1) EXECL(execlp, execvpe, 0)

#define SPAWN(name) \
    PUBLIC int name(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, \
                    const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) { \
        REAL(int, #name, pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
             char *const[], char *const[]); \
        check_command(path); \
        return real(pid, path, actions, attributes, argv, WATCHED(envp)); \
    }
SPAWN(posix_spawn) SPAWN(posix_spawnp)

/* Starting. */

static void add_prefix(const char *text, char kind) {
    if (prefix_count < PREFIXES && *text == '/' && text[1]) {
        prefixes[prefix_count].text = text;
        prefixes[prefix_count].length = strlen(text);
        prefixes[prefix_count++].kind = kind;
    }
}

__attribute__((constructor)) static void start(void) {
    int error = errno;
    const char *folder = getenv("MLFLOW_PHASES_OBSERVE");
    Dl_info self;
    if (!folder || *folder != '/' || strlen(folder) + 80 > PATH_MAX || !dladdr((void *)start, &self)) return;
    snprintf(records, sizeof records, "%s/settings", folder);
    int in = syscall(SYS_openat, AT_FDCWD, records, O_RDONLY | O_CLOEXEC);
    if (in < 0) { errno = error; return; }
    long got = syscall(SYS_read, in, settings, sizeof settings - 1);
    syscall(SYS_close, in);
    seen = mmap(NULL, SLOTS * sizeof *seen, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got <= 0 || seen == MAP_FAILED) { errno = error; return; }
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", self.dli_fname);
    snprintf(observe, sizeof observe, "MLFLOW_PHASES_OBSERVE=%s", folder);
    add_prefix(folder, 'S');
    for (char *at = settings; at < settings + got; at += strlen(at) + 1) {
        if (*at == 'O' || *at == 'S') add_prefix(at + 1, *at);
        else if (*at == 'I') add_prefix(at + 1, 'S'), snprintf(injected, sizeof injected, "PYTHONPATH=%s", at + 1);
    }
    static const char *const system_folders[] = {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc",
                                                 "/proc", "/sys", "/dev", "/run", "/var/run"};
    for (unsigned i = 0; i < sizeof system_folders / sizeof *system_folders; i++) add_prefix(system_folders[i], 'S');
    snprintf(records, sizeof records, "%s/%d-%lld.shim", folder, (int)getpid(), (long long)now());
    char program[PATH_MAX];
    long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    const char *name = strrchr(program, '/');
    python = name && strstr(name, "python") != NULL;
    active = 1;
    errno = error;
}
