/* Rings of io_uring: requests that a program hands to the kernel in memory that both share. A ring that waits for
 * descriptors or serves a network reads no files. */
#include <sys/mman.h>

#define SYS_IO_URING_SETUP 425
#define SYS_IO_URING_ENTER 426
#define ENTRIES_AT 0x10000000
#define POLLED_BY_KERNEL (1 << 1)
#define LARGE_ENTRIES (1 << 10)
#define MEMORY_OF_THE_PROGRAM (1 << 14)

static struct ring {
    int fd;
    unsigned size;
    unsigned long length;
    const unsigned char *entries;
} rings[16];

/* True for the requests that read, open or look at a file: READV, READ_FIXED, OPENAT, STATX, READ, OPENAT2, SPLICE and
 * READ_MULTISHOT. */
static int reads_a_file(unsigned char request) {
    return request == 1 || request == 4 || request == 18 || request == 21 || request == 22 || request == 28 ||
           request == 30 || request == 49;
}

/* Keep a ring that was just set up, with the parameters that the kernel filled in. False where it cannot be seen. */
static int keep_ring(int fd, const unsigned *parameters) {
    unsigned flags = parameters[2], size = flags & LARGE_ENTRIES ? 128 : 64;
    unsigned long length = (unsigned long)parameters[0] * size;
    struct ring *free_one = NULL;
    if (flags & (POLLED_BY_KERNEL | MEMORY_OF_THE_PROGRAM)) return 0;
    for (struct ring *one = rings; one < rings + 16; one++) {
        if (one->entries && one->fd == fd) {
            munmap((void *)one->entries, one->length);
            one->entries = NULL;
        }
        if (!one->entries && !free_one) free_one = one;
    }
    void *entries = free_one ? mmap(NULL, length, PROT_READ, MAP_SHARED, fd, ENTRIES_AT) : MAP_FAILED;
    if (entries == MAP_FAILED) return 0;
    *free_one = (struct ring){fd, size, length, entries};
    return 1;
}

/* True where no request that waits in this ring reads a file. */
static int is_without_files(int fd) {
    for (const struct ring *one = rings; one < rings + 16; one++) {
        if (!one->entries || one->fd != fd) continue;
        for (unsigned long at = 0; at < one->length; at += one->size)
            if (reads_a_file(one->entries[at])) return 0;
        return 1;
    }
    return 0;
}
