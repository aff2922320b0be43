/* Load client: opens N connections to one server and counts what arrives.
 *
 * It also sets the pace. A run is a number of ticks; for each the client asks
 * the server for one ("tick PER_TICK PAYLOAD\n", written to the server's
 * control pipe), reads until every connection has every publication of the
 * tick, and only then asks for the next. So a slow server is never measured
 * with the backlog of its own earlier ticks, and all servers meet the same load.
 *
 * A connection is ready when it has --await, or is upgraded where that is empty.
 *
 * Commands come on standard input, one per line:
 *     run TICKS PER_TICK PAYLOAD
 * End of input ends the program. Answers are JSON, one object per line, on
 * standard output; a failure is {"event":"error","reason":...} and status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Small enough to stay in the second-level cache, large enough that a tick of
 * a hundred 1 KB publications usually arrives in one read. */
#define READ_BUFFER (256 * 1024)
#define MAX_EVENTS 512
/* Connections that are being made at one time: under every server's backlog. */
#define MAX_OPENING 64
/* Below the size of the ephemeral port range, so that one source address per
 * this many connections never runs out of ports. */
#define PORTS_PER_ADDRESS 20000

static const char marker[] = "\"t\":\"";
#define MARKER_LEN (sizeof(marker) - 1)
#define STAMP_DIGITS 20

enum mode { MODE_WS, MODE_RAW, MODE_NATS, MODE_RESP, MODE_PROTOBUF };
enum phase { CONNECTING, UPGRADING, AWAITING, READY };

struct connection {
    int fd;
    enum phase phase;
    uint64_t received;  /* publications of the current run */
    char *carry;        /* the start of a message whose end has not arrived */
    size_t carry_len, carry_cap;
};

static struct {
    enum mode mode;
    const char *host, *path, *first, *await;
    size_t first_len, await_len;
    int port, connections, control_fd;
    double timeout_s;
} options = {
    .mode = MODE_WS, .host = "127.0.0.1", .path = "/", .await = "hello",
    .connections = 1, .control_fd = -1, .timeout_s = 60,
};

static struct connection *connections;
static int epoll_fd, num_started, num_ready;
static char read_buffer[READ_BUFFER];

/* Where the marker stood in the last publication. A server frames every
 * publication alike, so it is looked for once and then only compared. */
static size_t marker_at;

static struct {
    bool active;
    uint64_t ticks_left, per_tick, payload;
    uint64_t received, due, expected_each, bytes, reads;
    uint64_t started_ns, cpu_started_ns, deadline_ns;
} run;

/* Latencies in a log-linear histogram: 64 steps per power of two, so a
 * percentile is exact to 1.6 per cent and recording one costs a few cycles. */
#define STEPS_LOG2 6
#define STEPS (1 << STEPS_LOG2)
static uint64_t histogram[64 * STEPS];
static uint64_t latency_max;

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void print_escaped(const char *s)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            printf("\\u%04x", *s);
        else
            putchar(*s);
    }
}

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    printf("{\"event\":\"error\",\"reason\":\"");
    print_escaped(reason);
    printf("\"}\n");
    fflush(stdout);
    exit(1);
}

/* ---- latency ---------------------------------------------------------- */

static void record_latency(uint64_t ns)
{
    size_t i;
    if (ns < STEPS) {
        i = ns;
    } else {
        unsigned exponent = 63 - (unsigned)__builtin_clzll(ns);
        i = (size_t)(exponent - STEPS_LOG2 + 1) * STEPS
            + ((ns >> (exponent - STEPS_LOG2)) & (STEPS - 1));
    }
    histogram[i]++;
    if (ns > latency_max)
        latency_max = ns;
}

/* The middle of the step that holds the given share of all latencies. */
static uint64_t percentile(double share)
{
    uint64_t rank = (uint64_t)(share * (double)run.received), seen = 0;
    for (size_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > rank) {
            if (i < STEPS)
                return i;
            unsigned shift = (unsigned)(i / STEPS) - 1;
            uint64_t low = (uint64_t)(STEPS + i % STEPS) << shift;
            return low + ((1ull << shift) >> 1);
        }
    }
    return latency_max;
}

/* Eight decimal digits at once: pairs, then fours, then all eight. Byte by
 * byte this would be the largest single cost per publication. */
