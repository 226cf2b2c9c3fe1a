// The files of the host, and files that give trouble afterwards.
#include "attack.h"
#include <dirent.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>

static void about(const char *what, const char *path, long result) {
    char name[PATH_MAX + 32];
    snprintf(name, sizeof name, "%s %s", what, path);
    say(name, result);
}
#define ABOUT(what, path, call) (errno = 0, about(what, path, (long)(call)))

// Everything that could tell that these paths exist, or what is in them.
int see(char **words) {
    char buffer[64];
    struct stat s;
    for (; *words; words++) {
        ABOUT("open", *words, open(*words, O_RDONLY));
        ABOUT("path", *words, open(*words, O_PATH));
        DIR *d;
        ABOUT("list", *words, (d = opendir(*words)) ? 0 : -1);
        ABOUT("stat", *words, lstat(*words, &s));
        ABOUT("link", *words, readlink(*words, buffer, sizeof buffer));
        ABOUT("access", *words, access(*words, F_OK));
        ABOUT("execute", *words, access(*words, X_OK));
    }
    return 0;
}

// Makes things in each of these folders.
int create(char **words) {
    char path[PATH_MAX];
    for (; *words; words++) {
        snprintf(path, sizeof path, "%s/lre-was-here", *words);
        ABOUT("file", *words, open(path, O_CREAT | O_WRONLY | O_EXCL, 0644));
        unlink(path);
        ABOUT("folder", *words, mkdir(path, 0755));
        rmdir(path);
        ABOUT("link", *words, symlink("/", path));
        unlink(path);
        ABOUT("unnamed", *words, open(*words, O_TMPFILE | O_WRONLY, 0600));
        ABOUT("mode", *words, chmod(*words, 0777));
        ABOUT("time", *words, utimensat(AT_FDCWD, *words, 0, 0));
    }
    return 0;
}

// The ways out of a root that are known, to a file whose absolute path is given.
int climb(char **words) {
    char path[PATH_MAX];
    const char *target = *words, *relative = *words + 1;
    const char *prefixes[] = {"/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../../../../../..",
                              "/proc/1/cwd",     "/proc/self/fd/1/../../../../../../../../..",
                              "/../../../../../../../../../../.."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        snprintf(path, sizeof path, "%s%s", prefixes[i], target);
        ABOUT("open", prefixes[i], open(path, O_RDONLY));
    }
    int at = open("/", O_PATH | O_DIRECTORY);
    for (int i = 0; i < 64; i++) at = openat(at, "..", O_PATH | O_DIRECTORY);
    ABOUT("open", "dots", openat(at, relative, O_RDONLY));
    snprintf(path, sizeof path, "%s/climb-%d", words[1] ? words[1] : ".", getpid());
    unlink(path);
    if (!symlink(target, path)) ABOUT("open", "symlink", open(path, O_RDONLY));
    unlink(path);
    ABOUT("open", "other roots", ({
              char mine[64];
              int found = -1;
              for (int pid = 1; pid < 4096 && found < 0; pid++) {
                  snprintf(mine, sizeof mine, "/proc/%d/root", pid);
                  int root = open(mine, O_PATH | O_DIRECTORY);
                  if (root >= 0) found = openat(root, relative, O_RDONLY), close(root);
              }
              found;
          }));
    // Where the server keeps stdout: its folder, through the file.
    ABOUT("open", "beside stdout", openat(1, "../upper", O_PATH));
    struct { struct file_handle h; unsigned char room[128]; } handle = {.h.handle_bytes = 128};
    int id;
    ABOUT("name", "handle", name_to_handle_at(AT_FDCWD, "/", &handle.h, &id, 0));
    ABOUT("open", "handle", open_by_handle_at(open("/", O_RDONLY), &handle.h, O_RDONLY));
    return 0;
}

