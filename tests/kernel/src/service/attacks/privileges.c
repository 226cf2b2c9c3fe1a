// More rights than one has.
#include "attack.h"
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/reboot.h>

static long cloned(uint64_t flags) {
    long p = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (!p) _exit(0);
    if (p > 0) waitpid(p, 0, 0);
    return p;
}
static long cloned3(uint64_t flags) {
    struct clone_args a = {.flags = flags, .exit_signal = SIGCHLD};
    long p = syscall(SYS_clone3, &a, sizeof a);
    if (!p) _exit(0);
    if (p > 0) waitpid(p, 0, 0);
    return p;
}
int namespaces(char **words) {
    static const struct { const char *name, *file; uint64_t flag; } kinds[] = {
        {"user", "user", CLONE_NEWUSER},   {"mount", "mnt", CLONE_NEWNS}, {"pid", "pid", CLONE_NEWPID},
        {"net", "net", CLONE_NEWNET},      {"ipc", "ipc", CLONE_NEWIPC},  {"uts", "uts", CLONE_NEWUTS},
        {"cgroup", "cgroup", CLONE_NEWCGROUP},
    };
    char what[64], path[64];
    (void)words;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
#define FOR(verb, call) (snprintf(what, sizeof what, verb "-%s", kinds[i].name), (void)0); TRY_APART(what, call)
        FOR("unshare", unshare((int)kinds[i].flag));
        FOR("clone", cloned(kinds[i].flag));
        FOR("clone3", cloned3(kinds[i].flag));
        FOR("clone3-all", cloned3(kinds[i].flag | CLONE_NEWUSER | CLONE_NEWNS));
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i].file);
        FOR("enter-own", setns(open(path, O_RDONLY), 0));
        snprintf(path, sizeof path, "/proc/1/ns/%s", kinds[i].file);
        FOR("enter-of-init", setns(open(path, O_RDONLY), 0));
        FOR("enter-by-pidfd", setns((int)syscall(SYS_pidfd_open, 1, 0), (int)kinds[i].flag));
    }
    return 0;
}
static long attribute(const char *path) {
    struct mount_attr a = {.attr_clr = MOUNT_ATTR_RDONLY};
    return syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &a, sizeof a);
}
static void mounts(void) {
    const char *places[] = {"/", "/usr", "/bin", "/tmp", "/lre/exec", "/proc", "/dev"};
    char what[64];
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *at = places[i];
#define AT(verb, call) (snprintf(what, sizeof what, verb " %s", at), (void)0); TRY_APART(what, call)
        AT("remount", mount(0, at, 0, MS_REMOUNT, 0));
        AT("remount-bind", mount(0, at, 0, MS_REMOUNT | MS_BIND, 0));
        AT("writable", attribute(at));
        AT("shared", mount(0, at, 0, MS_SHARED | MS_REC, 0));
        AT("umount", umount2(at, 0));
        AT("umount-lazy", umount2(at, MNT_DETACH));
        AT("over", mount("t", at, "tmpfs", 0, ""));
        AT("bind", mount("/", at, 0, MS_BIND | MS_REC, 0));
        AT("move", mount("/tmp", at, 0, MS_MOVE, 0));
        AT("tree", syscall(SYS_open_tree, AT_FDCWD, at, OPEN_TREE_CLONE | AT_RECURSIVE));
        AT("root", chroot(at));
        AT("pivot", syscall(SYS_pivot_root, at, at));
    }
    TRY_APART("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY_APART("fspick", syscall(SYS_fspick, AT_FDCWD, "/usr", 0));
    TRY_APART("overlay", mount("o", "/tmp", "overlay", 0, "lowerdir=/usr:/bin"));
    TRY_APART("proc", mount("p", "/tmp", "proc", 0, ""));
    TRY_APART("sysfs", mount("s", "/tmp", "sysfs", 0, ""));
    TRY_APART("fuse", open("/dev/fuse", O_RDWR));
}
static void devices(void) {
    const char *folders[] = {"/tmp", "/lre/exec", "/dev/shm", "/dev"};
    char path[64], what[80];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/device", folders[i]);
        snprintf(what, sizeof what, "disk %s", folders[i]);
        TRY_APART(what, mknod(path, S_IFBLK | 0600, makedev(8, 0)));
        snprintf(what, sizeof what, "memory %s", folders[i]);
        TRY_APART(what, mknod(path, S_IFCHR | 0600, makedev(1, 1)));
        snprintf(what, sizeof what, "null %s", folders[i]);
        TRY_APART(what, mknod(path, S_IFCHR | 0600, makedev(1, 3)));
    }
    TRY_APART("/dev/mem", open("/dev/mem", O_RDONLY));
    TRY_APART("/dev/kmsg", open("/dev/kmsg", O_RDONLY));
    TRY_APART("/dev/sda", open("/dev/sda", O_RDONLY));
    TRY_APART("/dev/tty", open("/dev/tty", O_RDWR));
    TRY_APART("/dev/ptmx", open("/dev/ptmx", O_RDWR));
    TRY_APART("/dev/null mode", chmod("/dev/null", 0));
    TRY_APART("/dev/null time", utimensat(AT_FDCWD, "/dev/null", (struct timespec[2]){{1, 0}, {1, 0}}, 0));
}
static void identity(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    TRY_APART("setuid-root", setuid(0));
    TRY_APART("setuid-other", setresuid(65534, 65534, 65534));
    TRY_APART("setgid-root", setgid(0));
    TRY_APART("setgroups", syscall(SYS_setgroups, 0, 0));
    TRY_APART("capset", syscall(SYS_capset, &h, all));
    TRY_APART("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY_APART("securebits", prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
    TRY_APART("new-privileges", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY_APART("uid-map", write(open("/proc/self/uid_map", O_WRONLY), "0 0 1\n", 6));
    TRY_APART("gid-map", write(open("/proc/self/gid_map", O_WRONLY), "0 0 1\n", 6));
    TRY_APART("setgroups-file", write(open("/proc/self/setgroups", O_WRONLY), "allow", 5));
    TRY_APART("more-namespaces", open("/proc/sys/user/max_user_namespaces", O_WRONLY));
    TRY_APART("core-pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY));
    TRY_APART("sysrq", open("/proc/sysrq-trigger", O_WRONLY));
    TRY_APART("oom", write(open("/proc/self/oom_score_adj", O_WRONLY), "-1000", 5));
    TRY_APART("cgroup", open("/sys/fs/cgroup/cgroup.procs", O_WRONLY));
}
static void machine(void) {
    struct timeval now;
    gettimeofday(&now, 0);
    struct timex t = {.modes = ADJ_FREQUENCY, .freq = 0};
    struct sched_param real = {1};
    struct rlimit files = {1 << 20, 1 << 20}, core = {RLIM_INFINITY, RLIM_INFINITY};
    TRY_APART("clock", settimeofday(&now, 0));
    TRY_APART("clock-adjust", adjtimex(&t));
    TRY_APART("host-name", sethostname("x", 1));
    TRY_APART("domain-name", setdomainname("x", 1));
    TRY_APART("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    TRY_APART("swap", swapon("/tmp/device", 0));
    TRY_APART("accounting", acct("/tmp/device"));
    TRY_APART("quota", syscall(SYS_quotactl, 0x800002 << 8, "/dev/sda", 0, 0));
    TRY_APART("nice", setpriority(PRIO_PROCESS, 0, -5));
    TRY_APART("real-time", sched_setscheduler(0, SCHED_FIFO, &real));
    TRY_APART("more-files", setrlimit(RLIMIT_NOFILE, &files));
    TRY_APART("core-files", setrlimit(RLIMIT_CORE, &core));
    TRY_APART("io-ports", syscall(SYS_ioperm, 0x80, 1, 1));
    TRY_APART("io-level", syscall(SYS_iopl, 3));
    TRY_APART("keyring", syscall(SYS_keyctl, 0, -3, 0));
    TRY_APART("key", syscall(SYS_add_key, "user", "k", "v", 1, -3));
    TRY_APART("bpf", syscall(SYS_bpf, 0, 0, 0));
    TRY_APART("perf", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    TRY_APART("userfault", syscall(SYS_userfaultfd, 1));
    TRY_APART("uring", syscall(SYS_io_uring_setup, 1, 0));
    TRY_APART("module", syscall(SYS_init_module, 0, 0, ""));
    TRY_APART("kexec", syscall(SYS_kexec_load, 0, 0, 0, -1));
    TRY_APART("log", syscall(SYS_syslog, 10, 0, 0));
    TRY_APART("fanotify", syscall(SYS_fanotify_init, 0, 0));
    TRY_APART("vhangup", syscall(SYS_vhangup));
}

int privileges(char **words) {
    namespaces(words);
    mounts();
    devices();
    identity();
    machine();
    return 0;
}

int who(char **words) {
    (void)words;
    printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
    return 0;
}

// Spoils what it can of pid 1 and of its own surroundings.
int spoil(char **words) {
    only_inside();
    struct rlimit none = {0, 0};
    if (!strcmp(words[0], "limits"))
        for (int i = 0; i < 16; i++) syscall(SYS_prlimit64, 1, i, &none, 0);
    if (!strcmp(words[0], "stop")) kill(1, SIGSTOP), kill(1, SIGTSTP), setpriority(PRIO_PROCESS, 1, 19);
    if (!strcmp(words[0], "processes"))
        for (int i = 0; i < 300; i++)
            if (!fork())
                for (;;) pause();
    if (!strcmp(words[0], "files")) {
        // stdout and stderr: no mode, a lock, a size.
        for (int f = 1; f < 3; f++) {
            if (ftruncate(f, 1L << 40)) return 1;
            fcntl(f, F_SETLEASE, F_WRLCK);
            fchmod(f, 0);
            struct flock l = {.l_type = F_WRLCK};
            fcntl(f, F_SETLK, &l);
        }
    }
    return 0;
}
