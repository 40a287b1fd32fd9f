package resolve

import (
	"net"
	"time"
)

// maxDatagram is more than we offer to take, so that a longer datagram does
// not become a shorter one unnoticed.
const maxDatagram = 4096

// A receive takes one datagram into a buffer.
type receive func(buf []byte) (received, error)

// A received is a datagram that was taken.
type received struct {
	packet []byte
	at     time.Time     // when we had it, by our clock
	delay  time.Duration // how long it had waited for us by then; 0 if the kernel does not say
}

// unstamped returns a receiver for what the kernel does not stamp.
func unstamped(conn net.Conn) receive {
	return func(buf []byte) (received, error) {
		n, err := conn.Read(buf)
		return received{packet: buf[:max(n, 0)], at: time.Now()}, err
	}
}
