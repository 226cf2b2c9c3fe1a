// Every way to change a file that one may read. "%s" in the path is replaced by the name of the attempt.
#include "attack.h"
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

static char path[PATH_MAX], beside[PATH_MAX + 16];
static const char *form;

static const char *named(const char *name) {
    const char *hole = strstr(form, "%s");
    if (hole) snprintf(path, sizeof path, "%.*s%s%s", (int)(hole - form), form, name, hole + 2);
    else snprintf(path, sizeof path, "%s", form);
    snprintf(beside, sizeof beside, "%s.beside", path);
    return path;
}
static int readable(void) { return open(path, O_RDONLY); }
static int again(int f, int flags) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", f);
    return open(link, flags);
}
static long put(int f) { return f < 0 ? -1 : write(f, "x", 1); }
static long mapped(int flags, int protection) {
    char *m = mmap(0, 4096, PROT_READ, flags, readable(), 0);
    if (m == MAP_FAILED || mprotect(m, 4096, protection)) return -1;
    *m = 'x';
    return 0;
}
// Past the protection of the mapping, as debuggers do.
static long forced(void) {
    char *m = mmap(0, 4096, PROT_READ, MAP_SHARED, readable(), 0);
    return m == MAP_FAILED ? -1 : pwrite(open("/proc/self/mem", O_RDWR), "x", 1, (off_t)(uintptr_t)m);
}
static long other(char mode[4]) {
    int f = open(beside, O_CREAT | O_RDWR, 0600);
    if (put(f) < 0) return -1;
    lseek(f, 0, SEEK_SET);
    int to = open(path, O_WRONLY);
    if (to < 0) return -1;
    if (*mode == 'c') return copy_file_range(f, 0, to, 0, 1, 0);
    if (*mode == 's') return sendfile(to, f, 0, 1);
    return ioctl(to, FICLONE, f);
}
static long spliced(void) {
    int p[2], f = open(path, O_WRONLY);
    if (f < 0 || pipe(p)) return -1;
    put(p[1]);
    return splice(p[0], 0, f, 0, 1, 0);
}
static long flags(long set) {
    long now = 0;
    int f = readable();
    if (ioctl(f, FS_IOC_GETFLAGS, &now)) return -1;
    now |= set;
    if (ioctl(f, FS_IOC_SETFLAGS, &now)) return -1;
    // Where it may be done it is undone: nobody could remove the file.
    now &= ~set;
    return ioctl(f, FS_IOC_SETFLAGS, &now);
}
static long project(void) {
    struct fsxattr x;
    int f = readable();
    if (ioctl(f, FS_IOC_FSGETXATTR, &x)) return -1;
    x.fsx_projid = 7;
    return ioctl(f, FS_IOC_FSSETXATTR, &x);
}
static long sealed(void) {
    struct fsverity_enable_arg a = {.version = 1, .hash_algorithm = 1, .block_size = 4096};
    return ioctl(readable(), FS_IOC_ENABLE_VERITY, &a);
}
static long linked(void) {
    if (link(path, beside) && linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/linked", 0)) return -1;
    chmod(beside, 0666);
    return put(open(beside, O_WRONLY | O_APPEND));
}
static long unnamed_link(void) {
    snprintf(beside, sizeof beside, "/proc/self/fd/%d", readable());
    return linkat(AT_FDCWD, beside, AT_FDCWD, "/tmp/unnamed", AT_SYMLINK_FOLLOW);
}

static void writing(void) {
    named("append"), TRY("append", put(open(path, O_WRONLY | O_APPEND)));
    named("overwrite"), TRY("overwrite", put(open(path, O_RDWR)));
    named("truncating-open"), TRY("truncating-open", open(path, O_RDONLY | O_TRUNC));
    named("truncate"), TRY("truncate", truncate(path, 0));
    named("ftruncate"), TRY("ftruncate", ftruncate(readable(), 0));
    named("reopen"), TRY("reopen", put(again(readable(), O_WRONLY | O_APPEND)));
    named("reopen-path"), TRY("reopen-path", put(again(open(path, O_PATH), O_WRONLY | O_APPEND)));
    named("map"), TRY("map", mapped(MAP_SHARED, PROT_READ | PROT_WRITE));
    named("map-forced"), TRY("map-forced", forced());
    named("fallocate"), TRY("fallocate", fallocate(readable(), 0, 0, 1 << 16));
    named("punch"), TRY("punch", fallocate(open(path, O_WRONLY), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1));
    named("copy-range"), TRY("copy-range", other("copy"));
    named("sendfile"), TRY("sendfile", other("send"));
    named("clone-range"), TRY("clone-range", other("link"));
    named("splice"), TRY("splice", spliced());
}

static void describing(void) {
    struct timespec t[2] = {{1, 0}, {1, 0}};
    named("chmod"), TRY("chmod", chmod(path, 0777));
    named("fchmod"), TRY("fchmod", fchmod(readable(), 0777));
    named("chmod-path"), TRY("chmod-path", ({
                                 char link[64];
                                 snprintf(link, sizeof link, "/proc/self/fd/%d", open(path, O_PATH));
                                 chmod(link, 0777);
                             }));
    named("fchmodat2"), TRY("fchmodat2", syscall(452, open(path, O_PATH), "", 0777, AT_EMPTY_PATH));
    named("chown"), TRY("chown", chown(path, getuid(), getgid()));
    named("utime"), TRY("utime", utimensat(AT_FDCWD, path, t, 0));
    named("futime"), TRY("futime", futimens(readable(), t));
    named("xattr-user"), TRY("xattr-user", setxattr(path, "user.lre", "x", 1, 0));
    named("xattr-fd"), TRY("xattr-fd", fsetxattr(readable(), "user.lre", "x", 1, 0));
    named("xattr-overlay"), TRY("xattr-overlay", setxattr(path, "user.overlay.opaque", "y", 1, 0));
    named("xattr-trusted"), TRY("xattr-trusted", setxattr(path, "trusted.overlay.opaque", "y", 1, 0));
    named("capability"), TRY("capability", setxattr(path, "security.capability", "\1\0\0\2\377\377\377\377\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0));
    named("flags-nodump"), TRY("flags-nodump", flags(FS_NODUMP_FL));
    named("flags-immutable"), TRY("flags-immutable", flags(FS_IMMUTABLE_FL));
    named("flags-append"), TRY("flags-append", flags(FS_APPEND_FL));
    named("project"), TRY("project", project());
    named("verity"), TRY("verity", sealed());
}

static void naming(void) {
    named("link"), TRY("link", linked());
    named("link-unnamed"), TRY("link-unnamed", unnamed_link());
    named("exchange"), TRY("exchange", ({
                               close(open("/tmp/exchange", O_CREAT | O_WRONLY, 0644));
                               close(open(beside, O_CREAT | O_WRONLY, 0644));
                               renameat2(AT_FDCWD, beside, AT_FDCWD, path, RENAME_EXCHANGE);
                           }));
    named("whiteout"), TRY("whiteout", renameat2(AT_FDCWD, path, AT_FDCWD, beside, RENAME_WHITEOUT));
    named("replace"), TRY("replace", ({
                              close(open(beside, O_CREAT | O_WRONLY, 0644));
                              rename(beside, path);
                          }));
    named("rename"), TRY("rename", rename(path, beside));
    named("unlink"), TRY("unlink", unlink(path));
}

int tamper(char **words) {
    form = words[0];
    writing();
    describing();
    naming();
    return 0;
}
