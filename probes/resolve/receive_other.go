//go:build !linux

package resolve

import (
	"net"
	"time"
)

func receiver(conn net.Conn, buf []byte) func() ([]byte, time.Duration, error) {
	return unstamped(conn, buf)
}
