/* The drivers of a frozen zig tree: bin/cc, bin/c++, bin/ld.lld, bin/ar and their other names are all this program.
 *
 * `zig cc` keeps a cache that it writes to and builds the C library when it is first asked to link; neither is
 * possible in a tree that never changes. The compiler and the linker inside of zig are pure, though: `zig clang` and
 * `zig ld.lld` do what they are told and nothing else. So this program starts them with what zig would have told
 * them, which is in the configuration files beside it.
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *text, const char *const *any) {
    for (; *any; any++)
        if (strcmp(text, *any) == 0) return 1;
    return 0;
}

/* With one of these nothing is linked into a program, so the start files and libraries of a program stay out. */
static const char *const NO_PROGRAM[] = {"-c", "-S", "-E", "-M", "-MM", "-fsyntax-only", "-r", "-shared", "--version",
                                         "-dumpmachine", "-dumpversion", "-print-search-dirs", NULL};

/* Arguments may be in a response file, one to a line, as build tools write them. */
static int in_response_file(const char *path) {
    char line[PATH_MAX];
    int found = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        found = is(line, NO_PROGRAM);
    }
    fclose(file);
    return found;
}

static int makes_a_program(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        if (is(arguments[i], NO_PROGRAM)) return 0;
        if (arguments[i][0] == '@' && in_response_file(arguments[i] + 1)) return 0;
    }
    return count > 1;
}

static char *join(const char *a, const char *b, const char *c) {
    char *text = malloc(strlen(a) + strlen(b) + strlen(c) + 1);
    if (!text) exit(127);
    sprintf(text, "%s%s%s", a, b, c);
    return text;
}

int main(int count, char **arguments) {
    static const char *const C[] = {"cc", "gcc", "clang", NULL};
    static const char *const CXX[] = {"c++", "g++", "clang++", NULL};
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) return perror("/proc/self/exe"), 127;
    self[length] = 0;
    const char *here = dirname(self);
    const char *name = strrchr(arguments[0], '/') ? strrchr(arguments[0], '/') + 1 : arguments[0];
    char **all = calloc((size_t)count + 6, sizeof *all);
    if (!all) return 127;
    int n = 0;
    all[n++] = join(here, "/", "zig");
    if (is(name, C) || is(name, CXX)) {
        int cxx = is(name, CXX);
        all[n++] = "clang";
        /* The compiler proper, which the driver starts by our name: it was told everything already. */
        if (count < 2 || strcmp(arguments[1], "-cc1") != 0) {
            if (cxx) all[n++] = "--driver-mode=g++";
            all[n++] = join("--config=", here, cxx ? "/c++.cfg" : "/cc.cfg");
            if (makes_a_program(count, arguments)) all[n++] = join("--config=", here, "/program.cfg");
        }
    } else {
        all[n++] = strcmp(name, "ld") == 0 ? "ld.lld" : (char *)name;
    }
    for (int i = 1; i < count; i++) all[n++] = arguments[i];
    execv(all[0], all);
    perror(all[0]);
    return 127;
}
