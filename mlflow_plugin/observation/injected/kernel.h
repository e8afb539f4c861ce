/* What leads past the functions above: calls of the kernel by their numbers, and walks of the C library itself. */

/* Name this program, since a part of what it reads cannot be seen. */
static void evades(const char *how) {
    int error = errno;
    if (!enter()) return;
    if (first_time('X', how)) record('X', how, program, NULL);
    leave();
    errno = error;
}

#ifdef WATCHES_SYSCALL
#define SYS_OPENAT2 437
long watched_syscall(long number, ...) __asm__("syscall");
PUBLIC long watched_syscall(long number, ...) {
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    const char *first = (const char *)a[0], *second = (const char *)a[1];
    long result;
    if (number == SYS_execve) return execve(first, (char *const *)a[1], (char *const *)a[2]);
    if (number == SYS_execveat) return execveat(a[0], second, (char *const *)a[2], (char *const *)a[3], a[4]);
    if (number == SYS_renameat2) return renameat2(a[0], second, a[2], (const char *)a[3], a[4]);
    if (number == SYS_statx) return statx(a[0], second, a[2], a[3], (struct statx *)a[4]);
    if (number == SYS_IO_URING_ENTER && active && !is_without_files(a[0])) evades("uring ");
    result = kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (number == SYS_IO_URING_SETUP && active && result >= 0 && !keep_ring(result, (const unsigned *)a[1]))
        evades("uring ");
    if (number == SYS_openat) after_open(result, a[0], second, a[2]);
    else if (number == SYS_OPENAT2) after_open(result, a[0], second, a[2] ? (int)*(const uint64_t *)a[2] : 0);
#ifdef SYS_open
    else if (number == SYS_open) after_open(result, AT_FDCWD, first, a[1]);
#endif
    return result;
}
#else
static long watched_syscall(long number) { return number; }
#endif

/* The C library is led back to the functions above. */
#define GLOB(name, type, state, entry) \
    PUBLIC int name(const char *restrict pattern, int flags, int (*failed_at)(const char *, int), type *restrict found) { \
        REAL(int, #name, const char *, int, int (*)(const char *, int), type *); \
        if (active && !(flags & GLOB_ALTDIRFUNC)) { \
            found->gl_opendir = (void *(*)(const char *))opendir; \
            found->gl_readdir = (struct entry * (*)(void *)) readdir; \
            found->gl_closedir = (void (*)(void *))closedir; \
            found->gl_stat = state; \
            found->gl_lstat = l##state; \
            flags |= GLOB_ALTDIRFUNC; \
        } \
        return real(pattern, flags, failed_at, found); \
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-function-type"
GLOB(glob, glob_t, stat, dirent) GLOB(glob64, glob64_t, stat64, dirent64)
#pragma GCC diagnostic pop

#define WALK(type, name) \
    PUBLIC type name(const void *where, void *a, long b, long c) { \
        REAL(type, #name, const void *, void *, long, long); \
        evades("walk "); \
        return real(where, a, b, c); \
    }
WALK(int, ftw) WALK(int, ftw64) WALK(int, nftw) WALK(int, nftw64)

PUBLIC void *fts_open(char *const *where, int options, int (*compare)(const void *, const void *)) {
    REAL(void *, "fts_open", char *const *, int, int (*)(const void *, const void *));
    evades("walk ");
    return real(where, options, compare);
}
