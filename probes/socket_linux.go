package probes

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The sockets do not block, so no call here does, and the runtime is not told of
// them (RawSyscall). To be told of one wakes its monitor, a thread that from then
// on looks every 20 µs whether the call has come back (runtime/proc.go, sysmon):
// at 400 lookups a second that was a third of all CPU time.

// A handle makes system calls on a socket.
type handle struct {
	raw       syscall.RawConn // nil if there is none
	datagrams bool
	in, out   transfer
	dialing   dialing
	free      bool // of its last connection, and of what came by it
	some      bool // something has come

	// The calls are made once: what is made for each of them is garbage.
	read, write, dial func(fd uintptr) (done bool)
	look, release     func(fd uintptr)
}

// open takes a connection of the machine's own. One of another type may do more
// than what its socket does.
func (h *handle) open(conn net.Conn) {
	switch c := conn.(type) {
	case *net.UDPConn:
		h.raw, _ = c.SyscallConn()
		h.datagrams = true
	case *net.TCPConn:
		h.raw, _ = c.SyscallConn()
	}
	h.read, h.write, h.dial, h.release = h.in.receive, h.out.send, h.dialing.proceed, h.disconnect
	h.look = func(fd uintptr) { h.some = h.in.receive(fd) }
}

func (h *handle) ok() bool { return h.raw != nil }

// A transfer is a message between the program and the kernel.
type transfer struct {
	head unix.Msghdr
	body unix.Iovec
	n    int
	err  error
}

func (h *handle) receive(buf, control []byte) (n, said int, err error) {
	h.in.put(buf, control)
	return h.in.done(h.raw.Read(h.read))
}

// poll is receive without waiting; some is false if there is nothing.
func (h *handle) poll(buf []byte) (n int, some bool, err error) {
	h.some = false
	h.in.put(buf, nil)
	n, _, err = h.in.done(h.raw.Control(h.look))
	return n, h.some, err
}

func (h *handle) send(p []byte) (n int, err error) {
	h.out.put(p, nil)
	n, _, err = h.out.done(h.raw.Write(h.write))
	return n, err
}

func (t *transfer) put(buf, control []byte) {
	t.body = unix.Iovec{Base: unsafe.SliceData(buf)}
	t.body.SetLen(len(buf))
	t.head = unix.Msghdr{Iov: &t.body, Control: unsafe.SliceData(control)}
	t.head.SetIovlen(1)
	t.head.SetControllen(len(control))
}

// done lets go of the buffers and returns how many bytes of each were used, and the
// transfer's error, or that of the wait for it.
func (t *transfer) done(waiting error) (n, said int, err error) {
	n, said, err = t.n, int(t.head.Controllen), t.err
	*t = transfer{}
	if waiting != nil {
		err = waiting
	}
	return n, said, err
}

func (t *transfer) receive(fd uintptr) (done bool) { return t.over(fd, unix.SYS_RECVMSG, "read") }
func (t *transfer) send(fd uintptr) (done bool)    { return t.over(fd, unix.SYS_SENDMSG, "write") }

// over makes a call, and reports whether it is over: it need not be made again
// when the socket is ready.
func (t *transfer) over(fd, call uintptr, name string) bool {
	for {
		n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(&t.head)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			t.n = int(n)
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		default:
			t.err = os.NewSyscallError(name, errno)
		}
		return true
	}
}

// finish is [Socket.finish].
func (h *handle) finish() (ok bool) {
	h.raw.Control(func(fd uintptr) {
		if unread(fd) > maxUnread {
			return
		}
		_, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0)
		ok = errno == 0 || errno == unix.ENOTCONN // over already
	})
	return ok
}

// maxUnread is more than the end of TLS and tickets for further sessions take, in
// bytes. A peer that has more to say than we want to hear must not wait for us.
const maxUnread = 4096

// unread is how many bytes wait in a socket (FIONREAD, tcp(7)).
func unread(fd uintptr) (n int32) {
	unix.RawSyscall(unix.SYS_IOCTL, fd, unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	return n
}

// finished is [Socket.finished].
func (h *handle) finished() (ok bool) {
	const closed = 7 // TCP_CLOSE
	h.raw.Control(func(fd uintptr) {
		var i unix.TCPInfo
		ok = tcpInfo(fd, &i) && i.State == closed
	})
	return ok
}

// TCPInfo asks the kernel what it knows of a TCP connection (TCP_INFO, tcp(7)).
func TCPInfo(conn net.Conn, i *unix.TCPInfo) (ok bool) {
	if c, has := conn.(syscall.Conn); has {
		if raw, err := c.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { ok = tcpInfo(fd, i) })
		}
	}
	return ok
}

// tcpInfo asks by hand: [unix.GetsockoptTCPInfo] tells the runtime.
func tcpInfo(fd uintptr, i *unix.TCPInfo) (ok bool) {
	size := uint32(unsafe.Sizeof(*i))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(i)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0
}

// hangUp is [Socket.hangUp].
func (h *handle) hangUp() bool {
	h.free = false
	err := h.raw.Control(h.release)
	return err == nil && h.free
}