static void print_file(const char *path) {
    char buffer[65536];
    int f = open(path, O_RDONLY | O_NONBLOCK);
    if (f < 0) return;
    printf("== %s\n", path);
    fflush(stdout);
    for (ssize_t n, all = 0; all < 1 << 20 && (n = read(f, buffer, sizeof buffer)) > 0; all += n)
        if (write(1, buffer, n) < 0) break;
    close(f);
}
static void print_tree(const char *path, int depth) {
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inner[PATH_MAX];
        if (*e->d_name == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        // These tell where things of the host lie, and nothing more (SECURITY.md).
        if (strstr(inner, "mountinfo") || strstr(inner, "/mounts") || strstr(inner, "/mountstats")) continue;
        struct stat s;
        if (lstat(inner, &s)) continue;
        if (S_ISREG(s.st_mode)) print_file(inner);
        if (S_ISDIR(s.st_mode) && depth > 0) print_tree(inner, depth - 1);
    }
    if (d) closedir(d);
}

// All that can be read about the machine.
int learn(char **words) {
    (void)words;
    struct utsname u;
    char host[256] = "", domain[256] = "";
    uname(&u);
    gethostname(host, sizeof host);
    if (getdomainname(domain, sizeof domain)) *domain = 0;
    printf("uname=%s\nhost=%s\ndomain=%s\n", u.nodename, host, domain);
    printf("login=%s\n", getlogin() ? getlogin() : "");
    for (char **e = environ; *e; e++) printf("environment=%s\n", *e);
    fflush(stdout);
    print_tree("/etc", 3);
    print_tree("/proc", 3);
    print_tree("/sys", 3);
    print_tree("/var", 2);
    print_tree("/run", 2);
    print_file("/proc/self/status");
    return 0;
}

// A chain of folders that no path is long enough for.
int deep(char **words) {
    int n = atoi(words[0]);
    for (int i = 0; i < n; i++)
        if (mkdir("d", 0755) || chdir("d")) return perror("deep"), 1;
    return close(open("bottom", O_CREAT | O_WRONLY, 0644));
}

// Outputs that no server expects.
int odd(char **words) {
    const char *what = words[0];
    // The folders of promised outputs are there already.
    if (mkdir("out", 0755) && errno != EEXIST) return 1;
    if (!strcmp(what, "closed")) {
        close(open("out/file", O_CREAT | O_WRONLY, 0600));
        return chmod("out/file", 0) || mkdir("out/folder", 0755) || chmod("out/folder", 0) || chmod("out", 0);
    }
    if (!strcmp(what, "pipe")) return mkfifo("out/pipe", 0666);
    if (!strcmp(what, "socket")) {
        struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "out/socket"};
        return bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a);
    }
    if (!strcmp(what, "huge")) {
        int f = open("out/huge", O_CREAT | O_WRONLY, 0644);
        return ftruncate(f, 1L << 43);
    }
    if (!strcmp(what, "set-user-id")) {
        int f = open("out/file", O_CREAT | O_WRONLY, 0755);
        return write(f, "x", 1) != 1 || fchmod(f, 06777);
    }
    if (!strcmp(what, "linked")) {
        // The same inode as an output, under a name that is none.
        int f = open("out/file", O_CREAT | O_WRONLY, 0644);
        return write(f, "x", 1) != 1 || link("out/file", "elsewhere");
    }
    if (!strcmp(what, "symlink")) return symlink(words[1], "out/link");
    if (!strcmp(what, "symlinked-parent")) return rmdir("out") || symlink(words[1], "out");
    return 98;
}

// What is open, without what opened it.
int descriptors(char **words) {
    char link[64], to[PATH_MAX];
    (void)words;
    for (int f = 0; f < 70000; f++) {
        if (fcntl(f, F_GETFD) < 0) continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", f);
        ssize_t n = readlink(link, to, sizeof to - 1);
        to[n < 0 ? 0 : n] = 0;
        printf("%d %s\n", f, to[0] == '/' && strncmp(to, "/dev/", 5) ? "a file" : to);
    }
    return 0;
}
