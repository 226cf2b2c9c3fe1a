// Tries things in the sandbox, and prints how each went: "name=ok" or "name=ERRNO".
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *name_of(int e) {
#define NAME(e) {e, #e}
    static const struct { int e; const char *name; } names[] = {
        NAME(EPERM),  NAME(ENOENT), NAME(EACCES),     NAME(EBUSY),       NAME(EINVAL),      NAME(ENOSPC), NAME(EROFS),
        NAME(EXDEV),  NAME(ENOSYS), NAME(ECONNREFUSED), NAME(ENETUNREACH), NAME(EAFNOSUPPORT), NAME(ESRCH),
        NAME(EEXIST), NAME(EBADF),  NAME(EFAULT),
    };
    static char number[16];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].e == e) return names[i].name;
    snprintf(number, sizeof number, "errno-%d", e);
    return number;
}
static void say(const char *what, long result) { printf("%s=%s\n", what, result < 0 ? name_of(errno) : "ok"); }
#define TRY(what, call) (errno = 0, say(what, (long)(call)))

// In a child, so that one success does not change what the next attempt means.
#define TRY_APART(what, call)                                                                                          \
    do {                                                                                                               \
        fflush(stdout);                                                                                                \
        pid_t p = fork();                                                                                              \
        if (!p) {                                                                                                      \
            TRY(what, call);                                                                                           \
            fflush(stdout);                                                                                            \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        waitpid(p, 0, 0);                                                                                              \
    } while (0)

static long clone3_with(uint64_t flags) {
    struct clone_args a = {.flags = flags, .exit_signal = SIGCHLD};
    long p = syscall(SYS_clone3, &a, sizeof a);
    if (!p) _exit(0);
    if (p > 0) waitpid(p, 0, 0);
    return p;
}
static long all_capabilities(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    return syscall(SYS_capset, &h, d);
}
static long writable_mount(const char *path) {
    struct { uint64_t set, clear, propagation, userns; } a = {0, MS_RDONLY, 0, 0};
    return syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &a, sizeof a);
}

static void privileges(void) {
    TRY_APART("unshare-user", unshare(CLONE_NEWUSER));
    TRY_APART("unshare-mount", unshare(CLONE_NEWNS));
    TRY_APART("unshare-pid", unshare(CLONE_NEWPID));
    TRY_APART("unshare-net", unshare(CLONE_NEWNET));
    TRY_APART("clone3-user", clone3_with(CLONE_NEWUSER));
    TRY_APART("clone3-user-mount", clone3_with(CLONE_NEWUSER | CLONE_NEWNS));
    TRY_APART("setuid", setuid(0));
    TRY_APART("setgid", setgid(0));
    TRY_APART("setresuid-nobody", setresuid(65534, 65534, 65534));
    TRY_APART("setgroups", syscall(SYS_setgroups, 0, 0));
    TRY_APART("capset", all_capabilities());
    TRY_APART("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY_APART("no-new-privs-off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY_APART("mount-tmpfs", mount("t", "/tmp", "tmpfs", 0, ""));
    TRY_APART("mount-bind", mount("/tmp", "/lre/exec", 0, MS_BIND, 0));
    TRY_APART("remount-writable", mount(0, "/usr", 0, MS_REMOUNT | MS_BIND, 0));
    TRY_APART("remount-root", mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    TRY_APART("setattr-writable", writable_mount("/usr"));
    TRY_APART("umount", umount("/tmp"));
    TRY_APART("umount-exec", umount2("/lre/exec", MNT_DETACH));
    TRY_APART("umount-root", umount2("/", MNT_DETACH));
    TRY_APART("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY_APART("open-tree-clone", syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
    TRY_APART("chroot", chroot("/tmp"));
    TRY_APART("pivot-root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
    TRY_APART("mknod-device", mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)));
    TRY_APART("mknod-null", mknod("/tmp/null", S_IFCHR | 0600, makedev(1, 3)));
    TRY_APART("sethostname", sethostname("x", 1));
    TRY_APART("setdomainname", setdomainname("x", 1));
    TRY_APART("nice", setpriority(PRIO_PROCESS, 0, -5));
    struct rlimit more = {8192, 8192};
    TRY_APART("more-files", setrlimit(RLIMIT_NOFILE, &more));
    TRY_APART("raw-socket", socket(AF_INET, SOCK_RAW, 1));
    TRY_APART("packet-socket", socket(AF_PACKET, SOCK_RAW, 0));
    TRY_APART("low-port", ({
                  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)};
                  bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
              }));
}

