"""TCP connections whose other end may be gone without a word: a machine that lost its power, a path that was cut."""

import socket

KEEPALIVE: tuple[tuple[int, int, int], ...] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    # What was sent and is not acknowledged holds up the probes, so it has a time of its own.
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)
"""Options of a socket, as (level, name, value), that end a connection within 25 s of the other end's last sign."""
