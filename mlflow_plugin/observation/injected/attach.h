/* Watch a process that runs already: its libraries are led to the functions above, one table of addresses at a time. */

#if defined(__x86_64__)
#define IS_FUNCTION(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT)
#elif defined(__aarch64__)
#define IS_FUNCTION(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT)
#else
#define IS_FUNCTION(type) 0
#define CANNOT_ATTACH
#endif

#define OWN(name) {#name, (void *)name}
static const struct { const char *name; void *function; } watched_functions[] = {
    OWN(open), OWN(open64), OWN(openat), OWN(openat64), OWN(__open_2), OWN(__open64_2), OWN(__openat_2),
    OWN(__openat64_2), OWN(creat), OWN(creat64), OWN(fopen), OWN(fopen64), OWN(freopen), OWN(freopen64), OWN(mkstemp),
    OWN(mkstemp64), OWN(mkostemp), OWN(mkostemp64), OWN(mkstemps), OWN(mkstemps64), OWN(mkostemps), OWN(mkostemps64),
    OWN(mkdtemp), OWN(mkdirat), OWN(mkdir), OWN(symlinkat), OWN(symlink), OWN(truncate), OWN(truncate64), OWN(unlink), OWN(unlinkat), OWN(remove), OWN(chdir),
    OWN(close), OWN(write), OWN(pwrite), OWN(pwrite64), OWN(dup), OWN(dup2), OWN(dup3), OWN(fcntl), OWN(fcntl64), OWN(mmap),
    OWN(mmap64), OWN(_exit), OWN(_Exit), OWN(renameat2),
    OWN(renameat), OWN(rename), OWN(linkat), OWN(link), OWN(opendir), OWN(fdopendir), OWN(scandir), OWN(scandir64),
    OWN(stat), OWN(stat64), OWN(fstatat), OWN(fstatat64), OWN(__xstat), OWN(__xstat64),
    OWN(__fxstatat), OWN(__fxstatat64), OWN(statx), OWN(access), OWN(faccessat),
    OWN(connect), OWN(bind), OWN(send), OWN(sendto), OWN(getaddrinfo), OWN(execve), OWN(execv), OWN(fexecve), OWN(execvpe), OWN(execvp),
    OWN(execl), OWN(execle), OWN(execlp), OWN(posix_spawn), OWN(posix_spawnp),
    OWN(lstat), OWN(lstat64), OWN(__lxstat), OWN(__lxstat64), OWN(readlink), OWN(readlinkat), OWN(realpath),
    OWN(canonicalize_file_name), OWN(execveat), OWN(system), OWN(popen), OWN(glob), OWN(glob64), OWN(ftw), OWN(ftw64), OWN(nftw),
    OWN(nftw64), OWN(fts_open), {"syscall", (void *)watched_syscall},
};

static void *watched_function(const char *name) {
    for (unsigned i = 0; i < sizeof watched_functions / sizeof *watched_functions; i++)
        if (!strcmp(name, watched_functions[i].name)) return watched_functions[i].function;
    return NULL;
}

struct library {
    ElfW(Addr) base, sealed, sealed_end;
    const ElfW(Sym) *symbols;
    const char *names;
    int opened; /* Whether the sealed part can be written to now. */
};

static void unseal(struct library *library, int on) {
    size_t page = sysconf(_SC_PAGESIZE);
    ElfW(Addr) from = library->sealed & ~(page - 1), to = library->sealed_end & ~(page - 1);
    if (to > from) mprotect((void *)from, to - from, on ? PROT_READ | PROT_WRITE : PROT_READ);
    library->opened = on;
}

static void lead(struct library *library, const ElfW(Rela) *entry, size_t bytes) {
    for (const ElfW(Rela) *end = entry + bytes / sizeof *entry; entry < end; entry++) {
        const ElfW(Sym) *symbol = &library->symbols[ELF64_R_SYM(entry->r_info)];
        if (!IS_FUNCTION(ELF64_R_TYPE(entry->r_info)) || symbol->st_shndx != SHN_UNDEF) continue;
        void *to = watched_function(library->names + symbol->st_name);
        ElfW(Addr) place = library->base + entry->r_offset;
        if (!to || *(void **)place == to) continue;
        if (!library->opened && place >= library->sealed && place < library->sealed_end) unseal(library, 1);
        __atomic_store_n((void **)place, to, __ATOMIC_RELEASE);
    }
}

static int lead_library(struct dl_phdr_info *info, size_t size, void *own_base) {
    static const char *const left_alone[] = {"/libc.so", "/libc-", "/ld-linux", "/ld-musl", "/libdl", "/libpthread",
                                             "linux-vdso"};
    struct library library = {.base = info->dlpi_addr};
    const ElfW(Dyn) *dynamic = NULL;
    const ElfW(Rela) *tables[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    (void)size;
    for (unsigned i = 0; i < sizeof left_alone / sizeof *left_alone; i++)
        if (strstr(info->dlpi_name, left_alone[i])) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_DYNAMIC) dynamic = (const void *)(library.base + part->p_vaddr);
        if (part->p_type == PT_GNU_RELRO)
            library.sealed = library.base + part->p_vaddr, library.sealed_end = library.sealed + part->p_memsz;
    }
    if (!dynamic || (void *)library.base == own_base) return 0;
    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) library.symbols = (const void *)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_STRTAB) library.names = (const void *)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_JMPREL) tables[0] = (const void *)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_PLTRELSZ) bytes[0] = dynamic->d_un.d_val;
        else if (dynamic->d_tag == DT_RELA) tables[1] = (const void *)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_RELASZ) bytes[1] = dynamic->d_un.d_val;
    }
    if (!library.symbols || !library.names || (ElfW(Addr))library.symbols < library.base) return 0;
    for (int i = 0; i < 2; i++)
        if (tables[i]) lead(&library, tables[i], bytes[i]);
    if (library.opened) unseal(&library, 0);
    return 0;
}

/* Lead the libraries that were loaded meanwhile to the functions above, too. */
PUBLIC void mlflow_phases_lead(void) {
    Dl_info self;
    if (active && dladdr((void *)begin, &self)) dl_iterate_phdr(lead_library, self.dli_fbase);
}

/* Watch this process from now on; -1 where that is not possible. */
PUBLIC int mlflow_phases_attach(const char *folder) {
    begin(folder);
    mlflow_phases_lead();
#ifdef CANNOT_ATTACH
    return -1;
#else
    return active ? 0 : -1;
#endif
}
