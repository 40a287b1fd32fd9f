//go:build linux

package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpcprobe/probes"
)

// direct is a machine with sockets of its own, one of which has served.
func direct(t *testing.T) *machine {
	t.Helper()
	m := &machine{network: probes.Host().Network, speaks: speaks}
	real, _ := open(t)
	if o := m.call(t.Context(), laneTo(real)); o.Outcome != probes.OK || m.sockets.Len() != 1 {
		t.Fatalf("%s (%v), %d sockets kept, want one", o.Outcome, o.Err, m.sockets.Len())
	}
	return m
}

func laneTo(real string) probes.Lane {
	return probes.Lane{Via: probes.ViaPrivateDNS, ServerName: "a.example", Addr: netip.MustParseAddrPort(real)}
}

// A socket that serves again sees and says what a fresh one does.
func TestSocketsThatServeAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		peer peer
		want probes.Outcome
		kept int
	}{
		{"open", open, probes.OK, 1},
		{"a server that speaks first", greeting, probes.OK, 1},
		{"nothing listens", refusing, probes.Refused, 0},
		{"accepted, then reset", resetting, probes.Reset, 0},
		{"accepted, then closed", hangingUp, probes.Closed, 0},
		{"silent", silent, probes.Timeout, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			real, _ := tt.peer(t)
			m := direct(t)
			m.rest = func(until time.Time) bool { // the other waits by a deadline
				time.Sleep(time.Until(until))
				return true
			}
			ctx := probes.Within(t.Context(), 400*time.Millisecond)
			again, fresh := m.call(ctx, laneTo(real)), (&machine{network: m.network}).call(probes.Within(t.Context(), 400*time.Millisecond), laneTo(real))
			if again.Outcome != tt.want || fresh.Outcome != tt.want {
				t.Errorf("%s (%v), a fresh one %s (%v); want %s", again.Outcome, again.Err, fresh.Outcome, fresh.Err, tt.want)
			}
			same := say(again.Err) == say(fresh.Err) || tt.want == probes.Reset // which may be seen while connecting, or after
			if !same || strings.Contains(say(again.Err), "->") {
				t.Errorf("%v, a fresh one %v; want the same, without the socket's own port", again.Err, fresh.Err)
			}
			if m.sockets.Len() != tt.kept {
				t.Errorf("%d sockets are kept, want %d", m.sockets.Len(), tt.kept)
			}
			a, f := Of(again), Of(fresh)
			if tt.name == "open" && (a.MSS != f.MSS || a.PMTU != f.PMTU || !a.Kernel || a.Local.Addr() != f.Local.Addr() || a.Local == f.Local) {
				t.Errorf("%+v, a fresh one %+v", a, f)
			}
		})
	}
}

func say(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Each connection comes from a port of its own and is reset; one socket makes
// them all.
func TestEachConnectionHasItsOwnPort(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		if l, err := net.Listen("tcp", address); err != nil {
			t.Logf("SKIP %s: %v", address, err)
			continue
		} else {
			l.Close()
		}
		type end struct {
			port uint16
			err  error
		}
		const n = 8
		ends := make(chan end, n)
		real, _ := acceptingAt(t, address, func(conn *net.TCPConn) {
			_, err := io.Copy(io.Discard, conn)
			ends <- end{probes.AddrPortOf(conn.RemoteAddr()).Port(), err}
		})
		m := &machine{network: probes.Host().Network}
		seen := map[uint16]bool{}
		for range n {
			o := m.call(t.Context(), laneTo(real))
			if o.Outcome != probes.OK || m.sockets.Len() != 1 {
				t.Fatalf("%s (%v), %d sockets kept", o.Outcome, o.Err, m.sockets.Len())
			}
			e := <-ends
			if !errors.Is(e.err, syscall.ECONNRESET) {
				t.Errorf("%s: ended by %v, want a reset", address, e.err)
			}
			seen[e.port] = true
		}
		if len(seen) < n-1 { // of some 28,000, by chance
			t.Errorf("%s: %d connections came from %d ports", address, n, len(seen))
		}
	}
}

