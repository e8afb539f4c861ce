/* Programs that are started keep being watched, and one that cannot be is named. */
/* A program of the user's own is code that the phase runs. Packages of programs in these folders are installed. */
static void note_program(int fd, const char *path) {
    static const char *const installed[] = {"/opt/", "/snap/", "/nix/"};
    for (unsigned i = 0; i < sizeof installed / sizeof *installed; i++)
        if (!strncmp(path, installed[i], strlen(installed[i]))) return;
    if (enter()) {
        opened_file(fd, AT_FDCWD, path, READS);
        leave();
    }
}

enum loading { UNKNOWN, LOADS, CANNOT_LOAD };

/* Tell whether a program will load this library, too. */
static int check_program(const char *path, int depth) {
    unsigned char head[4096];
    struct stat state;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return !syscall(SYS_faccessat, AT_FDCWD, path, X_OK);
    long got = -1;
    if (!state_of(fd, "", AT_EMPTY_PATH, &state) && S_ISREG(state.st_mode))
        got = syscall(SYS_read, fd, head, sizeof head - 1);
    if (got >= (long)sizeof(ElfW(Ehdr)) && !memcmp(head, ELFMAG, SELFMAG)) note_program(fd, path);
    syscall(SYS_close, fd);
    if (got < (long)sizeof(ElfW(Ehdr))) {
        if (got < 4) return got >= 0;
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
            leave();
        }
        return is_static ? CANNOT_LOAD : !raised;
    }
    if (head[0] == '#' && head[1] == '!' && !depth) {
        head[got] = 0;
        char *word = (char *)head + 2 + strspn((char *)head + 2, " \t");
        word[strcspn(word, " \t\r\n")] = 0;
        return check_program(word, 1);
    }
    return 1;
}

/* Tell whether a command will load this library, too, and record into the same folder. */
static int check_command(const char *file, char *const envp[]) {
    int error = errno, loads = 0;
    if (!file || !active || paused) return 0;
    if (strchr(file, '/')) {
        loads = check_program(file, 0);
    } else {
        const char *at = getenv("PATH");
        char place[PATH_MAX];
        while (at && *at) {
            size_t n = strcspn(at, ":");
            if (n && n + strlen(file) + 2 < sizeof place) {
                snprintf(place, sizeof place, "%.*s/%s", (int)n, at, file);
                if (!syscall(SYS_faccessat, AT_FDCWD, place, X_OK)) {
                    loads = check_program(place, 0);
                    break;
                }
            }
            at += n + (at[n] == ':');
        }
    }
    size_t name = strcspn(observe, "=") + 1;
    for (size_t i = 0; loads && envp && envp[i]; i++)
        if (!strncmp(envp[i], observe, name) && strcmp(envp[i], observe)) loads = 0;
    errno = error;
    return loads;
}

/* Announce a program, which is to say hello after this moment. e: it is started, f: it was not after all;
   x: it is started and cannot say so. */
static void announce(char kind, pid_t pid, int64_t time, const char *file) {
    int error = errno;
    char head[64];
    if (enter()) {
        snprintf(head, sizeof head, "%d %lld ", (int)pid, (long long)time);
        record(kind, head, file, NULL);
        leave();
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
        /* What an unobserved thread starts is not observed either, unless it is to record elsewhere. */
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
            if (strcmp(into[i], observe)) into[kept++] = into[i];
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

/* Take the place of this program. Only a failure returns. */
#define STARTING(file, envp, call) \
    int loads = check_command(file, envp); \
    if (loads) announce(loads == LOADS ? 'e' : 'x', getpid(), now(), file); \
    int result = call; \
    if (loads == LOADS) announce('f', getpid(), now(), file); \
    return result

PUBLIC int execve(const char *path, char *const argv[], char *const envp[]) {
    REAL(int, "execve", const char *, char *const[], char *const[]);
    STARTING(path, envp, real(path, argv, WATCHED(envp)));
}

PUBLIC int execv(const char *path, char *const argv[]) { return execve(path, argv, environ); }

PUBLIC int fexecve(int fd, char *const argv[], char *const envp[]) {
    REAL(int, "fexecve", int, char *const[], char *const[]);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    STARTING(path, envp, real(fd, argv, WATCHED(envp)));
}

PUBLIC int execveat(int folder, const char *path, char *const argv[], char *const envp[], int flags) {
    char file[PATH_MAX];
    if (folder == AT_FDCWD || *path == '/') snprintf(file, sizeof file, "%s", path);
    else snprintf(file, sizeof file, *path ? "/proc/self/fd/%d/%s" : "/proc/self/fd/%d", folder, path);
    STARTING(file, envp, syscall(SYS_execveat, folder, path, argv, WATCHED(envp), flags));
}

PUBLIC int execvpe(const char *file, char *const argv[], char *const envp[]) {
    REAL(int, "execvpe", const char *, char *const[], char *const[]);
    STARTING(file, envp, real(file, argv, WATCHED(envp)));
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
        int64_t time = now(); \
        int loads = check_command(path, envp); \
        pid_t child = 0; \
        int result = real(&child, path, actions, attributes, argv, WATCHED(envp)); \
        if (!result && loads) announce(loads == LOADS ? 'e' : 'x', child, time, path); \
        if (!result && pid) *pid = child; \
        return result; \
    }
SPAWN(posix_spawn) SPAWN(posix_spawnp)

/* A shell that the C library starts by itself finds what observes it in the environment, also where that was removed. */
static void equip(void) {
    const char *const settings_of[] = {observe, preload, injected};
    int error = errno;
    if (!active || paused) return;
    for (int i = 0; i < 3; i++) {
        char name[32] = "", value[4 * PATH_MAX];
        const char *text = strchr(settings_of[i], '=');
        if (!text) continue;
        memcpy(name, settings_of[i], text++ - settings_of[i]);
        const char *held = getenv(name);
        if (held && *held && (!i || strstr(held, text))) continue;
        int length = snprintf(value, sizeof value, held && *held ? "%s:%s" : "%s", text, held);
        if (length > 0 && (size_t)length < sizeof value) setenv(name, value, 1);
    }
    if (enter()) record('g', "", "sh", NULL), leave(); /* To find out that records cannot be written any more. */
    errno = error;
}

PUBLIC int system(const char *command) {
    REAL(int, "system", const char *);
    if (command) equip();
    return real(command);
}

PUBLIC FILE *popen(const char *command, const char *mode) {
    REAL(FILE *, "popen", const char *, const char *);
    equip();
    return real(command, mode);
}
