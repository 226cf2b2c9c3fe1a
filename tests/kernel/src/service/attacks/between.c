// What one action can leave for another: "leave TAG", and "find TAG", which prints what it finds.
#include "attack.h"
#include <limits.h>
#include <mqueue.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *const folders[] = {".", "in", "/tmp", "/dev/shm", "/lre/exec", "/", "/lre", "/dev", "/usr/bin", "/etc"};

static key_t key_of(const char *tag) {
    key_t key = 0x1e;
    for (; *tag; tag++) key = key * 31 + *tag;
    return key & 0x7fffffff;
}
static int abstract(const char *tag, int listens) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t n = strlen(tag);
    memcpy(a.sun_path + 1, tag, n);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + n;
    return listens ? bind(s, (struct sockaddr *)&a, length) || listen(s, 8) : connect(s, (struct sockaddr *)&a, length);
}
static const char *slashed(const char *tag) {
    static char name[256];
    snprintf(name, sizeof name, "/%s", tag);
    return name;
}

static int left;
static void leaves(const char *what, long result) { left++, say(what, result); }

static void leave_all(const char *tag) {
    char path[PATH_MAX];
    struct mq_attr small = {.mq_maxmsg = 1, .mq_msgsize = 8};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], tag);
        leaves(path, open(path, O_CREAT | O_WRONLY, 0666));
    }
    leaves("shared memory", shmget(key_of(tag), 4096, IPC_CREAT | 0666));
    leaves("messages", msgget(key_of(tag), IPC_CREAT | 0666));
    leaves("semaphores", semget(key_of(tag), 1, IPC_CREAT | 0666));
    leaves("queue", mq_open(slashed(tag), O_CREAT | O_RDWR, 0666, &small));
    leaves("posix memory", shm_open(slashed(tag), O_CREAT | O_RDWR, 0666));
    leaves("abstract socket", abstract(tag, 1));
    leaves("lock", flock(open("/usr/bin/attack", O_RDONLY), LOCK_EX | LOCK_NB));
}

// With a third word it stays until it is killed; else it leaves a process behind that would.
int leave(char **words) {
    leave_all(words[0]);
    fflush(stdout);
    if (words[1] || !fork())
        for (;;) pause();
    return 0;
}

static void finds(const char *what, long result) {
    if (result >= 0) printf("found %s\n", what);
}

int find(char **words) {
    char path[PATH_MAX];
    const char *tag = words[0];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], tag);
        finds(path, access(path, F_OK));
    }
    finds("shared memory", shmget(key_of(tag), 0, 0));
    finds("messages", msgget(key_of(tag), 0));
    finds("semaphores", semget(key_of(tag), 0, 0));
    finds("queue", mq_open(slashed(tag), O_RDONLY));
    finds("posix memory", shm_open(slashed(tag), O_RDONLY, 0));
    finds("abstract socket", abstract(tag, 0));
    finds("environment", getenv(tag) ? 0 : -1);
    for (int pid = 2; pid < 70000; pid++)
        if (pid != getpid() && !kill(pid, 0)) finds("a process", 0);
    return 0;
}
