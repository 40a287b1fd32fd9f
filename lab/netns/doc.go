// Package netns builds networks of real routers out of network namespaces, and
// breaks them in named ways: a client, a row of routers that the kernel's own
// forwarding makes of namespaces, a server, and between them links with a delay
// and a loss. Tests and benchmarks trace through it.
//
// It needs Linux, the commands ip(8) and nft(8), and either root or the
// permission to create user namespaces (as `unshare -Urnm` does); where those
// are missing, [Start] skips the test and prints why.
//
// Nothing here has a name outside the process: namespaces are held by
// descriptors, so networks of parallel runs cannot collide, and whatever
// happens to the process, even SIGKILL, the kernel removes namespaces, links
// and rules with it. No packet leaves the namespaces, none of which has a link
// to the outside.
//
// Many kernels that tests run on lack sch_netem, so delay and loss come from a
// process of ours that carries the frames of a link from one end to the other
// (see wire). It reads and writes them with packet sockets on the two veth
// ends rather than with TAP devices, since /dev/net/tun is often closed to
// those who may create user namespaces.
//
// A program that uses this package must call [Enter] first of all, because the
// wires and the confined programs are started as copies of it.
package netns
