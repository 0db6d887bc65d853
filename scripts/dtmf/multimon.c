/*
 * multimon-ng as `crosspoint bench dtmf --peer` wants a receiver. It does not say where in its
 * input a digit was, so it is fed in steps of 5 ms, and the next step waits until it has taken and
 * digested the last one. Samples of 22,050 Hz and 16 bit on standard input (it takes no others), a
 * line `digit report_ms` per digit on standard output. Built by scripts/dtmf.sh, never shipped.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RATE_HZ 22050
#define STEP 110

static int is_asleep(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int) pid);
    int file = open(path, O_RDONLY);
    if (file < 0)
        return 1;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0)
        return 1;
    text[length] = '\0';
    const char *state = strrchr(text, ')');
    return state == NULL || state[2] == 'S' || state[2] == 'Z';
}

/* Until it has emptied the pipe and asks for more: only then has it said all it had to. */
static void wait_until_digested(int input, pid_t pid)
{
    int waiting = 0;
    while (ioctl(input, FIONREAD, &waiting) == 0 && waiting > 0)
        sched_yield();
    while (!is_asleep(pid))
        sched_yield();
}

/* Prints what it has said so far, as said at this position. */
static void pass_on(int output, uint64_t samples)
{
    static char line[256];
    static size_t length;
    char c;
    while (read(output, &c, 1) == 1) {
        if (c != '\n') {
            if (length < sizeof line - 1)
                line[length++] = c;
            continue;
        }
        line[length] = '\0';
        length = 0;
        if (strncmp(line, "DTMF: ", 6) == 0)
            printf("%c %.3f\n", line[6], 1000.0 * (double) samples / RATE_HZ);
    }
}

int main(void)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execlp("multimon-ng", "multimon-ng", "-q", "-c", "-a", "DTMF", "-t", "raw", "-", NULL);
        _exit(127);
    }
    /* The reading end stays open here as well, to ask how full the pipe is. */
    close(from[1]);
    fcntl(from[0], F_SETFL, O_NONBLOCK);

    int16_t step[STEP];
    uint64_t samples = 0;
    size_t length;
    while ((length = fread(step, sizeof step[0], STEP, stdin)) > 0) {
        /* Less than PIPE_BUF: all or nothing. */
        if (write(to[1], step, length * sizeof step[0]) < 0)
            return 1;
        samples += length;
        wait_until_digested(to[0], pid);
        pass_on(from[0], samples);
    }
    close(to[1]);
    close(to[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    pass_on(from[0], samples);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
