/* Libraries below the user's own folders. The loader opens them without the functions above. */
static int note_library(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    const char *name = info->dlpi_name;
    struct stat state;
    if (!name || !strchr(name, '/')) return 0; /* The program itself, or the kernel's part. */
    size_t length = absolute(AT_FDCWD, name);
    if (length && kind_of(path_buffer, length) == 'O' && !left_out(path_buffer, length) &&
        !state_of(AT_FDCWD, path_buffer, 0, &state) && S_ISREG(state.st_mode) && first_time('R', path_buffer))
        tell_state('R', &state, path_buffer, "");
    return 0;
}

static void note_libraries(void) {
    int error = errno;
    if (enter()) {
        dl_iterate_phdr(note_library, NULL);
        leave();
    }
    errno = error;
}

__attribute__((constructor)) static void libraries_at_start(void) { note_libraries(); }
__attribute__((destructor)) static void libraries_at_end(void) { note_libraries(); }
