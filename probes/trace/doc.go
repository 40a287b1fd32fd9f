// Package trace finds how far a TCP SYN gets on its way to an address, who
// answers it, and where silence begins. It replaces
// `traceroute -n -T -p 443` and `telnet host 443`, and needs no privilege: it
// runs as nobody, with every capability dropped, where none of those does.
//
// # The technique
//
// Every IP packet carries a time to live (TTL; hop limit in IPv6) that each
// router lowers by one. The router that lowers it to zero discards the packet
// and tells the sender so in an ICMP message, time exceeded. A packet sent with
// TTL 3 thus makes the third router on the way give its address.
//
// Tools that trace with TCP build such SYN packets by hand and listen to all
// ICMP traffic, both of which only root may do. But anybody may ask for an
// ordinary connection from an ordinary socket whose TTL was lowered (the socket
// option IP_TTL), and the kernel, which must find out whom an ICMP message
// concerns anyhow, hands it to that socket: it is put on the socket's error
// queue, beside the data, and is read from there with
// recvmsg(MSG_ERRQUEUE) once the socket asked for it (IP_RECVERR). The message
// comes with the sender's address, the ICMP type and code, the first bytes of
// the packet it is about as the router saw it, and, if asked, with the moment
// at which the kernel received it. Linux does so for TCP sockets that still
// wait for the answer to their SYN since version 5.8 (commit 45af29ca761c).
//
// So one socket for each TTL, all connected at the same moment, list the whole
// path in one round trip of its farthest hop. The sockets are closed in a way
// that leaves nothing behind at either end, and in the steady state, when the
// length of the path is known from the run before, exactly one of the SYNs
// reaches the target: a trace costs it no more than a telnet does.
//
// # What it proves, and what not
//
// A SYN/ACK, a reset or an ICMP error proves who answered. Silence proves
// little: a silent router in the middle of a path that works is only a router
// that does not send time exceeded, so it is called silent, never blocked; and
// a port is called filtered only after at least twelve full-TTL SYNs, each from
// another source port, went unanswered. In a VPC the routers are part of the
// fabric and never answer: there, silence at every TTL is the normal picture
// of a security group, a network ACL or a route that drops the packet, and
// which of them it is cannot be told from the outside.
//
// This package refuses to say "blocked" about a middle hop, to open raw
// sockets, and to retry its way out of an ICMP rate limit: each router is sent
// at most two packets per trace and protocol. On systems other than Linux it
// only makes the full-TTL connection, and says so.
package trace
