#include "attack.h"

static const struct {
    const char *name;
    int (*run)(char **words);
} attacks[] = {
    {"see", see},           {"create", create},       {"climb", climb},           {"learn", learn},
    {"deep", deep},         {"odd", odd},             {"descriptors", descriptors}, {"tamper", tamper},
    {"reach", reach},       {"families", families},   {"use-port", use_port},     {"others", others},
    {"everybody", everybody}, {"kill-all", kill_all}, {"victim", victim},         {"privileges", privileges},
    {"leave", leave},       {"find", find},           {"linger", linger},         {"stay", stay},
    {"namespaces", namespaces}, {"who", who},         {"spoil", spoil},
};

void say(const char *what, long result) {
    const char *name = result < 0 ? strerrorname_np(errno) : "ok";
    printf("%s=%s\n", what, name ? name : "unknown");
}

void only_inside(void) {
    if (getppid() == 1 && getpid() < 64 && getuid() == 1000) return;
    fprintf(stderr, "not outside of a sandbox\n");
    _exit(97);
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof attacks / sizeof *attacks; i++)
        if (!strcmp(argv[1], attacks[i].name)) return attacks[i].run(argv + 2);
    fprintf(stderr, "no such attack\n");
    return 99;
}
