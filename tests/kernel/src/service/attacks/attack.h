// Tries what must not work, and prints how each went: "name=ok" or "name=ERRNO".
#ifndef ATTACK_H
#define ATTACK_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

void say(const char *what, long result);
#define TRY(what, call) (errno = 0, say(what, (long)(call)))

// In a child, so that one success does not change what the next attempt means.
#define TRY_APART(what, call)                                                                                          \
    do {                                                                                                               \
        fflush(stdout);                                                                                                \
        pid_t p_ = fork();                                                                                             \
        if (!p_) {                                                                                                     \
            TRY(what, call);                                                                                           \
            fflush(stdout);                                                                                            \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        waitpid(p_, 0, 0);                                                                                             \
    } while (0)

// Ends a program that would do harm to the machine of somebody who starts it outside of a sandbox.
void only_inside(void);

// Each takes the words after its own name.
int see(char **words);
int create(char **words);
int climb(char **words);
int learn(char **words);
int deep(char **words);
int odd(char **words);
int descriptors(char **words);
int tamper(char **words);
int reach(char **words);
int families(char **words);
int use_port(char **words);
int others(char **words);
int everybody(char **words);
int kill_all(char **words);
int victim(char **words);
int namespaces(char **words);
int privileges(char **words);
int who(char **words);
int spoil(char **words);
int leave(char **words);
int find(char **words);
int linger(char **words);
int stay(char **words);
#endif
