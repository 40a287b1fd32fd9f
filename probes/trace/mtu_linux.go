package trace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vpcprobe/probes"
)

// ProbeMTU finds out in two round trips and a retransmission whether large
// packets to and from dst vanish, and from which size on. It makes TLS
// handshakes in parallel whose segments are limited to different sizes; the
// client hello is padded so that each sends one full segment and a small one.
// In a black hole only the full one is lost: the small one is acknowledged
// selectively, which the kernel tells.
//
// Path MTU discovery as tracepath does it waits for an ICMP message that says
// "too big", and a black hole is where there is none. VPC endpoints never send
// one (AWS PrivateLink guide, vpc-limits-endpoints: MTU 8500, larger packets are
// dropped, path MTU discovery is not supported).
//
// The handshakes verify nothing and send nothing; the connections are reset.
// An error means that it could not be tried at all.
func ProbeMTU(ctx context.Context, dst netip.AddrPort, serverName string) (*MTUResult, error) {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	device, err := deviceMTU(dst)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	r := &MTUResult{Target: dst, DeviceMTU: device}
	extra := overhead(dst.Addr())
	r.sweep(ctx, serverName, sizes(min(device, maxPacket)-extra))
	r.judge(1)
	if r.BlackHole {
		// A suspicion, no more. The second round tries the sizes between the
		// largest that passed and the smallest that did not, and those that
		// failed once more: loss hardly hits the same ones again.
		r.sweep(ctx, serverName, append(slices.DeleteFunc(between(r.Passing-extra, r.Vanishing-extra), r.tried), r.failed()...))
		r.judge(enough)
	}
	r.Took = Milliseconds(time.Since(start))
	return r, nil
}

const (
	maxPacket  = 9001            // the largest MTU in EC2; the loopback device has more
	tryTimeout = 2 * time.Second // of one handshake; a black hole is seen long before

	// verdictTime is what a black hole takes to show: a retransmission, which
	// Linux sends after 200 ms at the earliest, and two round trips.
	verdictTime = 450 * time.Millisecond
)

// sweep tries all sizes at once. It does not wait for the last
// ones long after most are done: where the server's answer happens to fill
// its segments to the brim, there is no small one behind them that would show
// what is missing.
func (r *MTUResult) sweep(ctx context.Context, serverName string, sizes []int) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	start := time.Now()
	done := make(chan MTUTry)
	for _, mss := range sizes {
		go func() { done <- tryMSS(ctx, r.Target, serverName, mss) }()
	}
	for n := range sizes {
		try := <-done
		i, _ := slices.BinarySearchFunc(r.Tries, try.MSS, func(t MTUTry, mss int) int { return mss - t.MSS }) // largest first
		r.Tries = slices.Insert(r.Tries, i, try)
		if n == len(sizes)/2 {
			late := time.AfterFunc(verdictTime+time.Since(start), cancel)
			defer late.Stop()
		}
	}
}

// deviceMTU asks the kernel for the MTU of the route to dst; nothing is sent.
func deviceMTU(dst netip.AddrPort) (int, error) {
	s, err := openSocket(dst.Addr().Is6(), true, 0)
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := unix.Connect(s.fd, sockaddr(dst)); err != nil {
		return 0, fmt.Errorf("route to %s: %w", dst.Addr(), err)
	}
	if s.v6 {
		return unix.GetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU)
	}
	return unix.GetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU)
}

// tryMSS makes one handshake with segments of at most mss bytes.
func tryMSS(ctx context.Context, dst netip.AddrPort, serverName string, mss int) (t MTUTry) {
	t = MTUTry{MSS: mss, ToServer: Unknown, FromServer: Unknown}
	start := time.Now()
	defer func() { t.Took = Milliseconds(time.Since(start)) }()
	conn, err := dialMSS(ctx, dst, mss)
	if err != nil {
		t.Error = err.Error()
		return t
	}
	defer conn.Close()
	// Not HandshakeContext: that closes the connection when it is interrupted,
	// and with it the counters to be read.
	interrupt := func() { conn.SetDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, interrupt)()
	first, _ := ReadSegments(conn)
	t.Effective = first.MSS

	client := tls.Client(conn, helloOf(serverName, first.MSS+300))
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	direction, missing, err := watch(conn, first, done)
	if missing { // the handshake is still waiting, and would in vain
		interrupt()
		<-done
	}
	t.conclude(conn, direction, missing, err)
	return t
}

