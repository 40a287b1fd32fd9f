//go:build !linux

package resolve

import (
	"net"
	"time"
)

func receiver(conn net.Conn) func([]byte) ([]byte, time.Duration, error) {
	return unstamped(conn)
}