static uint64_t parse_eight(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    v = (v & 0x0f0f0f0f0f0f0f0full) * 2561 >> 8;
    v = (v & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    return (v & 0x0000ffff0000ffffull) * 42949672960001ull >> 32;
}

static uint64_t parse_stamp(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v * 10 + (uint64_t)(p[i] - '0');
    return (v * 100000000u + parse_eight(p + 4)) * 100000000u + parse_eight(p + 12);
}

/* ---- sending ---------------------------------------------------------- */

static void send_all(struct connection *c, const void *data, size_t len)
{
    ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n != (ssize_t)len)
        fail("short send to the server: %s", n < 0 ? strerror(errno) : "socket buffer full");
}

/* A client's frame must be masked; a mask of zeros is valid and leaves the
 * bytes as they are. */
static void send_frame(struct connection *c, int opcode, const char *data, size_t len)
{
    unsigned char frame[2048];
    size_t head = 2;
    if (len > 1900)
        fail("a frame of %zu bytes is too long for this client", len);
    frame[0] = (unsigned char)(0x80 | opcode);
    if (len < 126) {
        frame[1] = (unsigned char)(0x80 | len);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (unsigned char)(len >> 8);
        frame[3] = (unsigned char)len;
        head = 4;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, data, len);
    send_all(c, frame, head + 4 + len);
}

static void send_upgrade(struct connection *c)
{
    char request[1024];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\n"
                     "Host: %s:%d\r\n"
                     "Upgrade: websocket\r\n"
                     "Connection: Upgrade\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     options.path, options.host, options.port);
    if (n >= (int)sizeof request)
        fail("the path is too long");
    send_all(c, request, (size_t)n);
}

static void ask_for_tick(void)
{
    char line[64];
    int n = snprintf(line, sizeof line, "tick %" PRIu64 " %" PRIu64 "\n",
                     run.per_tick, run.payload);
    run.due += run.per_tick * (uint64_t)options.connections;
    run.ticks_left--;
    if (write(options.control_fd, line, (size_t)n) != n)
        fail("the server's control pipe: %s", strerror(errno));
}

/* ---- what arrives ----------------------------------------------------- */

static void become_ready(struct connection *c)
{
    c->phase = READY;
    num_ready++;
}

static bool is_publication(const char *p, size_t len)
{
    if (len >= marker_at + MARKER_LEN + STAMP_DIGITS
        && memcmp(p + marker_at, marker, MARKER_LEN) == 0)
        return true;
    const char *at = memmem(p, len, marker, MARKER_LEN);
    if (!at || (size_t)(p + len - at) < MARKER_LEN + STAMP_DIGITS)
        return false;
    marker_at = (size_t)(at - p);
    return true;
}

/* One message: a line of a WebSocket text frame, or a broker's payload. */
static void on_message(struct connection *c, const char *p, size_t len, uint64_t now)
{
    if (is_publication(p, len)) {
        if (!run.active)
            fail("a publication arrived that no run asked for");
        uint64_t sent = parse_stamp(p + marker_at + MARKER_LEN);
        if (sent > now)
            fail("a publication is stamped %" PRIu64 " ns in the future", sent - now);
        record_latency(now - sent);
        c->received++;
        run.received++;
        return;
    }
    if (options.mode != MODE_PROTOBUF
        && (memmem(p, len, "\"error\"", 7) || memmem(p, len, "-ERR", 4)))
        fail("the server answered: %.*s", (int)(len > 300 ? 300 : len), p);
    if (c->phase == AWAITING && memmem(p, len, options.await, options.await_len))
        become_ready(c);
    else if (options.mode == MODE_WS && len == 2 && memcmp(p, "{}", 2) == 0)
        send_frame(c, 1, "{}", 2);  /* the Centrifuge protocol's pong */
}

/* Each parser takes the whole messages at the start of the buffer and returns
 * how many bytes they were. */

