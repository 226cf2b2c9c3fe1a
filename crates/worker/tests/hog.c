/* Takes more than it should, in the way it is told; for tests/limits.rs. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE (1 << 20)

static char piece[PIECE];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Touched memory, never given back. */
static void take(long pieces) {
    for (long i = 0; pieces < 0 || i < pieces; i++) {
        char *memory = mmap(0, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        memset(memory, 1, PIECE);
    }
}

static void write_pieces(int file, long pieces) {
    for (long i = 0; pieces < 0 || i < pieces; i++)
        if (write(file, piece, PIECE) < 0)
            fail("write");
}

static void *thread(void *unused) {
    pause();
    return unused;
}

static int create(const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0644);
    if (file < 0)
        fail(path);
    return file;
}

/* Each much smaller than the largest file there may be. */
static void write_files(const char *prefix, long files) {
    for (long i = 0; files < 0 || i < files; i++) {
        char name[64];
        sprintf(name, "%s-%ld", prefix, i);
        int file = create(name);
        write_pieces(file, 4);
        close(file);
    }
}

int main(int argc, char **argv) {
    const char *how = argv[1];
    char name[64];
    memset(piece, 'x', sizeof piece);
    if (!strcmp(how, "fork")) {
        for (;;)
            fork();
    } else if (!strcmp(how, "threads")) {
        pthread_attr_t small;
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 64 << 10);
        for (pthread_t id;;)
            pthread_create(&id, &small, thread, 0);
    } else if (!strcmp(how, "memory")) {
        take(-1);
    } else if (!strcmp(how, "children")) {
        /* Each has little, together they have too much. */
        for (int i = 0; i < 8; i++)
            if (!fork()) {
                take(atol(argv[2]));
                pause();
            }
        pause();
    } else if (!strcmp(how, "shared")) {
        /* What was there before a fork is there once, however many look at it. */
        take(atol(argv[2]));
        int done[2];
        if (pipe(done))
            fail("pipe");
        for (int i = 0; i < 8; i++)
            if (!fork()) {
                close(done[1]);
                exit(read(done[0], name, 1) != 0);
            }
        usleep(400000);
        close(done[1]);
        close(done[0]);
        while (wait(0) > 0)
            ;
        puts("fine");
    } else if (!strcmp(how, "memfd")) {
        for (;;)
            write_pieces(memfd_create("x", 0), 4);
    } else if (!strcmp(how, "file")) {
        write_pieces(create("large"), -1);
    } else if (!strcmp(how, "files")) {
        write_files("file", -1);
    } else if (!strcmp(how, "small")) {
        for (int i = 0;; i++) {
            sprintf(name, "directory-%d", i / 1000);
            if (i % 1000 == 0)
                mkdir(name, 0755);
            sprintf(name, "directory-%d/%d", i / 1000, i);
            close(create(name));
        }
    } else if (!strcmp(how, "holes")) {
        mkdir("made", 0755);
        if (ftruncate(create("made/one"), 30 << 20) || ftruncate(create("made/two"), 30 << 20))
            fail("ftruncate");
    } else if (!strcmp(how, "nameless")) {
        for (int i = 0;; i++) {
            int file = create("gone");
            unlink("gone");
            write_pieces(file, 4);
        }
    } else if (!strcmp(how, "stdout")) {
        write_pieces(1, atol(argv[2]));
    } else if (!strcmp(how, "stderr")) {
        write_pieces(2, atol(argv[2]));
    } else if (!strcmp(how, "tmp")) {
        write_files("/dev/shm/file", -1);
    } else if (!strcmp(how, "both")) {
        /* Neither alone is too much. */
        write_files("/tmp/file", 30);
        take(120);
        pause();
    } else if (!strcmp(how, "score")) {
        int file = open("/proc/self/oom_score_adj", O_RDONLY);
        ssize_t length = read(file, name, sizeof name);
        if (length < 0 || write(1, name, length) != length)
            fail("oom_score_adj");
    } else if (!strcmp(how, "work")) {
        /* What an honest action does. */
        int file = create("made");
        write_pieces(file, 2);
        take(4);
        pid_t child = fork();
        if (!child)
            exit(0);
        waitpid(child, 0, 0);
        puts("fine");
    }
    return 0;
}
