/*
 * Preloaded into a program: counts its calls that change files below SHIM_ROOT. At call number SHIM_AT it kills the
 * program (SIGKILL), before the call or, for writes with SHIM_TEAR set, after half of it. With SHIM_ERRNO the call fails
 * with that number instead; with SHIM_STAYS, all later ones do too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;
static long at;
static int tears, stays, number;
static const char *root;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHIM_AT");
    at = text ? atol(text) : 0;
    tears = getenv("SHIM_TEAR") != NULL;
    stays = getenv("SHIM_STAYS") != NULL;
    text = getenv("SHIM_ERRNO");
    number = text ? atoi(text) : 0;
    root = getenv("SHIM_ROOT");
}

static int is_below(const char *path) {
    return root && path && strncmp(path, root, strlen(root)) == 0;
}

static int is_file(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* Whether this is the call to die at. */
static int is_it(int counts) {
    if (!counts || !at) return 0;
    long call = atomic_fetch_add(&calls, 1) + 1;
    return call == at || (stays && call > at);
}

static int die(void) {
    if (number) {
        errno = number;
        return -1;
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)

#define WRITE(name, off)                                                     \
    ssize_t name(int fd, const void *bytes, size_t count, off offset) {      \
        REAL(ssize_t, name, int, const void *, size_t, off);                 \
        if (is_it(is_file(fd))) {                                            \
            if (tears) real(fd, bytes, count / 2, offset);                   \
            return die();                                                    \
        }                                                                    \
        return real(fd, bytes, count, offset);                               \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (is_it(is_file(fd))) {
        if (tears) real(fd, bytes, count / 2);
        return die();
    }
    return real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (is_it(is_file(fd))) return die();
    return real(fd, parts, count);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    if (is_it(is_file(fd))) return die();
    return real(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    if (is_it(is_file(fd))) return die();
    return real(fd);
}

#define TRUNCATE(name, off)              \
    int name(int fd, off length) {       \
        REAL(int, name, int, off);       \
        if (is_it(is_file(fd))) return die();   \
        return real(fd, length);         \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (is_it(is_below(to))) return die();
    return real(from, to);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (is_it(is_below(path))) return die();
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    if (is_it(is_below(path))) return die();
    return real(path, mode);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    if (is_it(is_below(to))) return die();
    return real(from, to);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (is_it(is_file(to))) {
        if (tears) real(from, from_at, to, to_at, count / 2, flags);
        return die();
    }
    return real(from, from_at, to, to_at, count, flags);
}
