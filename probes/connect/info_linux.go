package connect

import (
	"net"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/probes"
)

// info reads TCP_INFO. Right after connecting, its smoothed round trip time is
// the one sample there is: that of the handshake, measured by the kernel
// (p99 error 0.1 to 0.25 ms under load, where clocks of processes are 8 to
// 66 ms off). Where the SYN was sent again it is the time of the last one
// only, so it is not taken.
func info(conn net.Conn, d *Detail) {
	var i unix.TCPInfo
	if !probes.TCPInfo(conn, &i) {
		return
	}
	d.MSS, d.PMTU, d.Retried = i.Snd_mss, i.Pmtu, i.Total_retrans
	if i.Rtt > 0 && i.Total_retrans == 0 {
		d.RTT, d.Kernel = time.Duration(i.Rtt)*time.Microsecond, true
	}
}