// conclude reads the kernel's counters once more.
func (t *MTUTry) conclude(conn net.Conn, direction Direction, missing bool, err error) {
	s, _ := ReadSegments(conn)
	t.PathMTU, t.Evidence = s.PathMTU, s.String()
	if s.MSS > 0 {
		t.Effective = s.MSS
	}
	_, alert := errors.AsType[tls.AlertError](err)
	switch {
	case missing && direction == ToServer:
		t.ToServer = Vanishes
	case missing:
		t.ToServer, t.FromServer = Passes, Vanishes
	case err == nil:
		t.ToServer, t.FromServer = Passes, Passes
	case alert, s.Received > 0:
		t.ToServer = Passes // the server read our hello, and answered
		t.Error = err.Error()
	default:
		t.Error = err.Error()
	}
}

// dialMSS connects with segments limited both ways: the option tells the peer
// as well. MPTCP, which has segment limits of its own, stays off, and closing
// resets the connection.
func dialMSS(ctx context.Context, dst netip.AddrPort, mss int) (*net.TCPConn, error) {
	d := net.Dialer{ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
		}); e != nil {
			return e
		}
		return err
	}}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", dst.String())
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	return tcp, tcp.SetLinger(0)
}

// helloOf makes the client hello at least so many bytes long: the protocol
// names that it is padded with are valid, and nobody selects them. The key
// exchange is the classical one, whose key share is small, so that a full
// segment is followed by a small one and not by further full ones.
func helloOf(serverName string, bytes int) *tls.Config {
	protocols := []string{"http/1.1"}
	for i := 0; bytes > 0; i++ {
		n := min(bytes, 250)
		protocols = append(protocols, fmt.Sprintf("x-pad-%03d-%s", i, strings.Repeat("x", max(n-10, 1))))
		bytes -= n + 1
	}
	return &tls.Config{
		ServerName:         serverName,
		InsecureSkipVerify: true, // nothing is sent over it, and nothing believed
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256},
		NextProtos:         protocols,
	}
}

// watch looks at the connection four times per round trip until the handshake
// is done, or until the same segment has been missing for two round trips.
func watch(conn net.Conn, first Segments, done <-chan error) (d Direction, missing bool, err error) {
	const stuck = 8 // looks in a row
	tick := time.NewTicker(max(time.Duration(first.RTT)/4, 2*time.Millisecond))
	defer tick.Stop()
	for seen := 0; seen < stuck; {
		select {
		case err := <-done:
			return "", false, err
		case <-tick.C:
		}
		now, _ := ReadSegments(conn)
		direction, missing := now.Missing()
		if !missing || direction != d || now.MSS != first.MSS { // a smaller MSS: the kernel has learned, and tries again
			seen = 0
		}
		if missing {
			seen++
		}
		d = direction
	}
	return d, true, nil
}

// ReadSegments reads what the kernel knows about a TCP connection's segments;
// false if it is none, or the system is not Linux.
func ReadSegments(conn net.Conn) (Segments, bool) {
	var info unix.TCPInfo
	if !probes.TCPInfo(conn, &info) {
		return Segments{}, false
	}
	return Segments{
		MSS: int(info.Snd_mss), PathMTU: int(info.Pmtu), RTT: Milliseconds(time.Duration(info.Rtt) * time.Microsecond),
		Acked:  int(max(info.Bytes_acked, 1) - 1), // it counts the SYN
		Sacked: int(info.Sacked), Retransmits: int(info.Total_retrans),
		Received: int(info.Bytes_received), OutOfOrder: int(info.Rcv_ooopack),
	}, true
}
