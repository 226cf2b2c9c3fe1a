// Processes that want to outlive their action: "linger KIND MARK TAG".
#include "attack.h"
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

static void forever(void) {
    for (;;) pause();
}
static void deaf(void) {
    for (int s = 1; s < 65; s++) signal(s, SIG_IGN);
}
// Tells the first process that it has come where it wanted to be.
static int ready[2];
static void here(void) {
    if (write(ready[1], "x", 1) != 1) _exit(9);
}

static void as_daemon(void) {
    if (fork()) _exit(0);
    setsid();
    if (fork()) _exit(0);
    if (chdir("/")) _exit(9);
    umask(0);
    here();
    forever();
}
static void as_stopped(void) {
    here();
    raise(SIGSTOP);
    forever();
}
static void as_reaper(void) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, 0);
    setsid();
    here();
    forever();
}
// Held by a tracer that never lets it go, in a stop that it cannot leave.
static void as_traced(void) {
    pid_t child = fork();
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        forever();
    }
    waitpid(child, 0, 0);
    ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACEEXIT);
    here();
    forever();
}
// Gone before anybody who has seen it can kill it: the child goes on.
static void as_runner(void) {
    here();
    for (;;) {
        pid_t child = fork();
        if (child > 0) _exit(0);
        if (child < 0) sched_yield();
        setsid();
    }
}
static void as_busy(void) {
    here();
    for (volatile long n = 0;; n++) {
    }
}
// Its parent waits for it in a vfork, and nobody can interrupt that but death.
static void as_vforked(void) {
    pid_t child = vfork();
    if (!child) {
        here();
        for (;;) pause();
    }
    forever();
}
// Between two ends of a pipe that nobody reads.
static void as_writer(void) {
    static char room[1 << 16];
    int p[2];
    if (pipe(p)) _exit(9);
    here();
    for (;;)
        if (write(p[1], room, sizeof room) < 0) _exit(9);
}

int linger(char **words) {
    static const struct { const char *name; void (*run)(void); } kinds[] = {
        {"daemon", as_daemon}, {"stopped", as_stopped}, {"reaper", as_reaper},   {"traced", as_traced},
        {"runner", as_runner}, {"busy", as_busy},       {"vforked", as_vforked}, {"writer", as_writer},
    };
    only_inside();
    if (pipe(ready)) return 9;
    int started = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(words[0], kinds[i].name) && strcmp(words[0], "all")) continue;
        started++;
        if (!fork()) {
            deaf();
            kinds[i].run();
            _exit(9);
        }
    }
    char byte;
    for (int i = 0; i < started; i++)
        if (read(ready[0], &byte, 1) != 1) return 9;
    printf("%d linger\n", started);
    return 0;
}

// Says that it runs, starts some children, and never ends.
int stay(char **words) {
    (void)words;
    for (int i = 0; i < 2; i++)
        if (!fork()) {
            setsid();
            deaf();
            forever();
        }
    printf("stays\n");
    fflush(stdout);
    forever();
    return 0;
}
