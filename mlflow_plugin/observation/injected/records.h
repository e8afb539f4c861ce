/* What is recorded, and how. */
#define _GNU_SOURCE
#include <alloca.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <link.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "call.h"

#undef open
#undef openat
#undef fopen
#undef stat
#undef fstatat
#undef fcntl
#undef mmap
#undef pwrite
#define PUBLIC __attribute__((visibility("default")))
#define MAGIC "/.mlflow-phases/"
#define SLOTS (1u << 19)
#define MOST 390000u
#define PREFIXES 256
#define LONGEST (2 * PATH_MAX)
#define ROOMS 64

enum outcome { READS = 1, WRITES = 2, KEEPS = 4, STREAM = 1 << 30 }; /* The last: written, while what it held stays. */

static struct { const char *text; unsigned length; char kind; } prefixes[PREFIXES]; /* O: own, S: skipped, D: data in a skipped folder */
static unsigned prefix_count, told, full_told, python, git, builds; /* The last three: what program this is. */
static _Atomic uint64_t *seen;
static char settings[1 << 16], records[PATH_MAX], preload[PATH_MAX + 16], observe[PATH_MAX + 32], injected[PATH_MAX + 16];
static char program[PATH_MAX], *failure; /* `failure` lies in the file of the records and is shared with forks. */
static int active;

/* Room for paths, taken while a thread records: nothing large stands on a stack or in each thread's own storage. */
static struct room { _Atomic int taken; char path[LONGEST], real[LONGEST], record[2 * LONGEST + 256]; } rooms[ROOMS];
static __thread struct room *room;
static __thread int paused, skip_listing;
#define path_buffer (room->path)
#define real_buffer (room->real)
#define record_buffer (room->record)

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
    if (!active || paused || room) return 0;
    for (int tries = 0; tries < 1000; tries++) {
        for (int i = 0; i < ROOMS; i++) {
            if (atomic_exchange(&rooms[i].taken, 1)) continue;
            room = &rooms[i];
            return 1;
        }
        sched_yield();
    }
    return 0;
}

static void leave(void) {
    struct room *mine = room;
    room = NULL;
    atomic_store(&mine->taken, 0);
}

/* Say that something could not be recorded. This needs neither a descriptor nor rights, nor room on the disk. */
static void failed(void) {
    if (failure) *failure = '1';
}

/* Write without the signal that would end a program whose files may not grow. */
static void append(int out, const char *bytes, size_t length) {
    uint64_t too_large = 1ULL << (SIGXFSZ - 1), before = 0;
    struct timespec at_once = {0};
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &too_large, &before, sizeof before);
    ssize_t written = syscall(SYS_write, out, bytes, length);
    if (written < 0 && errno == EFBIG && !(before & too_large))
        syscall(SYS_rt_sigtimedwait, &too_large, NULL, &at_once, sizeof before);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
    if (written != (ssize_t)length) failed();
}

static void tell(const char *bytes, size_t length) {
    int out = syscall(SYS_openat, AT_FDCWD, records, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) {
        failed();
        return;
    }
    append(out, bytes, length);
    syscall(SYS_close, out);
}

/* Append a record: its kind, what `head` holds, the path, and a second text where there is one; ended by a zero. */
static void record(char kind, const char *head, const char *path, const char *second) {
    int length = snprintf(record_buffer, sizeof record_buffer, "%c %s%s%s", kind, head, path, second ? second : "");
    if (length > 0 && (size_t)length < sizeof record_buffer) tell(record_buffer, length + 1);
    else failed();
}

static uint64_t hash_of(char kind, const char *path) {
    uint64_t hash = 1469598103934665603ULL ^ (unsigned char)kind;
    for (const char *at = path; *at; at++) hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
    hash ^= hash >> 29;
    return hash ? hash : 1;
}

static int is_told(char kind, const char *path) {
    uint64_t hash = hash_of(kind, path);
    for (unsigned slot = hash & (SLOTS - 1); seen[slot]; slot = (slot + 1) & (SLOTS - 1))
        if (seen[slot] == hash) return 1;
    return 0;
}

/* Remember that something was told; false where it had been already, or where too much was. */
static int first_time(char kind, const char *path) {
    uint64_t hash = hash_of(kind, path);
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
           strstr(path, "/.git/") || strstr(path, "/.pyenv/") || strstr(path, "/lib/python3.") || ends_with(path, "/pyvenv.cfg");
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

#include "start.h"