static void refused(void) {
    TRY_APART("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    TRY_APART("add_key", syscall(SYS_add_key, "user", "k", "v", 1, -3));
    TRY_APART("request_key", syscall(SYS_request_key, "user", "k", 0, -3));
    TRY_APART("bpf", syscall(SYS_bpf, 0, 0, 0));
    TRY_APART("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    TRY_APART("userfaultfd", syscall(SYS_userfaultfd, 1));
    TRY_APART("io_uring_setup", syscall(SYS_io_uring_setup, 1, 0));
    TRY_APART("io_uring_enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0));
    TRY_APART("io_uring_register", syscall(SYS_io_uring_register, -1, 0, 0, 0));
    TRY_APART("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, -1));
    TRY_APART("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, 0, -1));
    TRY_APART("init_module", syscall(SYS_init_module, 0, 0, ""));
    TRY_APART("finit_module", syscall(SYS_finit_module, -1, "", 0));
    TRY_APART("delete_module", syscall(SYS_delete_module, "lre-no-such-module", 0));
    TRY_APART("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0));
    TRY_APART("syslog", syscall(SYS_syslog, 10, 0, 0));
#ifdef __x86_64__
    TRY_APART("x32", syscall(0x40000000 + 39));
    TRY_APART("i386", ({
                  long r;
                  __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
                  if (r < 0) errno = (int)-r;
                  r < 0 ? -1 : r;
              }));
#endif
}

static int connect_to(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
}
static int connect_abstract(const char *name) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path + 1, name, strlen(name));
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a,
                   offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}
static void network(int port, const char *abstract) {
    TRY("outside", connect_to("192.0.2.1", 80));
    TRY("dns", connect_to("8.8.8.8", 53));
    TRY("host-loopback", connect_to("127.0.0.1", port));
    TRY("host-abstract", connect_abstract(abstract));
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t l = sizeof a;
    TRY("own-listen", bind(s, (struct sockaddr *)&a, l) || listen(s, 1) ? -1 : getsockname(s, (struct sockaddr *)&a, &l));
    TRY("own-loopback", connect_to("127.0.0.1", ntohs(a.sin_port)));
    for (struct if_nameindex *i = if_nameindex(); i && i->if_index; i++) printf("interface=%s\n", i->if_name);
}

static void others(void) {
    char c;
    struct iovec v = {&c, 1};
    TRY_APART("ptrace-init", ptrace(PTRACE_ATTACH, 1, 0, 0));
    TRY_APART("read-init", process_vm_readv(1, &v, 1, &v, 1, 0));
    TRY_APART("init-environment", open("/proc/1/environ", O_RDONLY));
    TRY_APART("init-memory", open("/proc/1/mem", O_RDWR));
    TRY_APART("init-root", open("/proc/1/root", O_RDONLY));
    TRY_APART("init-files", open("/proc/1/fd/1", O_RDONLY));
    TRY_APART("init-program", open("/proc/1/exe", O_RDONLY));
    // The kernel takes the signal and does not deliver it.
    TRY_APART("kill-init", kill(1, SIGKILL));
    TRY_APART("init-lives", kill(1, 0));
    for (int pid = 2; pid < 400; pid++)
        if (pid != getpid() && !kill(pid, 0)) printf("sees=%d\n", pid);
}

static int open_again(const char *path, int flags) {
    char link[64];
    int f = open(path, O_PATH);
    snprintf(link, sizeof link, "/proc/self/fd/%d", f);
    return open(link, flags);
}
static void tamper(void) {
    int f;
    chmod("append", 0644);
    TRY("append", (f = open("append", O_WRONLY | O_APPEND)) < 0 ? -1 : write(f, "x", 1));
    TRY("chmod", chmod("chmod", 0666));
    chmod("truncate", 0644);
    TRY("truncate", truncate("truncate", 0));
    struct timespec t[2] = {{1, 0}, {1, 0}};
    TRY("utime", utimensat(AT_FDCWD, "utime", t, 0));
    TRY("link", link("link", "linked"));
    chmod("linked", 0666);
    TRY("link-write", (f = open("linked", O_WRONLY | O_TRUNC)) < 0 ? -1 : write(f, "x", 1));
    TRY("rename", rename("rename", "renamed"));
    TRY("unlink", unlink("unlink"));
    // A read-only file, through a name that has no mode of its own.
    TRY("reopen", open_again("reopen", O_WRONLY | O_TRUNC));
    f = open("map", O_RDONLY);
    chmod("map", 0666);
    void *m = mmap(0, 4096, PROT_READ, MAP_SHARED, f, 0);
    TRY("map", mprotect(m, 4096, PROT_READ | PROT_WRITE));
    TRY("tool-write", open("/tools/text", O_WRONLY));
    TRY("tool-chmod", chmod("/tools/text", 0777));
    TRY("tool-utime", utimensat(AT_FDCWD, "/tools/text", t, 0));
    TRY("tool-unlink", unlink("/tools/text"));
    TRY("tool-reopen", open_again("/tools/text", O_WRONLY));
    TRY("tool-link", link("/tools/text", "/tmp/text"));
    TRY("null-chmod", chmod("/dev/null", 0));
    TRY("null-owner", chown("/dev/null", 1000, 1000));
    TRY("null-unlink", unlink("/dev/null"));
    TRY("stdin-chmod", fchmod(0, 0));
    TRY("root-file", open("/file", O_CREAT | O_WRONLY, 0644));
    TRY("etc-file", open("/etc/file", O_CREAT | O_WRONLY, 0644));
    TRY("passwd", open("/etc/passwd", O_WRONLY));
    TRY("dev-file", open("/dev/file", O_CREAT | O_WRONLY, 0644));
    TRY("proc-sys", open("/proc/sys/kernel/hostname", O_RDONLY));
}

static void descriptors(void) {
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    for (int f = 0; f < (int)l.rlim_max; f++)
        if (fcntl(f, F_GETFD) >= 0) printf("%d ", f);
    printf("\n");
}

// A daemon as the books have it: two forks and a session of its own; holds stdout.
static void daemon_like(void) {
    if (!fork()) {
        setsid();
        if (!fork()) {
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            printf("daemon runs\n");
            fflush(stdout);
            for (;;) pause();
        }
        _exit(0);
    }
    wait(0);
}

static void addresses(void) {
    int local;
    void *heap = malloc(1), *map = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%p %p %p\n", (void *)&local, heap, map);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "privileges")) privileges();
    else if (!strcmp(what, "refused")) refused();
    else if (!strcmp(what, "network") && argc > 3) network(number, argv[3]);
    else if (!strcmp(what, "others")) others();
    else if (!strcmp(what, "tamper")) tamper();
    else if (!strcmp(what, "descriptors")) descriptors();
    else if (!strcmp(what, "daemon")) daemon_like();
    else if (!strcmp(what, "addresses")) addresses();
    else if (!strcmp(what, "exit")) return number;
    else if (!strcmp(what, "environment")) for (char **e = environ; *e; e++) puts(*e);
    else if (!strcmp(what, "raise")) {
        // As make, ninja and shells do after cleaning up.
        signal(number, SIG_DFL);
        raise(number);
        return 0;
    } else if (!strcmp(what, "tree")) {
        printf("started\n");
        fflush(stdout);
        for (int i = 0; i < 3; i++)
            if (!fork()) setsid();
        for (;;) pause();
    } else if (!strcmp(what, "bomb")) {
        printf("started\n");
        fflush(stdout);
        for (;;) fork();
    } else if (!strcmp(what, "bounded")) {
        // How many processes there can be at once.
        int n = 0;
        while (n < 100000 && fork() >= 0) {
            if (!getppid() || getpid() != 2) {
                for (;;) pause();
            }
            n++;
        }
        printf("%s\n", n < 100000 ? "bounded" : "unbounded");
    } else if (!strcmp(what, "zombies")) {
        // Ended and not waited for: they did not run when the command ended.
        for (int i = 0; i < 5; i++) {
            siginfo_t s;
            pid_t p = fork();
            if (!p) _exit(0);
            waitid(P_PID, p, &s, WEXITED | WNOWAIT);
        }
    } else return 99;
    return 0;
}
