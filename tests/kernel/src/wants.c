// Asks for what is not there, from threads and children, and calls strangers.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void *look(void *number) {
    char path[64];
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "/no/thread/%ld/%d", (long)number, i);
        if (open(path, O_RDONLY) >= 0) abort();
    }
    return 0;
}

// 4 children with 8 threads each.
static int threads(void) {
    for (int child = 0; child < 4; child++) {
        if (fork()) continue;
        pthread_t all[8];
        for (long i = 0; i < 8; i++)
            if (pthread_create(&all[i], 0, look, (void *)(child * 8 + i))) abort();
        for (int i = 0; i < 8; i++) pthread_join(all[i], 0);
        _exit(0);
    }
    int status, sum = 0;
    while (wait(&status) > 0) sum += status;
    return sum ? 9 : 3;
}

static int files(void) {
    struct stat s;
    char target[64];
    // The path ends where the memory does.
    char *page = aligned_alloc(4096, 4096);
    if (!page) return 9;
    strcpy(page + 4096 - sizeof "/no/edge", "/no/edge");
    int directory = open("/usr", O_RDONLY | O_DIRECTORY);
    open(page + 4096 - sizeof "/no/edge", O_RDONLY);
    openat(directory, "no-at", O_RDONLY);
    fstatat(directory, "no-stat", &s, 0);
    faccessat(directory, "../no-access", R_OK, 0);
    if (readlink("/no/link", target, sizeof target) >= 0) return 9;
    open("/no/made", O_RDWR | O_CREAT, 0600);
    open("/tmp/made", O_RDWR | O_CREAT, 0600);
    fstat(directory, &s);
    syscall(SYS_openat, -100, (char *)8, O_RDONLY);
    execl("/no/program", "x", (char *)0);
    return 3;
}

static int calls(void) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(443)};
    inet_pton(AF_INET, "93.184.216.34", &in.sin_addr);
    int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (!connect(tcp, (void *)&in, sizeof in)) return 9;
    in.sin_port = htons(53);
    sendto(udp, "x", 1, 0, (void *)&in, sizeof in);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr);
    connect(socket(AF_INET6, SOCK_STREAM, 0), (void *)&in6, sizeof in6);
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/run/no.sock"};
    connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, sizeof un);
    memcpy(un.sun_path, "\0abstract", 9);
    connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&un, offsetof(struct sockaddr_un, sun_path) + 9);
    return 3;
}

int main(int count, char **arguments) {
    if (count < 2) return 9;
    if (!strcmp(arguments[1], "threads")) return threads();
    if (!strcmp(arguments[1], "files")) return files();
    if (!strcmp(arguments[1], "calls")) return calls();
    return 9;
}
