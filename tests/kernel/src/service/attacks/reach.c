// The network, and everything that listens.
#include "attack.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

static int tcp(const char *host, int port) {
    if (strchr(host, ':')) {
        struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
        inet_pton(AF_INET6, host, &a.sin6_addr);
        return connect(socket(AF_INET6, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
    }
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
}
static int udp(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    return (int)sendto(socket(AF_INET, SOCK_DGRAM, 0), "x", 1, 0, (struct sockaddr *)&a, sizeof a);
}
static int local(const char *path, int abstract) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    memcpy(a.sun_path + abstract, path, length);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a,
                   offsetof(struct sockaddr_un, sun_path) + abstract + length + !abstract);
}

// Pairs of a kind and an address: tcp HOST:PORT, udp HOST:PORT, unix PATH, abstract NAME.
int reach(char **words) {
    char host[256], label[320];
    for (; words[0] && words[1]; words += 2) {
        const char *kind = words[0], *to = words[1];
        int port = 0;
        snprintf(host, sizeof host, "%s", to);
        char *colon = strrchr(host, ':');
        if (colon) *colon = 0, port = atoi(colon + 1);
        snprintf(label, sizeof label, "%s %s", kind, to);
        if (!strcmp(kind, "tcp")) TRY(label, tcp(host, port));
        if (!strcmp(kind, "udp")) TRY(label, udp(host, port));
        if (!strcmp(kind, "unix")) TRY(label, local(to, 0));
        if (!strcmp(kind, "abstract")) TRY(label, local(to, 1));
    }
    return 0;
}

// The address families whose sockets can be made, as numbers.
int families(char **words) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_RAW};
    (void)words;
    for (int family = 0; family < 64; family++) {
        int found = -1;
        for (int i = 0; i < 4 && found < 0; i++) found = socket(family, types[i], 0);
        if (found >= 0) printf("%d ", family);
    }
    printf("\n");
    return 0;
}

// A server on a port, one connection to it, and a close that leaves the server's end waiting.
int use_port(char **words) {
    int port = atoi(words[0]), s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int bound;
    TRY("bind", bound = bind(s, (struct sockaddr *)&a, sizeof a));
    if (bound) return 0;
    TRY("listen", listen(s, 1));
    int c = socket(AF_INET, SOCK_STREAM, 0);
    TRY("connect", connect(c, (struct sockaddr *)&a, sizeof a));
    int accepted;
    TRY("accept", accepted = accept(s, 0, 0));
    char byte;
    close(accepted);
    TRY("end", read(c, &byte, 1));
    return 0;
}
