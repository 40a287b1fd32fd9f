//go:build linux

package connect

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/probes"
	"vpcprobe/probes/resolve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A peer is what is at an address: it returns the loopback address that really
// behaves so, or what the kernel says at once.
type peer func(t *testing.T) (real string, err error)

// world is a network of peers, by the addresses that the target knows.
type world map[netip.Addr]peer

// network starts the peers.
func (w world) network(t *testing.T) routes {
	t.Helper()
	r := routes{}
	for address, p := range w {
		real, err := p(t)
		r[address] = route{real, err}
	}
	return r
}

type route struct {
	real string
	err  error
}

type routes map[netip.Addr]route

func (r routes) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, ok := r[netip.MustParseAddrPort(address).Addr()]
	if !ok {
		to.err = syscall.EHOSTUNREACH
	}
	if to.err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: to.err}
	}
	return new(net.Dialer).DialContext(ctx, network, to.real)
}

// accepting is a server that does the same with every connection.
func accepting(t *testing.T, do func(*net.TCPConn)) (real string, err error) {
	t.Helper()
	return acceptingAt(t, "127.0.0.1:0", do)
}

func acceptingAt(t *testing.T, address string, do func(*net.TCPConn)) (real string, err error) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); do(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String(), nil
}

// hold keeps the connection until the other side ends it.
func hold(conn *net.TCPConn) { conn.Read(make([]byte, 1)) }

func open(t *testing.T) (string, error) { return accepting(t, hold) }

func greeting(t *testing.T) (string, error) {
	return accepting(t, func(conn *net.TCPConn) { conn.Write([]byte("220 hello\r\n")); hold(conn) })
}

func resetting(t *testing.T) (string, error) {
	return accepting(t, func(conn *net.TCPConn) { conn.SetLinger(0) })
}

func hangingUp(t *testing.T) (string, error) { return accepting(t, func(*net.TCPConn) {}) }

// refusing is a port on which nothing listens.
func refusing(t *testing.T) (string, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// silent is a listener whose backlog is full: the kernel drops every further
// SYN, as a security group does.
func silent(t *testing.T) (string, error) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	real := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	conn, err := net.Dial("tcp", real)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return real, nil
}

// saying is an address for which the kernel has an error at once.
func saying(errno syscall.Errno) peer {
	return func(*testing.T) (string, error) { return "", errno }
}

func orders() *probes.Target {
	return &probes.Target{
		Name:   "orders",
		Kind:   probes.PrivateAPI,
		API:    "a1b2c3d4e5",
		Region: "eu-west-1",
		Settings: &probes.Settings{
			Via: []probes.Via{probes.ViaPrivateDNS},
			Endpoint: probes.Endpoint{
				ID:        "vpce-0a1b2c3d4e5f67890",
				Addresses: []netip.Addr{a1, a2},
			},
			Port:    443,
			Timeout: 5 * time.Second,
		},
	}
}

var (
	a1      = netip.MustParseAddr("10.0.1.17")
	a2      = netip.MustParseAddr("10.0.2.23")
	a6      = netip.MustParseAddr("fd00::17")
	odd     = netip.MustParseAddr("10.0.9.9")
	foreign = netip.MustParseAddr("203.0.113.7")
)

// walk connects on every lane, as the agent does, side by side.
func walk(t *testing.T, target *probes.Target, network probes.Network, answers ...netip.Addr) probes.Evidence {
	t.Helper()
	seen := probes.Evidence{Target: target}.With("resolve", answering(target, answers))
	seen.Lanes = resolve.Lanes(seen)
	probe, err := Kind.New(probes.System{Network: network})(target)
	if err != nil {
		t.Fatal(err)
	}
	obs := make([]probes.Observation, len(seen.Lanes))
	var wg sync.WaitGroup
	for i, lane := range seen.Lanes {
		wg.Go(func() {
			line := &probes.Line{Lane: lane}
			defer line.Close()
			obs[i] = probe.Probe(t.Context(), seen, line)[0]
		})
	}
	wg.Wait()
	return seen.With(name, obs)
}

// answering is what a resolver said of each name of the target.
func answering(target *probes.Target, answers []netip.Addr) []probes.Observation {
	var obs []probes.Observation
	for form := range target.Forms() {
		d := &resolve.Detail{Transport: resolve.OverUDP, Rcode: "NOERROR", Comparison: new(resolve.Comparison)}
		for _, a := range answers {
			d.Answers = append(d.Answers, resolve.Answer{Addr: a, TTL: 60})
			if len(target.Endpoint.Addresses) > 0 && !slices.Contains(target.Endpoint.Addresses, a) {
				d.Unexpected = append(d.Unexpected, a)
			}
		}
		o := probes.Observation{Via: form.Via, Name: form.Name, Outcome: probes.OK, Detail: d}
		if len(d.Unexpected) > 0 {
			o.Outcome = probes.Elsewhere
		}
		obs = append(obs, o)
	}
	return obs
}
