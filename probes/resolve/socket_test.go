package resolve

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// A counterpart answers questions, or as its say says, and remembers from which
// ports they came.
type counterpart struct {
	net.PacketConn
	mu    sync.Mutex
	ports []uint16
}

// counter starts a server on an address of loopback; say returns what it sends
// back for a question.
func counter(t *testing.T, address string, say func(question []byte) [][]byte) *counterpart {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Skipf("SKIP: %v", err) // a machine without IPv6
	}
	c := &counterpart{PacketConn: conn}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.ports = append(c.ports, from.(*net.UDPAddr).AddrPort().Port())
			c.mu.Unlock()
			for _, packet := range say(buf[:n]) {
				conn.WriteTo(packet, from)
			}
		}
	}()
	return c
}

func (c *counterpart) addr() netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func (c *counterpart) seen() []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ports)
}

func answered(question []byte) [][]byte {
	m := new(dns.Msg)
	if m.Unpack(question) != nil {
		return nil
	}
	packed, _ := new(dns.Msg).SetReply(m).Pack()
	return [][]byte{packed}
}

// put asks a server once.
func put(t *testing.T, from *client, server netip.AddrPort) *question {
	t.Helper()
	q := &question{from: from, server: server, name: "api.example.com.", qtype: dns.TypeA}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	ask(ctx, []*question{q})
	return q
}

// A socket that serves again does so from another port, to whichever server: to
// the network it is a new one.
func TestEachQuestionHasItsOwnPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: sockets are not used again here")
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		from := &client{System: probes.Host()}
		one, two := counter(t, address, answered), counter(t, address, answered)
		for range 20 {
			for _, s := range []*counterpart{one, two} {
				if q := put(t, from, s.addr()); q.err != nil || q.reply.stray != 0 {
					t.Fatalf("%s: %v, %d stray", address, q.err, q.reply.stray)
				}
			}
		}
		if n := from.sockets.Len(); n != 1 {
			t.Errorf("%s: %d sockets were made, want 1", address, n)
		}
		ports := slices.Concat(one.seen(), two.seen())
		slices.Sort(ports)
		if distinct := len(slices.Compact(ports)); distinct < 38 { // of 40, from some 28,000
			t.Errorf("%s: 40 questions came from %d ports", address, distinct)
		}
	}
}

// What is left of a question does not reach the next one: a socket that brought
// more than one reply, or none, is not used again.
func TestSocketsThatBroughtMoreAreNotUsedAgain(t *testing.T) {
	from := &client{System: probes.Host()}
	twice := counter(t, "127.0.0.1:0", func(q []byte) [][]byte { return slices.Concat(answered(q), answered(q)) })
	noise := counter(t, "127.0.0.1:0", func(q []byte) [][]byte { return append([][]byte{[]byte("noise")}, answered(q)...) })
	if q := put(t, from, noise.addr()); q.err != nil || q.reply.stray != 1 {
		t.Errorf("%v, %d stray; want 1", q.err, q.reply.stray)
	}
	if n := from.sockets.Len(); n != 0 {
		t.Errorf("%d sockets are kept that got what was not their reply", n)
	}
	for range 50 {
		if q := put(t, from, twice.addr()); q.err != nil || q.reply.stray != 0 {
			t.Fatalf("%v, %d stray; want none", q.err, q.reply.stray)
		}
	}
}

// A port where nobody listens is refused, and the error names it rather than the
// server that the socket asked before; the socket is not used again.
func TestErrorsOfSocketsThatServeAgainNameTheServer(t *testing.T) {
	from := &client{System: probes.Host()}
	good := counter(t, "127.0.0.1:0", answered)
	gone := counter(t, "127.0.0.1:0", answered)
	nobody := gone.addr()
	gone.Close()
	put(t, from, good.addr())
	q := put(t, from, nobody)
	if probes.Classify(q.err) != probes.Refused || !strings.Contains(q.err.Error(), nobody.String()) || strings.Contains(q.err.Error(), good.addr().String()) {
		t.Errorf("%v; want %v, refused", q.err, nobody)
	}
	if n := from.sockets.Len(); n != 0 {
		t.Errorf("%d sockets are kept that were refused", n)
	}
}

// A network that is not the machine's own connects its sockets as it likes.
func TestOtherNetworksMakeEverySocket(t *testing.T) {
	dials := 0
	from := &client{System: probes.System{Network: networkFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, address)
	})}}
	server := counter(t, "127.0.0.1:0", answered)
	for range 3 {
		if q := put(t, from, server.addr()); q.err != nil {
			t.Fatal(q.err)
		}
	}
	if dials != 3 || from.sockets.Len() != 0 {
		t.Errorf("%d dials for 3 questions, %d sockets kept", dials, from.sockets.Len())
	}
}

type networkFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f networkFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}
