/* How the recorder starts in a process, and says so. */

/* Say that this process records. The first record of its file holds the place where a failure is noted. */
static void hello(void) {
    static char text[PATH_MAX + 96];
    int length = snprintf(text, sizeof text, "h 0 %d %d %lld %s", (int)getpid(), (int)getppid(), (long long)now(), program);
    int out = syscall(SYS_openat, AT_FDCWD, records, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    failure = NULL;
    if (out < 0 || length < 0 || (size_t)length >= sizeof text) return;
    char *head = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
    append(out, text, length + 1);
    struct stat state;
    if (head != MAP_FAILED && !state_of(out, "", AT_EMPTY_PATH, &state) && state.st_size > 4) failure = head + 2;
    syscall(SYS_close, out);
}

static void add_prefix(const char *text, char kind) {
    if (prefix_count < PREFIXES && *text == '/' && text[1]) {
        prefixes[prefix_count].text = text;
        prefixes[prefix_count].length = strlen(text);
        prefixes[prefix_count++].kind = kind;
    }
}

/* Tell whether this program was made by Go, by the note that its linker leaves in the first of all libraries. */
static int is_go(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size, (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Nhdr) *note = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        if (info->dlpi_phdr[i].p_type == PT_NOTE && info->dlpi_phdr[i].p_memsz >= sizeof *note + 4 &&
            note->n_namesz == 4 && !memcmp(note + 1, "Go\0", 4))
            return 1;
    }
    return -1; /* The program itself comes first: no further library is asked. */
}

static void begin(const char *folder) {
    int error = errno;
    Dl_info self;
    if (active || !folder || *folder != '/' || strlen(folder) + 80 > PATH_MAX || !dladdr((void *)begin, &self)) return;
    snprintf(records, sizeof records, "%s/settings", folder);
    int in = syscall(SYS_openat, AT_FDCWD, records, O_RDONLY | O_CLOEXEC);
    if (in < 0) { errno = error; return; }
    long got = syscall(SYS_read, in, settings, sizeof settings - 1);
    syscall(SYS_close, in);
    seen = mmap(NULL, SLOTS * sizeof *seen, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got <= 0 || seen == MAP_FAILED) { errno = error; return; }
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", self.dli_fname);
    snprintf(observe, sizeof observe, "MLFLOW_PHASES_OBSERVE=%s", folder);
    add_prefix(strchr(observe, '=') + 1, 'S'); /* A copy: what the caller holds may change. */
    for (char *at = settings; at < settings + got; at += strlen(at) + 1) {
        if (*at == 'O' || *at == 'S') add_prefix(at + 1, *at);
        else if (*at == 'I') add_prefix(at + 1, 'S'), snprintf(injected, sizeof injected, "PYTHONPATH=%s", at + 1);
    }
    static const char *const system_folders[] = {"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc",
                                                 "/proc", "/sys", "/dev", "/run", "/var/run"};
    for (unsigned i = 0; i < sizeof system_folders / sizeof *system_folders; i++) add_prefix(system_folders[i], 'S');
    add_prefix("/dev/shm", 'D'); /* People keep data there, and on disks that a desktop mounts. */
    add_prefix("/run/media", 'D');
    snprintf(records, sizeof records, "%s/%d-%lld.shim", folder, (int)getpid(), (long long)now());
    long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    const char *name = strrchr(program, '/');
    python = name && strstr(name, "python") != NULL;
    git = name && !strcmp(name, "/git");
    builds = name && (!strcmp(name, "/make") || !strcmp(name, "/gmake") || !strcmp(name, "/ninja"));
    hello();
    active = 1;
    if (dl_iterate_phdr(is_go, NULL) > 0 && enter()) record('X', "go ", program, NULL), leave();
    errno = error;
}

__attribute__((constructor)) static void start(void) { begin(getenv("MLFLOW_PHASES_OBSERVE")); }
