//go:build !linux

package resolve

import "vpcprobe/probes"

func receiver(conn *probes.Socket) receive { return unstamped(conn) }
