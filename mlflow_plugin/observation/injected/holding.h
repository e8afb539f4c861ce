/* Files that are open for reading and writing. Such a file counts as written only if it changed until it was closed:
 * many libraries open what they only read that way, and a change by another process is none of the program's. */
#define HOLDS 128
static struct hold { _Atomic int owner; int fd; uint64_t state; int written; char path[512]; } holds[HOLDS];
static _Atomic unsigned held; /* How many there are at most: nothing is looked up without any. */

static uint64_t hash_of_state(const struct stat *state) {
    int64_t parts[] = {state->st_size, state->st_mtim.tv_sec, state->st_mtim.tv_nsec, state->st_ctim.tv_sec,
                       state->st_ctim.tv_nsec, (int64_t)state->st_ino, (int64_t)state->st_dev};
    uint64_t hash = 1469598103934665603ULL;
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) hash = (hash ^ (uint64_t)parts[i]) * 1099511628211ULL;
    return hash;
}

/* Remember an open file; false where that is not possible. */
static int hold(int fd, const struct stat *state, const char *path) {
    int pid = syscall(SYS_getpid), nobody;
    if (strlen(path) >= sizeof holds->path) return 0;
    for (int i = 0; i < HOLDS; i++) {
        /* A descriptor that was closed out of sight, or by the process that this one was forked from. */
        if (holds[i].owner > 0 && holds[i].fd == fd && holds[i].owner != pid) holds[i].owner = 0;
        if (atomic_compare_exchange_strong(&holds[i].owner, (nobody = 0, &nobody), -1)) {
            holds[i].fd = fd, holds[i].state = hash_of_state(state), holds[i].written = 0;
            strcpy(holds[i].path, path);
            if (held < (unsigned)i + 1) held = i + 1;
            atomic_store(&holds[i].owner, pid);
            return 1;
        }
    }
    return 0;
}

static void tell_held(struct hold *one) {
    if (enter()) {
        if (first_time('W', one->path)) tell_time('W', one->path);
        leave();
    }
}

/* SQLite writes by two functions alone, and both are watched. */
static int is_unwritten_database(const struct hold *one) {
    char head[16];
    return !one->written && syscall(SYS_pread64, one->fd, head, sizeof head, 0) == sizeof head &&
           !memcmp(head, "SQLite format 3", sizeof head);
}

/* Tell a file that has changed. A child that shares the memory of its parent forgets nothing. */
static void settle(struct hold *one, int closes) {
    struct stat state;
    int error = errno, pid = one->owner;
    if (pid <= 0) return;
    int known = !state_of(one->fd, "", AT_EMPTY_PATH, &state);
    if (!known || (hash_of_state(&state) != one->state && !is_unwritten_database(one))) tell_held(one);
    if (closes && pid == (int)syscall(SYS_getpid)) atomic_store(&one->owner, 0);
    errno = error;
}

static void settle_all(void) {
    for (unsigned i = 0; i < held; i++) settle(&holds[i], 0);
}

enum touch { WRITTEN, SHARED, CLOSED };

static void touched(int fd, enum touch how) {
    for (unsigned i = 0; i < held; i++) {
        if (holds[i].owner <= 0 || holds[i].fd != fd) continue;
        if (how == CLOSED) settle(&holds[i], 1);
        else if (how == WRITTEN) holds[i].written = 1;
        else tell_held(&holds[i]); /* It may be written to by another descriptor or through memory. */
    }
}

#define TOUCHED(fd, how) if (held && active) touched(fd, how)

PUBLIC int close(int fd) {
    TOUCHED(fd, CLOSED);
    return syscall(SYS_close, fd);
}

PUBLIC ssize_t write(int fd, const void *bytes, size_t length) {
    TOUCHED(fd, WRITTEN);
    return syscall(SYS_write, fd, bytes, length);
}

#define PWRITE(name) \
    PUBLIC ssize_t name(int fd, const void *bytes, size_t length, off_t at) { \
        TOUCHED(fd, WRITTEN); \
        return syscall(SYS_pwrite64, fd, bytes, length, at); \
    }
PWRITE(pwrite) PWRITE(pwrite64)

PUBLIC int dup(int fd) {
    TOUCHED(fd, SHARED);
    return syscall(SYS_dup, fd);
}

PUBLIC int dup3(int fd, int to, int flags) {
    TOUCHED(fd, SHARED);
    if (fd != to) TOUCHED(to, CLOSED);
    return syscall(SYS_dup3, fd, to, flags);
}

PUBLIC int dup2(int fd, int to) { return fd == to ? fcntl(fd, F_GETFD) < 0 ? -1 : fd : dup3(fd, to, 0); }

#define FCNTL(name) \
    PUBLIC int name(int fd, int command, ...) { \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        REAL(int, #name, int, int, ...); \
        if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) TOUCHED(fd, SHARED); \
        return real ? real(fd, command, argument) : (int)syscall(SYS_fcntl, fd, command, argument); \
    }
FCNTL(fcntl) FCNTL(fcntl64)

#define MMAP(name) \
    PUBLIC void *name(void *address, size_t length, int protection, int flags, int fd, off_t offset) { \
        if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE)) TOUCHED(fd, SHARED); \
        return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset); \
    }
MMAP(mmap) MMAP(mmap64)

#define EXIT(name) \
    PUBLIC __attribute__((noreturn)) void name(int status) { \
        if (held && active) settle_all(); \
        for (;;) syscall(SYS_exit_group, status); \
    }
EXIT(_exit) EXIT(_Exit)

__attribute__((destructor)) static void end(void) {
    if (held && active) settle_all();
}
