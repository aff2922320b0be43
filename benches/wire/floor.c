/* The floor: what the kernel alone asks for one delivery.
 *
 * A loop of send(), one call per connection and tick, with all publications of
 * the tick joined: the bytes, the wake-ups and the receiver are those of every
 * other server of the suite, and nothing else is done. What does not fit into a
 * socket's buffer follows when there is room, and holds up nobody else. Frames
 * are the WebSocket frames that fanout sends; the upgrade is left out, the
 * greeting is not.
 *
 * Reads "tick PER_TICK PAYLOAD" lines from standard input until it ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char push_head[] = "{\"push\":{\"channel\":\"bench\",\"pub\":{\"data\":";
static const char push_tail[] = "}}}";
static const char data_head[] = "{\"t\":\"";
static const char data_middle[] = "\",\"p\":\"";
static const char data_tail[] = "\"}";
#define LEN(text) (sizeof(text) - 1)
#define MIN_PAYLOAD (LEN(data_head) + 20 + LEN(data_middle) + LEN(data_tail))

static int *sockets;
static size_t num_sockets, cap_sockets;
/* Sockets that took a part of the tick, and how much of it. */
static struct pollfd *behind;
static size_t *taken;
static size_t num_behind;

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static char *put(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        die("accept");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (num_sockets == cap_sockets) {
        cap_sockets = cap_sockets ? cap_sockets * 2 : 1024;
        sockets = realloc(sockets, cap_sockets * sizeof *sockets);
        behind = realloc(behind, cap_sockets * sizeof *behind);
        taken = realloc(taken, cap_sockets * sizeof *taken);
        if (!sockets || !behind || !taken)
            die("memory");
    }
    sockets[num_sockets++] = fd;
    if (send(fd, "\x81\x05hello", 7, MSG_NOSIGNAL) != 7)
        die("greeting");
}

static size_t send_some(int fd, const char *data, size_t len)
{
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        die("send");
    return n < 0 ? 0 : (size_t)n;
}

static void catch_up(const char *frames, size_t len)
{
    if (poll(behind, num_behind, -1) < 0)
        die("poll");
    size_t kept = 0;
    for (size_t i = 0; i < num_behind; i++) {
        size_t sent = taken[i];
        if (behind[i].revents)
            sent += send_some(behind[i].fd, frames + sent, len - sent);
        if (sent < len) {
            behind[kept] = behind[i];
            taken[kept++] = sent;
        }
    }
    num_behind = kept;
}

static void tick(size_t per_tick, size_t payload)
{
    static char *frames;
    static size_t cap_frames;
    size_t body = LEN(push_head) + payload + LEN(push_tail);
    size_t total = per_tick * (body + 4);
    if (payload < MIN_PAYLOAD || body > 65535) {
        fprintf(stderr, "floor: a payload of %zu bytes is out of range\n", payload);
        exit(1);
    }
    if (total > cap_frames) {
        cap_frames = total;
        if (!(frames = realloc(frames, total)))
            die("memory");
    }
    char *p = frames;
    for (size_t i = 0; i < per_tick; i++) {
        struct timespec ts;
        char stamp[21];
        clock_gettime(CLOCK_MONOTONIC, &ts);
        snprintf(stamp, sizeof stamp, "%020" PRIu64,
                 (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec);
        *p++ = (char)0x81;
        if (body < 126) {
            *p++ = (char)body;
        } else {
            *p++ = 126;
            *p++ = (char)(body >> 8);
            *p++ = (char)body;
        }
        p = put(p, push_head, LEN(push_head));
        p = put(p, data_head, LEN(data_head));
        p = put(p, stamp, 20);
        p = put(p, data_middle, LEN(data_middle));
        memset(p, 'x', payload - MIN_PAYLOAD);
        p += payload - MIN_PAYLOAD;
        p = put(p, data_tail, LEN(data_tail));
        p = put(p, push_tail, LEN(push_tail));
    }
    size_t len = (size_t)(p - frames);
    for (size_t i = 0; i < num_sockets; i++) {
        size_t sent = send_some(sockets[i], frames, len);
        if (sent < len) {
            behind[num_behind] = (struct pollfd){.fd = sockets[i], .events = POLLOUT};
            taken[num_behind++] = sent;
        }
    }
    while (num_behind)
        catch_up(frames, len);
}

int main(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof address;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0
        || listen(listener, 4096) < 0
        || getsockname(listener, (struct sockaddr *)&address, &address_len) < 0)
        die("listen");
    printf("{\"event\":\"ready\",\"port\":%d,\"pid\":%d}\n", ntohs(address.sin_port), getpid());
    fflush(stdout);

    char line[256];
    size_t have = 0;
    struct pollfd watched[2] = {{.fd = 0, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
    for (;;) {
        if (poll(watched, 2, -1) < 0)
            die("poll");
        if (watched[1].revents)
            accept_one(listener);
        if (!watched[0].revents)
            continue;
        ssize_t n = read(0, line + have, sizeof line - 1 - have);
        if (n <= 0)
            return 0;
        have += (size_t)n;
        line[have] = 0;
        char *newline;
        while ((newline = strchr(line, '\n'))) {
            size_t per_tick, payload;
            if (sscanf(line, "tick %zu %zu", &per_tick, &payload) == 2)
                tick(per_tick, payload);
            have -= (size_t)(newline + 1 - line);
            memmove(line, newline + 1, have + 1);
        }
    }
}
