/* recvtty [--pid-file FILE] [--mode null|single] [--no-stdin] SOCKET: receives terminals that a runtime sends to its console socket, as the helper
 * of the same name in runc's suite, whose Go packages are no part of its source package. `null` reads and forgets what they say; `single` writes that of the
 * first to standard output, and standard input to it. The pid is written once the socket is there. */
#define _GNU_SOURCE
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 64

static int receive(int from) {
    char text[4096];
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    struct iovec bytes = { text, sizeof text };
    struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space };
    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) < 0) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS) return -1;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

static int copy(int from, int to) {
    char text[4096];
    ssize_t length = read(from, text, sizeof text);
    if (length <= 0) return 0;
    return to < 0 || write(to, text, length) == length;
}

int main(int argc, char **argv) {
    const char *pid_file = NULL, *path = NULL;
    int single = 1, input = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--pid-file") && i + 1 < argc) pid_file = argv[++i];
        else if (!strcmp(argv[i], "--mode") && i + 1 < argc) single = strcmp(argv[++i], "null");
        else if (!strcmp(argv[i], "--no-stdin")) input = 0;
        else path = argv[i];
    }
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (!path || strlen(path) >= sizeof address.sun_path) errx(1, "usage: recvtty [--pid-file FILE] [--mode MODE] [--no-stdin] SOCKET");
    strcpy(address.sun_path, path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, MOST)) err(1, "%s", path);
    if (pid_file) {
        FILE *file = fopen(pid_file, "w");
        if (!file || fprintf(file, "%d", getpid()) < 0 || fclose(file)) err(1, "%s", pid_file);
    }
    struct pollfd fds[MOST] = { { .fd = listener, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
    int count = 2;
    for (;;) {
        if (poll(fds, count, -1) < 0) err(1, "poll");
        if (fds[0].revents && count < MOST) {
            int connection = accept(listener, NULL, NULL), terminal = receive(connection);
            close(connection);
            if (terminal < 0 && single) errx(1, "no terminal came");
            if (terminal >= 0) {
                fds[count++] = (struct pollfd) { .fd = terminal, .events = POLLIN };
                if (single) {
                    fds[0].fd = -1;
                    fds[1].fd = input ? STDIN_FILENO : -1;
                }
            }
        }
        if (fds[1].revents && !copy(fds[1].fd, fds[2].fd)) fds[1].fd = -1;
        for (int i = 2; i < count; i++) {
            if (fds[i].revents && !copy(fds[i].fd, single ? STDOUT_FILENO : -1)) {
                close(fds[i].fd);
                if (single) return 0;
                fds[i--] = fds[--count];
            }
        }
    }
}
