//! Signal maths. Knows nothing of packets, sockets or calls.
