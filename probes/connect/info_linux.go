package connect

import (
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// info reads TCP_INFO. Right after connecting, its smoothed round trip time is
// the one sample there is: that of the handshake, measured by the kernel
// (p99 error 0.1 to 0.25 ms under load, where clocks of processes are 8 to
// 66 ms off). Where the SYN was sent again it is the time of the last one
// only, so it is not taken.
func info(conn net.Conn, d *Detail) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		var i unix.TCPInfo // not by unix.GetsockoptTCPInfo, which allocates a twelfth of a connect's garbage
		size := uint32(unsafe.Sizeof(i))
		_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
			uintptr(unsafe.Pointer(&i)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return
		}
		d.MSS, d.PMTU, d.Retried = i.Snd_mss, i.Pmtu, i.Total_retrans
		if i.Rtt > 0 && i.Total_retrans == 0 {
			d.RTT, d.Kernel = time.Duration(i.Rtt)*time.Microsecond, true
		}
	})
}
