// A WASI command of many verbs: what the end-to-end tests ask of a function, one verb a question.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

extern char **environ;

static int fail(const char *what) {
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

static int copy(int from, int to) {
    char bytes[4096];
    for (;;) {
        ssize_t n = read(from, bytes, sizeof bytes);
        if (n == 0) return 0;
        if (n < 0) return fail("read");
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(to, bytes + done, n - done);
            if (m < 0) return fail("write");
            done += m;
        }
    }
}

static int cat(const char *path) {
    int fd = open(path, O_RDONLY);
    return fd < 0 ? fail(path) : copy(fd, 1);
}

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) return fail(path);
    if (write(fd, text, strlen(text)) < 0) return fail("write");
    return close(fd) ? fail("close") : 0;
}

static int list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return fail(path);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) puts(entry->d_name);
    return closedir(dir);
}

// Tries to open a path in every way: absolute, and below each preopened descriptor. Says which one succeeded.
static int reach(const char *path) {
    int reached = 0;
    int fd = open(path, O_RDONLY);
    if (fd >= 0) reached = printf("reached %s\n", path);
    for (int base = 3; base < 64; base++) {
        for (int follow = 0; follow < 2; follow++) {
            __wasi_fd_t opened;
            __wasi_lookupflags_t flags = follow ? __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW : 0;
            for (const char *p = path; p; p = *p == '/' ? p + 1 : 0) {
                if (__wasi_path_open(base, flags, p, 0, __WASI_RIGHTS_FD_READ, 0, 0, &opened) == 0)
                    reached = printf("reached %s below %d\n", p, base);
                if (__wasi_path_open(base, flags, p, 0, __WASI_RIGHTS_FD_WRITE, 0, 0, &opened) == 0)
                    reached = printf("reached %s below %d for writing\n", p, base);
            }
        }
    }
    if (!reached) printf("not reached %s\n", path);
    return reached != 0;
}

// The preopened folders, by the names that the function knows them by.
static int preopens(void) {
    for (__wasi_fd_t fd = 3;; fd++) {
        __wasi_prestat_t stat;
        if (__wasi_fd_prestat_get(fd, &stat)) return 0;
        char name[4096] = {0};
        if (__wasi_fd_prestat_dir_name(fd, (uint8_t *)name, stat.u.dir.pr_name_len)) return 1;
        puts(name);
    }
}

// Each descriptor that answers to fd_fdstat_get.
static int descriptors(void) {
    for (__wasi_fd_t fd = 0; fd < 256; fd++) {
        __wasi_fdstat_t stat;
        if (__wasi_fd_fdstat_get(fd, &stat) == 0) printf("%u %u\n", fd, stat.fs_filetype);
    }
    return 0;
}

static int clocks(void) {
    struct timespec wall, before, after, wait = {.tv_nsec = 20000000};
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &before);
    nanosleep(&wait, 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    long long ns = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
    printf("%lld %d\n", (long long)wall.tv_sec, ns >= 20000000 && ns < 5000000000LL);
    return 0;
}

__attribute__((noinline)) static int divide(int by) { return 1 / by; }

// Each frame keeps a page that the next one is shown: no compiler can make a loop of it.
__attribute__((noinline)) static int deep(volatile char *above) {
    volatile char here[4096];
    here[0] = above[0] + 1;
    return deep(here) + here[0];
}

// Grows memory a page at a time; says how many pages it got.
static int grow(void) {
    size_t pages = __builtin_wasm_memory_size(0);
    while (__builtin_wasm_memory_grow(0, 1) != (size_t)-1) pages++;
    printf("%zu\n", pages);
    return 0;
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    const char *a = argc > 2 ? argv[2] : "";
    const char *b = argc > 3 ? argv[3] : "";
    setvbuf(stdout, 0, _IOLBF, 0);
    if (!strcmp(verb, "args")) {
        for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
    } else if (!strcmp(verb, "env")) {
        for (char **e = environ; e && *e; e++) puts(*e);
    } else if (!strcmp(verb, "cat")) {
        return cat(a);
    } else if (!strcmp(verb, "stdin")) {
        return copy(0, 1);
    } else if (!strcmp(verb, "put")) {
        return put(a, b);
    } else if (!strcmp(verb, "ls")) {
        return list(a);
    } else if (!strcmp(verb, "mkdir")) {
        return mkdir(a, 0755) ? fail(a) : 0;
    } else if (!strcmp(verb, "rm")) {
        return unlink(a) ? fail(a) : 0;
    } else if (!strcmp(verb, "mv")) {
        return rename(a, b) ? fail(a) : 0;
    } else if (!strcmp(verb, "link")) {
        return symlink(a, b) ? fail(b) : 0;
    } else if (!strcmp(verb, "size")) {
        struct stat st;
        if (stat(a, &st)) return fail(a);
        printf("%lld\n", (long long)st.st_size);
    } else if (!strcmp(verb, "reach")) {
        int reached = 0;
        for (int i = 2; i < argc; i++) reached |= reach(argv[i]);
        return reached;
    } else if (!strcmp(verb, "preopens")) {
        return preopens();
    } else if (!strcmp(verb, "descriptors")) {
        return descriptors();
    } else if (!strcmp(verb, "tty")) {
        printf("%d%d%d\n", isatty(0), isatty(1), isatty(2));
    } else if (!strcmp(verb, "line")) {
        char line[256];
        puts("ready");
        if (fgets(line, sizeof line, stdin)) printf("got %s", line);
    } else if (!strcmp(verb, "say")) {
        puts(a);
        fprintf(stderr, "%s\n", b);
    } else if (!strcmp(verb, "exit")) {
        exit(atoi(a));
    } else if (!strcmp(verb, "abort")) {
        abort();
    } else if (!strcmp(verb, "divide")) {
        return divide(atoi(a));
    } else if (!strcmp(verb, "deep")) {
        volatile char top = 0;
        return deep(&top);
    } else if (!strcmp(verb, "loop")) {
        puts("ready");
        for (volatile unsigned n = 0;; n++) {}
    } else if (!strcmp(verb, "sleep")) {
        puts("ready");
        struct timespec wait = {.tv_sec = atoi(a)};
        nanosleep(&wait, 0);
    } else if (!strcmp(verb, "poll")) {
        puts("ready");
        struct pollfd fd = {.fd = 0, .events = POLLRDNORM};
        printf("%d\n", poll(&fd, 1, atoi(a)));
    } else if (!strcmp(verb, "clocks")) {
        return clocks();
    } else if (!strcmp(verb, "random")) {
        unsigned char bytes[16];
        if (getentropy(bytes, sizeof bytes)) return fail("getentropy");
        for (unsigned i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
        puts("");
    } else if (!strcmp(verb, "yield")) {
        return sched_yield();
    } else if (!strcmp(verb, "grow")) {
        return grow();
    } else if (!strcmp(verb, "allocate")) {
        size_t len = strtoul(a, 0, 0);
        volatile char *bytes = malloc(len);
        if (!bytes) return fail("malloc");
        for (size_t i = 0; i < len; i += 4096) bytes[i] = 1;
        puts("allocated");
    } else {
        fprintf(stderr, "no such verb: %s\n", verb);
        return 99;
    }
    return 0;
}