static size_t parse_upgrade(struct connection *c, const char *p, size_t len)
{
    const char *end = memmem(p, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (len < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0) {
        const char *line_end = memchr(p, '\r', len);
        fail("the server refused the upgrade: %.*s", (int)(line_end - p), p);
    }
    c->phase = AWAITING;
    if (options.first)
        send_frame(c, options.mode == MODE_PROTOBUF ? 2 : 1, options.first, options.first_len);
    if (!options.await_len)
        become_ready(c);
    return (size_t)(end + 4 - p);
}

static size_t parse_frames(struct connection *c, const char *start, size_t len, uint64_t now)
{
    const char *p = start, *end = start + len;
    while (end - p >= 2) {
        unsigned char b0 = (unsigned char)p[0], b1 = (unsigned char)p[1];
        size_t head = 2, size = b1;  /* a server's frame has no mask bit */
        if (size == 126) {
            if (end - p < 4)
                break;
            size = (size_t)(unsigned char)p[2] << 8 | (unsigned char)p[3];
            head = 4;
        } else if (size > 126) {
            fail("a frame with length byte %zu: masked or over 65,535 bytes", size);
        }
        if ((size_t)(end - p) < head + size)
            break;
        const char *data = p + head;
        p = data + size;
        if (b0 == 0x81 || b0 == 0x82) {
            /* Centrifuge joins several messages in one frame, by newlines. In
             * Protobuf only servers that send them one by one are measured. */
            const char *newline;
            while (options.mode != MODE_PROTOBUF && (newline = memchr(data, '\n', (size_t)(p - data)))) {
                on_message(c, data, (size_t)(newline - data), now);
                data = newline + 1;
            }
            if (data < p)
                on_message(c, data, (size_t)(p - data), now);
        } else if (b0 == 0x89) {
            send_frame(c, 10, data, size);
        } else if (b0 == 0x88) {
            fail("the server closed a connection: code %d %.*s",
                 size >= 2 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 0,
                 size > 2 ? (int)size - 2 : 0, data + 2);
        } else if (b0 != 0x8a) {
            fail("a frame with first byte 0x%02x is not expected", b0);
        }
    }
    return (size_t)(p - start);
}

static const char *line_end(const char *p, const char *end)
{
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    return cr && cr + 1 < end ? cr : NULL;
}

static size_t parse_nats(struct connection *c, const char *start, size_t len, uint64_t now)
{
    const char *p = start, *end = start + len, *eol;
    while (p < end && (eol = line_end(p, end))) {
        const char *next = eol + 2;
        if (p[0] == 'M') {  /* MSG <subject> <sid> <bytes> */
            size_t size = 0, scale = 1;
            for (const char *d = eol - 1; *d != ' '; d--, scale *= 10)
                size += scale * (size_t)(*d - '0');
            if ((size_t)(end - next) < size + 2)
                break;
            on_message(c, next, size, now);
            next += size + 2;
        } else if (p[0] == 'P' && p[1] == 'I') {
            send_all(c, "PONG\r\n", 6);
        } else {
            on_message(c, p, (size_t)(eol - p), now);
        }
        p = next;
    }
    return (size_t)(p - start);
}

/* A push of RESP2 is an array of three bulk strings or, for the answer to
 * SUBSCRIBE, two and an integer; only the last item is of interest. */
static size_t parse_resp(struct connection *c, const char *start, size_t len, uint64_t now)
{
    const char *p = start, *end = start + len;
    for (;;) {
        const char *q = p, *eol, *item = NULL;
        size_t size = 0;
        int items = 1;
        if (q < end && *q == '*') {
            if (!(eol = line_end(q, end)))
                break;
            items = atoi(q + 1);
            q = eol + 2;
        }
        for (; items > 0; items--) {
            if (q >= end || !(eol = line_end(q, end)))
                break;
            item = q;
            size = (size_t)(eol - q);
            bool bulk = *q == '$';
            q = eol + 2;
            if (bulk) {
                size = (size_t)atoi(item + 1);
                item = q;
                if ((size_t)(end - q) < size + 2)
                    break;
                q += size + 2;
            }
        }
        if (items > 0)
            break;
        on_message(c, item, size, now);
        p = q;
    }
    return (size_t)(p - start);
}

static void keep(struct connection *c, const char *data, size_t len)
{
    if (len > c->carry_cap) {
        free(c->carry);
        c->carry_cap = len < 2048 ? 2048 : len;
        if (!(c->carry = malloc(c->carry_cap)))
            fail("out of memory");
    }
    memcpy(c->carry, data, len);
    c->carry_len = len;
}

/* Reads once; true when there may be more, since events are edge-triggered:
 * the level-triggered kind would put every connection back on the ready list
 * and poll it a second time. */
static bool read_once(struct connection *c)
{
    size_t have = c->carry_len;
    if (have)
        memcpy(read_buffer, c->carry, have);
    size_t room = READ_BUFFER - have;
    ssize_t n = recv(c->fd, read_buffer + have, room, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("the server closed a connection: %s", n ? strerror(errno) : "end of stream");
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    run.bytes += (uint64_t)n;
    run.reads++;
    have += (size_t)n;

    size_t used = 0;
    if (c->phase == UPGRADING)
        used = parse_upgrade(c, read_buffer, have);
    if (c->phase != UPGRADING) {
        char *p = read_buffer + used;
        switch (options.mode) {
        case MODE_WS:
        case MODE_PROTOBUF:
        case MODE_RAW: used += parse_frames(c, p, have - used, now); break;
        case MODE_NATS: used += parse_nats(c, p, have - used, now); break;
        case MODE_RESP: used += parse_resp(c, p, have - used, now); break;
        }
    }
    c->carry_len = 0;
    if (used < have) {
        if (have - used == READ_BUFFER)
            fail("a message is longer than %d bytes", READ_BUFFER);
        keep(c, read_buffer + used, have - used);
    }
    return (size_t)n == room;
}

/* ---- connecting ------------------------------------------------------- */

static void start_connection(void)
{
    int index = num_started++;
    struct connection *c = &connections[index];
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (index >= PORTS_PER_ADDRESS) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(index / PORTS_PER_ADDRESS));
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
            fail("bind: %s", strerror(errno));
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    if (inet_pton(AF_INET, options.host, &to.sin_addr) != 1)
        fail("not an IPv4 address: %s", options.host);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void on_connected(struct connection *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        fail("connect: %s", strerror(error));
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    c->phase = AWAITING;
    switch (options.mode) {
    case MODE_WS:
    case MODE_PROTOBUF:
        c->phase = UPGRADING;
        send_upgrade(c);
        break;
    case MODE_NATS: {
        static const char hello[] =
            "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB bench 1\r\nPING\r\n";
        send_all(c, hello, sizeof hello - 1);
        break;
    }
    case MODE_RESP:
        send_all(c, "SUBSCRIBE bench\r\n", 17);
        break;
    case MODE_RAW:
        break;
    }
}

/* ---- runs ------------------------------------------------------------- */

static void start_run(const char *line)
{
    memset(&run, 0, sizeof run);
    if (sscanf(line, "run %" SCNu64 " %" SCNu64 " %" SCNu64, &run.ticks_left, &run.per_tick,
               &run.payload) != 3 || !run.ticks_left || !run.per_tick)
        fail("not a command: %s", line);
    run.expected_each = run.ticks_left * run.per_tick;
    memset(histogram, 0, sizeof histogram);
    latency_max = 0;
    for (int i = 0; i < options.connections; i++)
        connections[i].received = 0;
    run.active = true;
    run.cpu_started_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    run.started_ns = clock_ns(CLOCK_MONOTONIC);
    run.deadline_ns = run.started_ns + (uint64_t)(options.timeout_s * 1e9);
    ask_for_tick();
}

static void finish_run(void)
{
    uint64_t elapsed = clock_ns(CLOCK_MONOTONIC) - run.started_ns;
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - run.cpu_started_ns;
    run.active = false;
    for (int i = 0; i < options.connections; i++)
        if (connections[i].received != run.expected_each)
            fail("connection %d received %" PRIu64 " publications, not %" PRIu64, i,
                 connections[i].received, run.expected_each);
    printf("{\"event\":\"run\",\"deliveries\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"reads\":%" PRIu64 ",\"elapsed_ns\":%" PRIu64 ",\"client_cpu_ns\":%" PRIu64
           ",\"p50_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}\n",
           run.received, run.bytes, run.reads, elapsed, cpu, percentile(0.50),
           percentile(0.99), latency_max);
    fflush(stdout);
}

static void on_command(void)
{
    static char line[256];
    static size_t have;
    ssize_t n = read(0, line + have, sizeof line - 1 - have);
    if (n <= 0)
        exit(0);
    have += (size_t)n;
    line[have] = 0;
    char *newline = memchr(line, '\n', have);
    if (!newline) {
        if (have == sizeof line - 1)
            fail("a command is too long");
        return;
    }
    if (newline[1])
        fail("a second command before the first one's answer");
    *newline = 0;
    have = 0;
    start_run(line);
}

/* What is sent and awaited in Protobuf is no text: it is given in hexadecimal. */
static const char *from_hex(const char *text, size_t *len)
{
    size_t digits = text ? strlen(text) : 0;
    char *bytes = malloc(digits / 2 + 1);
    if (!bytes || digits % 2)
        fail("not hexadecimal: %s", text);
    *len = digits / 2;
    for (size_t i = 0; i < *len; i++) {
        unsigned byte;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            fail("not hexadecimal: %s", text);
        bytes[i] = (char)byte;
    }
    return bytes;
}

static void parse_options(int argc, char **argv)
{
    static const char *modes[] = {"ws", "raw", "nats", "resp", "protobuf"};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--mode")) {
            int m = 0;
            while (m < 5 && strcmp(modes[m], value))
                m++;
            if (m == 5)
                fail("unknown mode: %s", value);
            options.mode = (enum mode)m;
        } else if (!strcmp(name, "--host")) {
            options.host = value;
        } else if (!strcmp(name, "--port")) {
            options.port = atoi(value);
        } else if (!strcmp(name, "--path")) {
            options.path = value;
        } else if (!strcmp(name, "--connections")) {
            options.connections = atoi(value);
        } else if (!strcmp(name, "--first")) {
            options.first = value;
        } else if (!strcmp(name, "--await")) {
            options.await = value;
        } else if (!strcmp(name, "--control-fd")) {
            options.control_fd = atoi(value);
        } else if (!strcmp(name, "--timeout")) {
            options.timeout_s = atof(value);
        } else {
            fail("unknown option: %s", name);
        }
    }
    options.first_len = options.first ? strlen(options.first) : 0;
    options.await_len = strlen(options.await);
    if (options.mode == MODE_PROTOBUF) {
        options.first = from_hex(options.first, &options.first_len);
        options.await = from_hex(options.await, &options.await_len);
    }
    if (argc % 2 == 0 || options.port <= 0 || options.connections <= 0
        || options.control_fd < 0)
        fail("usage: loadclient --port N --control-fd N [--connections N] "
             "[--mode ws|raw|nats|resp|protobuf] [--host A] [--path P] [--first TEXT] "
             "[--await TEXT] [--timeout SECONDS]");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);

    connections = calloc((size_t)options.connections, sizeof *connections);
    if (!connections || (epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("out of memory or descriptors");
    uint64_t started = clock_ns(CLOCK_MONOTONIC);
    uint64_t deadline = started + (uint64_t)(options.timeout_s * 1e9);
    bool announced = false;
    unsigned turns = 0;

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        while (num_started < options.connections && num_started - num_ready < MAX_OPENING)
            start_connection();
        if (!announced && num_ready == options.connections) {
            announced = true;
            /* Commands are read from here on: none can come before. */
            struct epoll_event command = {.events = EPOLLIN, .data.ptr = NULL};
            if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &command) < 0)
                fail("standard input: %s", strerror(errno));
            printf("{\"event\":\"connected\",\"connections\":%d,\"elapsed_ns\":%" PRIu64 "}\n",
                   num_ready, clock_ns(CLOCK_MONOTONIC) - started);
            fflush(stdout);
        }
        /* Between runs there is nothing to time: wait for a command. */
        bool waiting = announced && !run.active;
        int n = epoll_wait(epoll_fd, events, MAX_EVENTS, waiting ? -1 : 1000);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                on_command();
            else if (c->phase == CONNECTING)
                on_connected(c);
            else
                while (read_once(c))
                    ;
        }
        if (run.active && run.received >= run.due) {
            if (run.ticks_left)
                ask_for_tick();
            else
                finish_run();
        }
        if (!waiting && (n == 0 || ++turns % 1024 == 0)) {
            uint64_t now = clock_ns(CLOCK_MONOTONIC);
            if (!announced && now > deadline)
                fail("%d of %d connections ready after %.0f s", num_ready,
                     options.connections, options.timeout_s);
            if (run.active && now > run.deadline_ns)
                fail("%" PRIu64 " of %" PRIu64 " deliveries after %.0f s", run.received,
                     run.due, options.timeout_s);
        }
    }
}