// disconnect dissolves the socket's association (connect(2), AF_UNSPEC), and
// notes whether the socket is as new then.
func (h *handle) disconnect(fd uintptr) {
	nobody := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody))
	switch {
	case errno != 0:
	case h.datagrams:
		h.free = empty(fd)
	default:
		h.free = forgetful(fd) && beginsAnew(fd)
	}
}

// anew is whether the kernel forgets what it counted of a socket's last connection
// when that is dissolved: 0 if nobody has asked yet, 1 if it does, -1 if not.
var anew atomic.Int32

// beginsAnew reports whether what the kernel counts of the next connection of a
// socket that was just dissolved will be about that one only. Some before Linux 5.6
// go on counting segments (tcp_disconnect); it is the same for all sockets.
func beginsAnew(fd uintptr) bool {
	if anew.Load() == 0 {
		var i unix.TCPInfo
		if tcpInfo(fd, &i) && i.Segs_out == 0 && i.Total_retrans == 0 && i.Bytes_acked == 0 {
			anew.Store(1)
		} else {
			anew.Store(-1)
		}
	}
	return anew.Load() > 0
}

// forgetful takes the error away that disconnecting leaves for those who wait on
// a TCP socket. The runtime's poller may come upon it while the socket connects
// again, and would take the socket for one that cannot be waited for.
func forgetful(fd uintptr) bool {
	_, errno := pending(fd)
	return errno == 0
}

// pending takes the error of the socket that nobody has heard of yet, if any.
func pending(fd uintptr) (code int32, errno syscall.Errno) {
	size := uint32(unsafe.Sizeof(code))
	_, _, errno = unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_ERROR,
		uintptr(unsafe.Pointer(&code)), uintptr(unsafe.Pointer(&size)), 0)
	return code, errno
}

// empty reports whether nothing waits in a socket that has no peer: a reply that
// came twice, or an error.
func empty(fd uintptr) bool {
	var left [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&left)), 1, unix.MSG_DONTWAIT, 0, 0)
	return errno == unix.EAGAIN
}

// redial connects a socket that was hung up, and returns its own address.
func (h *handle) redial(addr netip.AddrPort) (local netip.AddrPort, err error) {
	d := &h.dialing
	*d = dialing{to: addr}
	late := h.raw.Write(h.dial)
	if d.errno != 0 {
		return d.local, os.NewSyscallError("connect", d.errno)
	}
	return d.local, late
}

// A dialing is a connection that is being made.
type dialing struct {
	to, local netip.AddrPort
	begun     bool
	errno     syscall.Errno
}

// proceed makes the next call, and reports whether the connection is made, or
// will not be: the next call need not wait until the socket can be written to.
func (d *dialing) proceed(fd uintptr) (done bool) {
	if d.begun {
		d.errno = outcome(fd)
	} else {
		d.begun, d.errno = true, connect(fd, d.to)
		if d.errno == unix.EINPROGRESS && connected(fd) { // a peer on this machine has accepted by now
			d.errno = 0
		}
	}
	switch d.errno {
	case 0:
		d.local, d.errno = name(unix.SYS_GETSOCKNAME, fd)
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		d.errno = 0
		return false
	}
	return true
}

// connect begins to connect to an address.
func connect(fd uintptr, addr netip.AddrPort) syscall.Errno {
	var sa unix.RawSockaddrInet6
	ip, size := addr.Addr(), unsafe.Sizeof(sa)
	if ip.Is4() {
		size = unsafe.Sizeof(*inet4(&sa))
		sa.Family, inet4(&sa).Addr = unix.AF_INET, ip.As4()
	} else {
		sa.Family, sa.Addr = unix.AF_INET6, ip.As16()
	}
	binary.BigEndian.PutUint16(port(&sa), addr.Port())
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), size)
	return errno
}

// outcome returns what became of a connection: EINPROGRESS, 0 if it is made, or
// why it is not. A socket without a peer is writable, too.
func outcome(fd uintptr) syscall.Errno {
	if connected(fd) {
		return 0
	}
	code, errno := pending(fd)
	switch {
	case errno != 0:
		return errno
	case code != 0:
		return syscall.Errno(code)
	}
	return unix.EINPROGRESS
}

// connected reports whether the socket has a peer.
func connected(fd uintptr) bool {
	_, errno := name(unix.SYS_GETPEERNAME, fd)
	return errno == 0
}

// name asks for a name of the socket. (The general functions know all families
// there are, which takes 16 kB.)
func name(call, fd uintptr) (netip.AddrPort, syscall.Errno) {
	var sa unix.RawSockaddrInet6
	size := uint32(unsafe.Sizeof(sa))
	if _, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return netip.AddrPort{}, errno
	}
	ip := netip.AddrFrom16(sa.Addr)
	if sa.Family == unix.AF_INET {
		ip = netip.AddrFrom4(inet4(&sa).Addr)
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port(&sa))), 0
}

// inet4 is the address as one of IPv4, for which it has room.
func inet4(sa *unix.RawSockaddrInet6) *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
}

// port is the address's port, in network order; that of IPv4 is in the same place.
func port(sa *unix.RawSockaddrInet6) []byte { return (*[2]byte)(unsafe.Pointer(&sa.Port))[:] }
