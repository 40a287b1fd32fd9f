package resolve

import (
	"net"
	"time"
)

// maxDatagram is more than we offer to take, so that a longer datagram does
// not become a shorter one unnoticed.
const maxDatagram = 4096

// unstamped returns a receiver for what the kernel does not stamp.
func unstamped(conn net.Conn) func([]byte) ([]byte, time.Duration, error) {
	return func(buf []byte) ([]byte, time.Duration, error) {
		n, err := conn.Read(buf)
		return buf[:max(n, 0)], 0, err
	}
}
