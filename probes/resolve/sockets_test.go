package resolve

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// An asking is a question as a server saw it.
type asking struct {
	from string
	id   uint16
}

// noting notes all questions to a handler.
func noting(h dns.Handler) (dns.Handler, <-chan asking) {
	asked := make(chan asking, 100)
	return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked <- asking{w.RemoteAddr().String(), q.Id}
		h.ServeDNS(w, q)
	}), asked
}

// repeated is a probe of the API's name only, that can be run more than once.
func repeated(t *testing.T, net probes.Network) func() probes.Observation {
	t.Helper()
	target := orders()
	target.Timeout = 3 * time.Second
	onlyAddresses(&target)
	probe, err := Kind.New(probes.System{Network: net})(&target)
	if err != nil {
		t.Fatal(err)
	}
	return func() probes.Observation { return probe.Probe(t.Context(), probes.Evidence{Target: &target}, nil)[0] }
}

// counting counts the sockets that are open.
type counting struct {
	probes.Network
	dialed, open atomic.Int64
}

type counted struct {
	*net.UDPConn
	of *counting
}

func (c *counting) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.Network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.dialed.Add(1)
	c.open.Add(1)
	return counted{conn.(*net.UDPConn), c}, nil
}

func (c counted) Close() error {
	c.of.open.Add(-1)
	return c.UDPConn.Close()
}

func TestASocketServesAgainForAMoment(t *testing.T) {
	t.Parallel()
	h, asked := noting(healthy())
	lookUp := repeated(t, network(t, one(h)))
	ports, ids := map[string]bool{}, map[uint16]bool{}
	for range 3 {
		if o := lookUp(); o.Outcome != probes.OK {
			t.Fatalf("%s: %v", o.Outcome, o.Err)
		}
		for range 2 {
			q := <-asked
			ports[q.from], ids[q.id] = true, true
		}
	}
	if len(ports) != 2 || len(ids) < 5 { // of six random ids two may be equal
		t.Errorf("%d ports and %d ids of three lookups in a moment, want 2 and 6", len(ports), len(ids))
	}
}

func TestASocketDoesNotOutliveItsTime(t *testing.T) {
	t.Parallel()
	server := netip.MustParseAddrPort(first)
	c := &counting{Network: network(t, one(healthy()))}
	s := &sockets{net: c, sweeping: true} // the test sweeps
	k, err := s.take(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	s.put(k)
	if again := s.pop(server, k.until.Add(-time.Nanosecond)); again != k {
		t.Fatal("the socket is not there while it may serve")
	}
	s.put(k)
	if again := s.pop(server, k.until); again != nil {
		t.Error("the socket serves after its time")
	}
	k.until = time.Now()
	s.sweep()
	if c.open.Load() != 0 || len(s.free) != 0 || s.sweeping {
		t.Errorf("%d sockets open after their time, %v kept, still sweeping: %v", c.open.Load(), s.free, s.sweeping)
	}
	late, err := s.take(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	late.until = time.Now()
	s.put(late)
	if c.open.Load() != 0 {
		t.Error("a socket that came back after its time is kept")
	}
}

func TestFewSocketsWait(t *testing.T) {
	t.Parallel()
	server := netip.MustParseAddrPort(first)
	c := &counting{Network: network(t, one(healthy()))}
	s := &sockets{net: c}
	var all []*socket
	for range maxFree + 10 {
		k, err := s.dial(t.Context(), server)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	for _, k := range all {
		s.put(k)
	}
	if c.open.Load() != maxFree {
		t.Errorf("%d sockets wait, want %d", c.open.Load(), maxFree)
	}
	for _, k := range all {
		k.until = time.Time{}
	}
	s.sweep()
}

// A flow may lead to a server that is gone while new ones lead to another: what
// only an old socket meets is no finding.
func TestWhatAnOldSocketMeetsIsNoEvidence(t *testing.T) {
	t.Parallel()
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		var heard sync.Map // the ports
		lookUp := repeated(t, network(t, one(dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if _, again := heard.LoadOrStore(w.RemoteAddr().String(), true); !again {
				healthy().ServeDNS(w, q)
			}
		}))))
		for range 2 {
			if o := lookUp(); o.Outcome != probes.OK {
				t.Errorf("%s: %v", o.Outcome, o.Err)
			}
		}
	})
	t.Run("refusal", func(t *testing.T) {
		t.Parallel()
		gone, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &dns.Server{PacketConn: gone, Handler: healthy()}
		ended := make(chan error, 1)
		go func() { ended <- server.ActivateAndServe() }()
		leads := routes{"udp " + first: gone.LocalAddr().String()}
		lookUp := repeated(t, leads)
		if o := lookUp(); o.Outcome != probes.OK {
			t.Fatalf("%s: %v", o.Outcome, o.Err)
		}
		if err := server.Shutdown(); err != nil {
			t.Fatal(err)
		}
		<-ended
		for key, real := range network(t, one(healthy())) {
			leads[key] = real
		}
		if o := lookUp(); o.Outcome != probes.OK || Of(o).course().Resent != 0 {
			t.Errorf("%s, %d sent again: %v", o.Outcome, Of(o).course().Resent, o.Err)
		}
	})
}
