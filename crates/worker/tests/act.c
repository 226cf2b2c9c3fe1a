/* Does to the file system what it is told, one word after the other; for tests/local.rs. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        perror(what);
        exit(90);
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *op = argv[i];
#define NEXT (argv[++i])
        if (!strcmp(op, "write") || !strcmp(op, "append")) {
            const char *path = NEXT, *text = NEXT;
            int flags = O_WRONLY | O_CREAT | (*op == 'w' ? O_TRUNC : O_APPEND);
            int file = open(path, flags, 0644);
            check(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
            close(file);
        } else if (!strcmp(op, "read")) {
            const char *path = NEXT;
            check(open(path, O_RDONLY) >= 0, path);
        } else if (!strcmp(op, "maybe")) {
            const char *path = NEXT;
            int file = open(path, O_RDONLY);
            if (file >= 0) close(file);
        } else if (!strcmp(op, "connect")) {
            struct sockaddr_in to = {.sin_family = AF_INET};
            const char *host = NEXT;
            to.sin_port = htons(atoi(NEXT));
            inet_pton(AF_INET, host, &to.sin_addr);
            check(!connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to), host);
        } else if (!strcmp(op, "chmod")) {
            mode_t mode = strtol(NEXT, 0, 8);
            const char *path = NEXT;
            check(!chmod(path, mode), path);
        } else if (!strcmp(op, "mkdir")) {
            check(!mkdir(NEXT, 0755), op);
        } else if (!strcmp(op, "symlink")) {
            const char *target = NEXT;
            check(!symlink(target, NEXT), op);
        } else if (!strcmp(op, "link")) {
            const char *from = NEXT;
            check(!link(from, NEXT), op);
        } else if (!strcmp(op, "rename")) {
            const char *from = NEXT;
            check(!rename(from, NEXT), op);
        } else if (!strcmp(op, "rm")) {
            check(!unlink(NEXT), op);
        } else if (!strcmp(op, "rmdir")) {
            check(!rmdir(NEXT), op);
        } else if (!strcmp(op, "fifo")) {
            check(!mkfifo(NEXT, 0644), op);
        } else if (!strcmp(op, "print")) {
            puts(NEXT);
            fflush(stdout);
        } else if (!strcmp(op, "list")) {
            struct dirent **names;
            int found = scandir(NEXT, &names, 0, alphasort), shown = 0;
            check(found >= 0, op);
            for (int n = 0; n < found; n++)
                if (names[n]->d_name[0] != '.') printf("%s%s", shown++ ? " " : "", names[n]->d_name);
            puts("");
            fflush(stdout);
        } else if (!strcmp(op, "env")) {
            for (char **e = environ; *e; e++) puts(*e);
            fflush(stdout);
        } else if (!strcmp(op, "cwd")) {
            char path[4096];
            puts(getcwd(path, sizeof path));
            fflush(stdout);
        } else if (!strcmp(op, "times")) {
            struct timeval time[2] = {{.tv_sec = atol(NEXT)}};
            time[1] = time[0];
            const char *path = NEXT;
            check(!lutimes(path, time), path);
        } else if (!strcmp(op, "socket")) {
            struct sockaddr_un at = {.sun_family = AF_UNIX};
            strncpy(at.sun_path, NEXT, sizeof at.sun_path - 1);
            check(!bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&at, sizeof at), op);
        } else if (!strcmp(op, "deep")) {
            /* So many folders `d` in one another, from here on. */
            for (int left = atoi(NEXT); left > 0; left--) check(!mkdir("d", 0755) && !chdir("d"), op);
        } else if (!strcmp(op, "flood")) {
            static char line[1 << 16];
            memset(line, 'x', sizeof line);
            for (long left = atol(NEXT); left > 0; left -= sizeof line) check(fwrite(line, sizeof line, 1, stdout) == 1, op);
            fflush(stdout);
        } else if (!strcmp(op, "stdin")) {
            char byte;
            printf("stdin %zd\n", read(0, &byte, 1));
            fflush(stdout);
        } else if (!strcmp(op, "stop")) {
            return 0;
        } else if (!strcmp(op, "hang")) {
            for (;;) pause();
        } else if (!strcmp(op, "daemon")) {
            if (!fork()) {
                setsid();
                for (;;) pause();
            }
        } else if (!strcmp(op, "raise")) {
            raise(atoi(NEXT));
        } else if (!strcmp(op, "exit")) {
            exit(atoi(NEXT));
        } else {
            fprintf(stderr, "what is %s?\n", op);
            exit(91);
        }
    }
    return 0;
}
