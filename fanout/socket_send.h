/* One non-blocking send on a connected socket. */
#ifndef FANOUT_SOCKET_SEND_H
#define FANOUT_SOCKET_SEND_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0   /* macOS: uvloop ignores SIGPIPE */
#endif

/* Bytes taken by the kernel, 0 when it would block, -1 when the connection is
   broken. Never blocks and never raises a signal. */
static inline ssize_t fanout_send(int fd, const void *data, size_t size)
{
    ssize_t sent;
    do {
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return sent;
    /* ENOBUFS: the kernel is short of memory for now. */
    return (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) ? 0 : -1;
}

#endif
