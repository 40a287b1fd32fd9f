package probes

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HangUp takes a socket of [DialUDP]'s back to what it was before it was
// connected, and reports whether that is so: it has no peer and no port, and
// nothing waits in it. What comes for it later comes to a port that is closed,
// as if the socket were.
func HangUp(network Network, conn net.Conn) bool {
	_, direct := network.(*net.Dialer) // others connect sockets in their own way
	udp, ok := conn.(*net.UDPConn)
	return direct && ok && control(udp, disconnect) == nil
}

// Redial connects a socket that was hung up, of the address's family, to an
// address. As for a fresh socket the kernel chooses the port, the source address
// and the route, and whoever watches flows sees a new one.
func Redial(conn net.Conn, addr netip.AddrPort) error {
	var to unix.Sockaddr
	if ip := addr.Addr(); ip.Is4() {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()}
	}
	return control(conn.(*net.UDPConn), func(fd int) error { return unix.Connect(fd, to) })
}

func control(udp *net.UDPConn, do func(fd int) error) (err error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { err = do(int(fd)) }); failed != nil {
		return failed
	}
	return err
}

// disconnect fails unless the kernel lets go of the port and has nothing that
// came before: a reply twice, or an error.
func disconnect(fd int) error {
	unspecified := unix.RawSockaddr{Family: unix.AF_UNSPEC} // connect(2): dissolves the association
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified)); errno != 0 {
		return errno
	}
	var local unix.RawSockaddrInet4 // port and family are in the same place for IPv6
	size := uint32(unsafe.Sizeof(local))
	if _, _, errno := unix.Syscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&local)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return errno
	}
	if local.Port != 0 {
		return unix.EADDRINUSE
	}
	var left [1]byte
	if _, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&left)), 1, unix.MSG_DONTWAIT, 0, 0); errno != syscall.EAGAIN {
		return unix.ENOTEMPTY
	}
	return nil
}
