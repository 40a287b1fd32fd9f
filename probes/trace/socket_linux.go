package trace

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A socket is a non-blocking TCP or UDP socket that reports ICMP errors with
// their sender, their time and their TTL. Package net is of no use here: its
// dialer closes the descriptor of a connection that failed, and with it the
// error queue that says why.
type socket struct {
	fd  int
	v6  bool
	udp bool
}

// The kernel's states of a TCP socket that has no connection: tcpSynSent has
// sent its SYN and knows no more, tcpClosed was given up.
const (
	tcpSynSent = 2
	tcpClosed  = 7
)

// openSocket opens a socket whose packets live for ttl hops; 0 means as many
// as usual. No option that it sets needs a capability.
func openSocket(v6, udp bool, ttl int) (socket, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if v6 {
		family = unix.AF_INET6
	}
	if udp {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{fd: -1}, fmt.Errorf("socket: %w", err)
	}
	s := socket{fd, v6, udp}
	if err := s.prepare(ttl); err != nil {
		s.close()
		return socket{fd: -1}, fmt.Errorf("setsockopt: %w", err)
	}
	return s, nil
}

func (s socket) prepare(ttl int) error {
	// MPTCP: socket(2) with protocol 0 opens plain TCP, unlike Go's listeners
	// and dialers where MPTCP is on. Its options would make the SYN another
	// packet than most callers', and some middleboxes drop them.
	options := [][3]int{
		{unix.IPPROTO_IP, unix.IP_RECVERR, 1},     // queue ICMP errors with their sender
		{unix.IPPROTO_IP, unix.IP_RECVTTL, 1},     // and the TTL that they arrived with
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, // and the kernel's time of their arrival
	}
	if s.v6 {
		options = [][3]int{
			{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{unix.IPPROTO_IPV6, unix.IPV6_AUTOFLOWLABEL, 0}, // no label made of the ports: routers may spread flows by it
			{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	if !s.udp {
		if err := s.leaveNothing(); err != nil {
			return err
		}
	}
	if ttl > 0 {
		return s.setTTL(ttl)
	}
	return nil
}

// leaveNothing makes close reset a connection that came about, and send nothing
// for one that did not (it lingers for no time). So no TIME_WAIT stays here, and
// nothing stays at the target: a SYN/ACK that arrives after the socket is closed
// is answered with a reset by the kernel, which frees the half-open connection
// there.
func (s socket) leaveNothing() error {
	return unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

func (s socket) setTTL(ttl int) error {
	if s.v6 {
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TTL, ttl)
}

// send asks the kernel for a connection, which makes it send a SYN; or sends a
// datagram.
//
// The source port is left to connect, which unlike bind does not reserve it:
// connections to other addresses may have the same one. That every TTL gets a
// port of its own cannot be helped, since two sockets cannot have the same
// four addresses and ports: each TTL is a flow of its own, and where flows are
// spread over several ways (ECMP) neighboring TTLs may show routers of
// different ways. A hop therefore has a set of addresses, and the Paris pass
// shows the way of one flow.
//
// An error is this host's own: it has no route, or a policy (such as
// a cgroup's BPF program) forbids it, or it has no free port.
func (s socket) send(to unix.Sockaddr) error {
	err := unix.Connect(s.fd, to)
	if err == unix.EINPROGRESS {
		err = nil
	}
	if err == nil && s.udp {
		_, err = unix.Write(s.fd, []byte("vpcprobe path trace"))
	}
	return err
}

// dissolve takes a TCP socket's connection, or its attempt at one, back, so
// that it can be connected again (connect to an address of no family). x/sys
// has no such address.
func (s socket) dissolve() error {
	var unspecified unix.RawSockaddr // the family is AF_UNSPEC, 0
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	if errno != 0 {
		return errno
	}
	return nil
}

func (s socket) local() netip.AddrPort {
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// failure takes the socket's pending error; 0 if there is none.
func (s socket) failure() unix.Errno {
	errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return unix.EBADF
	}
	return unix.Errno(errno)
}

func (s socket) tcpInfo() (*unix.TCPInfo, error) {
	return unix.GetsockoptTCPInfo(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
}

// icmp reads one message of the error queue, false if it is empty.
func (s socket) icmp() (icmpError, bool) {
	var packet, control [256]byte
	n, controls, _, _, err := unix.Recvmsg(s.fd, packet[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return icmpError{}, false
	}
	return parseICMPError(control[:controls], packet[:n])
}

func (s socket) close() { unix.Close(s.fd) }

// sockaddr is an address as the kernel wants it.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zone(a.Addr().Zone())}
}

// zone is the number of the interface that the zone of a link-local address
// names.
func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	ifc, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return uint32(ifc.Index)
}
