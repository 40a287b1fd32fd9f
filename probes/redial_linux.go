package probes

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HangUp takes a connected socket of the network back to what it was before, and
// reports whether that is so: it has no peer, and nothing waits in it. A TCP
// connection is reset by that. What comes for the socket later comes to a port
// that is closed, as if the socket were.
//
// It is for sockets of the machine's own network only: others connect theirs in
// their own way.
func HangUp(network Network, conn net.Conn) bool {
	if _, direct := network.(*net.Dialer); !direct {
		return false
	}
	_, datagrams := conn.(*net.UDPConn)
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	free := false
	err = raw.Control(func(fd uintptr) { free = disconnect(fd) && (!datagrams || empty(fd)) })
	return err == nil && free
}

// disconnect dissolves the socket's association (connect(2), AF_UNSPEC).
func disconnect(fd uintptr) bool {
	nobody := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody))
	return errno == 0
}

// empty reports whether nothing waits in a socket that has no peer: a reply that
// came twice, or an error.
func empty(fd uintptr) bool {
	var left [1]byte
	_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&left)), 1, unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN
}

// Redial connects a socket that was hung up, of the address's family, to the
// address, and returns its own. It waits until the socket's write deadline. As
// for a fresh socket the kernel chooses the port, the source address and the
// route; whoever watches flows sees a new one unless the port is the former.
func Redial(conn net.Conn, addr netip.AddrPort) (local netip.AddrPort, err error) {
	var to unix.Sockaddr
	if ip := addr.Addr(); ip.Is4() {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()}
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return local, err
	}
	begun := false
	late := raw.Write(func(fd uintptr) (done bool) {
		if !begun {
			begun = true
			err = unix.Connect(int(fd), to)
		} else {
			err = outcome(int(fd))
		}
		switch err {
		case nil:
			local, err = localAddr(int(fd))
		case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
			err = nil
			return false
		}
		return true
	})
	if err != nil {
		return local, os.NewSyscallError("connect", err)
	}
	return local, late
}

// outcome returns what became of a connection: EINPROGRESS, nil if it is made, or
// why it is not. A socket without a peer is writable, too.
func outcome(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if code != 0 {
		return unix.Errno(code)
	}
	if _, err := unix.Getpeername(fd); err != nil {
		return unix.EINPROGRESS
	}
	return nil
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, err
}
