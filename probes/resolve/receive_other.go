//go:build !linux

package resolve

import (
	"time"

	"vpcprobe/probes"
)

func receiver(conn *probes.Socket) func([]byte) ([]byte, time.Duration, error) {
	return unstamped(conn)
}
