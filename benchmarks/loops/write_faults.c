/* Lets the n-th write below a folder fail, over all processes that share a control file; for LD_PRELOAD.

   Counted are writes, syncs, renames and openings for writing of paths below `prefix`. The control file, which AURA_FAULTS
   names, is mapped by every process; whoever runs the test writes it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
    uint64_t armed;  /* 0: nothing is counted */
    uint64_t count;  /* calls so far */
    uint64_t at;     /* the call that fails; 0: none does */
    uint64_t lasts;  /* 1: all later calls fail as well */
    uint64_t number; /* errno */
    char prefix[4000];
};

static struct control *control;

__attribute__((constructor)) static void map_control(void) {
    const char *name = getenv("AURA_FAULTS");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *place = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (place != MAP_FAILED) control = place;
}

static int below(const char *path) {
    size_t length = strlen(control->prefix);
    return strncmp(path, control->prefix, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* Counts a call; 1 if it must fail. */
static int fails(void) {
    uint64_t now = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (!control->at || !(now == control->at || (control->lasts && now > control->at))) return 0;
    errno = (int)control->number;
    return 1;
}

static int path_fails(int folder, const char *path) {
    char whole[2 * PATH_MAX], link[64];
    if (!control || !control->armed || !path) return 0;
    if (path[0] == '/') return below(path) && fails();
    if (folder == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, whole, PATH_MAX - 1);
        if (size < 0) return 0;
        whole[size] = 0;
    }
    strncat(whole, "/", 2);
    strncat(whole, path, PATH_MAX - 1);
    return below(whole) && fails();
}

static int file_fails(int file) {
    char link[64], path[PATH_MAX];
    if (!control || !control->armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path) && fails();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_FILE(type, name, parameters, arguments, file) \
    type name parameters { return file_fails(file) ? -1 : NEXT(name) arguments; }

ON_FILE(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), f)
ON_FILE(ssize_t, writev, (int f, const struct iovec *v, int n), (f, v, n), f)
ON_FILE(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), f)
ON_FILE(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), f)
ON_FILE(ssize_t, pwritev, (int f, const struct iovec *v, int n, off_t o), (f, v, n, o), f)
ON_FILE(int, fsync, (int f), (f), f)
ON_FILE(int, fdatasync, (int f), (f), f)
ON_FILE(int, ftruncate, (int f, off_t n), (f, n), f)
ON_FILE(int, ftruncate64, (int f, off64_t n), (f, n), f)

extern ssize_t sendfile(int, int, off_t *, size_t);
extern ssize_t sendfile64(int, int, off64_t *, size_t);
ON_FILE(ssize_t, sendfile, (int f, int g, off_t *o, size_t n), (f, g, o, n), f)
ON_FILE(ssize_t, sendfile64, (int f, int g, off64_t *o, size_t n), (f, g, o, n), f)
ON_FILE(ssize_t, copy_file_range, (int g, off64_t *p, int f, off64_t *o, size_t n, unsigned w), (g, p, f, o, n, w), f)

int rename(const char *from, const char *to) {
    return path_fails(AT_FDCWD, to) ? -1 : NEXT(rename)(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return path_fails(to_folder, to) ? -1 : NEXT(renameat)(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    return path_fails(to_folder, to) ? -1 : NEXT(renameat2)(from_folder, from, to_folder, to, flags);
}

#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && path_fails(AT_FDCWD, path) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && path_fails(AT_FDCWD, path) ? -1 : NEXT(open64)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && path_fails(folder, path) ? -1 : NEXT(openat)(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, mode)
    return WRITES(flags) && path_fails(folder, path) ? -1 : NEXT(openat64)(folder, path, flags, mode);
}