// Each connection that a round carries on comes from a port of its own and is
// finished; one socket makes them all, and those on which nothing is said.
func TestCarriedConnections(t *testing.T) {
	const n = 8
	ends := make(chan error, n)
	ports := make(chan uint16, n)
	real, _ := acceptingAt(t, "127.0.0.1:0", func(conn *net.TCPConn) {
		ports <- probes.AddrPortOf(conn.RemoteAddr()).Port()
		_, err := io.Copy(io.Discard, conn)
		conn.Close()
		ends <- err
	})
	m := &machine{network: probes.Host().Network, speaks: speaks}
	p := &probe{m, time.Second}
	seen := map[uint16]bool{}
	for i := range n {
		line := &probes.Line{Lane: laneTo(real), More: true}
		o := p.Probe(t.Context(), probes.Evidence{}, line)[0]
		if o.Outcome != probes.OK {
			t.Fatalf("%s (%v)", o.Outcome, o.Err)
		}
		port, want := <-ports, error(nil)
		seen[port] = true
		if d := Of(o); !d.Kernel || d.Local.Port() != port || d.Local != probes.AddrPortOf(line.Conn.LocalAddr()) {
			t.Errorf("%+v, the connection is from %v; the server saw port %d", d, line.Conn.LocalAddr(), port)
		}
		if i%2 == 0 {
			line.Conn.Write([]byte("hello"))
		} else {
			want = syscall.ECONNRESET
		}
		line.Close()
		if err := <-ends; !errors.Is(err, want) {
			t.Errorf("ended by %v, want %v", err, want)
		}
		for deadline := time.Now().Add(10 * time.Second); m.sockets.Len() == 0; time.Sleep(time.Millisecond) {
			if s, _, ok := m.sockets.Take(m.network, line.Addr); ok {
				m.sockets.Put(s)
			} else if time.Now().After(deadline) {
				t.Fatal("the socket did not come back")
			}
		}
		if m.sockets.Len() != 1 {
			t.Errorf("%d sockets are kept, want 1", m.sockets.Len())
		}
	}
	if len(seen) < n-1 { // of some 28,000, by chance
		t.Errorf("%d connections came from %d ports", n, len(seen))
	}
}

// A walk that is given up while its socket connects ends then, and the socket is
// not used again.
func TestGivenUpWhileConnectingAgain(t *testing.T) {
	real, _ := silent(t)
	m := direct(t)
	ctx, cancel := context.WithCancel(t.Context())
	soon := time.Until(probes.Briefly(time.Now(), time.Time{}))
	time.AfterFunc(3*soon, cancel)
	if o := m.call(ctx, laneTo(real)); o.Outcome != probes.Aborted || m.sockets.Len() != 0 {
		t.Errorf("%s (%v), %d sockets kept; want aborted and none", o.Outcome, o.Err, m.sockets.Len())
	}
}

// A network that is not the machine's own makes every connection.
func TestOtherNetworksMakeEveryConnection(t *testing.T) {
	rest := func(time.Time) bool { t.Error("it rests, and would not see how the connection ended"); return true }
	m := &machine{network: world{a1: open}.network(t), speaks: speaks, rest: rest}
	for range 3 {
		if o := m.call(t.Context(), probes.Lane{Addr: netip.AddrPortFrom(a1, 443)}); o.Outcome != probes.OK || m.sockets.Len() != 0 {
			t.Errorf("%s (%v), %d sockets kept; want none", o.Outcome, o.Err, m.sockets.Len())
		}
	}
}

// A wait that must not outlast the walk, or is long, does not rest.
func TestWhoDoesNotRest(t *testing.T) {
	for _, tt := range []struct {
		name string
		left time.Duration
		rtt  time.Duration
		want bool
	}{
		{"a nearby peer", 10 * time.Second, time.Millisecond, true},
		{"a walk that ends soon", minPatience + probes.Grid/2, time.Millisecond, false},
		{"a peer far away", 10 * time.Second, probes.Brief/2 + 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			real, _ := open(t)
			rested := false
			m := &machine{network: probes.Host().Network, rest: func(time.Time) bool { rested = true; return true }}
			s, o := m.dial(t.Context(), laneTo(real))
			if s == nil {
				t.Fatal(o.Err)
			}
			defer s.Close()
			if got, err := m.linger(probes.Within(t.Context(), tt.left), s, laneTo(real).Addr, tt.rtt); got != probes.OK || rested != tt.want {
				t.Errorf("%s (%v), it rested: %t; want ok and %t", got, err, rested, tt.want)
			}
		})
	}
}
