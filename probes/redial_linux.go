package probes

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUp takes a connected socket of the network back to what it was before, and
// reports whether that is so: it has no peer, and nothing waits in it. A TCP
// connection is reset by that. What comes for the socket later comes to a port
// that is closed, as if the socket were.
//
// It is for sockets of the machine's own network only: others connect theirs in
// their own way.
func hangUp(network Network, conn net.Conn) bool {
	if _, direct := network.(*net.Dialer); !direct {
		return false
	}
	_, datagrams := conn.(*net.UDPConn)
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	clean := forgetful
	if datagrams {
		clean = empty
	}
	free := false
	err = raw.Control(func(fd uintptr) { free = disconnect(fd) && clean(fd) })
	return err == nil && free
}

// disconnect dissolves the socket's association (connect(2), AF_UNSPEC).
func disconnect(fd uintptr) bool {
	nobody := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody))
	return errno == 0
}

// forgetful takes the error away that disconnecting leaves for those who wait on
// a TCP socket. The runtime's poller may come upon it while the socket connects
// again, and would take the socket for one that cannot be waited for.
func forgetful(fd uintptr) bool {
	_, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil
}

// empty reports whether nothing waits in a socket that has no peer: a reply that
// came twice, or an error.
func empty(fd uintptr) bool {
	var left [1]byte
	_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&left)), 1, unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN
}

// redial connects a socket that was hung up, and returns its own address.
func redial(conn net.Conn, addr netip.AddrPort) (local netip.AddrPort, err error) {
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
			local, err = name(unix.SYS_GETSOCKNAME, int(fd))
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
	if _, err := name(unix.SYS_GETPEERNAME, fd); err != nil {
		return unix.EINPROGRESS
	}
	return nil
}

// name asks for a name of the socket. (The general functions know all families
// there are, which takes 16 kB.)
func name(call uintptr, fd int) (netip.AddrPort, error) {
	var sa unix.RawSockaddrInet6 // has room for IPv4's
	size := uint32(unsafe.Sizeof(sa))
	if _, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{}, errno
	}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) // in network order, and in the same place
	ip := netip.AddrFrom16(sa.Addr)
	if sa.Family == unix.AF_INET {
		ip = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr)
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port[:])), nil
}
