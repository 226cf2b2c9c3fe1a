// Other processes.
#include "attack.h"
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static long open_of(int pid, const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return open(path, flags);
}
static long taken(int pid) {
    // Somebody else's descriptors, as one's own.
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0) return -1;
    for (int f = 0; f < 64; f++)
        if (syscall(SYS_pidfd_getfd, process, f, 0) >= 0) return 0;
    return -1;
}

// PID, and an address in it.
int others(char **words) {
    int pid = atoi(words[0]);
    void *address = (void *)(uintptr_t)strtoull(words[1] ? words[1] : "0", 0, 16);
    char byte = 'x';
    struct iovec here = {&byte, 1}, there = {address, 1};
    struct rlimit limit;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    TRY_APART("exists", kill(pid, 0));
    TRY_APART("signal", kill(pid, SIGCONT));
    TRY_APART("signal-thread", syscall(SYS_tgkill, pid, pid, SIGCONT));
    TRY_APART("pidfd", syscall(SYS_pidfd_open, pid, 0));
    TRY_APART("pidfd-take", taken(pid));
    TRY_APART("read-memory", process_vm_readv(pid, &here, 1, &there, 1, 0));
    TRY_APART("write-memory", process_vm_writev(pid, &here, 1, &there, 1, 0));
    TRY_APART("mem", open_of(pid, "mem", O_RDWR));
    TRY_APART("environ", open_of(pid, "environ", O_RDONLY));
    TRY_APART("maps", ({
                  char line[8];
                  read((int)open_of(pid, "maps", O_RDONLY), line, 1) == 1 ? 0 : -1;
              }));
    TRY_APART("root", open_of(pid, "root", O_PATH));
    TRY_APART("cwd", open_of(pid, "cwd", O_PATH));
    TRY_APART("fd", open_of(pid, "fd", O_RDONLY));
    TRY_APART("fd-1", open_of(pid, "fd/1", O_PATH));
    TRY_APART("exe", open_of(pid, "exe", O_RDONLY));
    TRY_APART("map-files", open_of(pid, "map_files", O_RDONLY));
    TRY_APART("stack", ({
                  char line[8];
                  read((int)open_of(pid, "stack", O_RDONLY), line, 1) == 1 ? 0 : -1;
              }));
    TRY_APART("limits", syscall(SYS_prlimit64, pid, RLIMIT_CORE, 0, &limit));
    TRY_APART("affinity", sched_setaffinity(pid, sizeof set, &set));
    TRY_APART("priority", setpriority(PRIO_PROCESS, pid, 19));
    TRY_APART("attach", ptrace(PTRACE_ATTACH, pid, 0, 0));
    TRY_APART("seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
    return 0;
}

// All pids that there are, with what they call themselves.
int everybody(char **words) {
    (void)words;
    for (int pid = 1; pid < 100000; pid++) {
        if (kill(pid, 0) && errno == ESRCH) continue;
        char line[256] = "";
        int f = (int)open_of(pid, "cmdline", O_RDONLY);
        ssize_t n = f < 0 ? 0 : read(f, line, sizeof line - 1);
        for (ssize_t i = 0; i + 1 < n; i++) line[i] = line[i] ? line[i] : ' ';
        printf("%d %s\n", pid, line);
        if (f >= 0) close(f);
    }
    return 0;
}

// Everybody whom one may signal.
int kill_all(char **words) {
    (void)words;
    only_inside();
    pid_t child = fork();
    if (!child)
        for (;;) pause();
    TRY("kill", kill(-1, SIGKILL));
    int status;
    TRY("child", waitpid(child, &status, 0));
    TRY("init", kill(1, SIGKILL));
    TRY("init-stop", kill(1, SIGSTOP));
    TRY("init-term", kill(1, SIGTERM));
    TRY("init-lives", kill(1, 0));
    return 0;
}

// Waits to be attacked: says its address, holds a secret there and in its environment.
static volatile char secret[64] = "the secret of the victim";
int victim(char **words) {
    (void)words;
    secret[0] = 'T';
    printf("%d %llx\n", getpid(), (unsigned long long)(uintptr_t)secret);
    fflush(stdout);
    for (;;) pause();
}
