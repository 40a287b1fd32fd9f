package metrics_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/agent"
	"vpcprobe/agent/metrics"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// What is kept of a target that is resolved and connected to, once it has been
// walked: its configuration, schedule, latest round and counters.
func TestMemoryOfWalkedTargets(t *testing.T) {
	const n = 2000
	path := filepath.Join(t.TempDir(), "many.yaml")
	if err := os.WriteFile(path, []byte(many(n)), 0o600); err != nil {
		t.Fatal(err)
	}
	a, m := walkedAll(t, path) // what is made once for all is there after that
	runtime.KeepAlive(m)
	runtime.KeepAlive(a)
	a, m = nil, nil
	before := heapInUse()
	a, m = walkedAll(t, path)
	each := int(heapInUse()-before) / n
	t.Logf("%d bytes a target", each)
	if each > 1920 {
		t.Errorf("%d bytes a target", each)
	}
	for _, r := range a.Status() {
		if r.Verdict != agent.Reachable || len(r.Evidence.Kinds()) != 2 {
			t.Fatalf("%s is %s: %+v", r.Evidence.Target.Name, r.Verdict, r)
		}
	}
	runtime.KeepAlive(m)
}

// many is a file of n targets that have their settings in common.
func many(n int) string {
	var b strings.Builder
	b.WriteString("every: 10s\ntargets:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {name: t%05d, kind: custom-domain, domain: t%05[1]d.example.com, resolvers: ['10.0.0.2:53'], kinds: [resolve, connect]}\n", i)
	}
	return b.String()
}

// walkedAll loads the targets and walks them for some rounds.
func walkedAll(t *testing.T, path string) (a *agent.Agent, m *metrics.Metrics) {
	loaded, err := config.Load(config.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	m = metrics.New(all.Kinds, metrics.Options{})
	synctest.Test(t, func(t *testing.T) {
		if a, err = agent.New(loaded.Targets, all.Kinds, probes.System{Network: open{}}, agent.Options{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 31*time.Second)
		defer cancel()
		a.Run(ctx, m)
	})
	return a, m
}

// open is a network in which every name has an address of its own, and every
// address accepts.
type open struct{}

func (open) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		packet := make([]byte, 1500)
		for {
			n, err := theirs.Read(packet)
			if err != nil {
				return
			}
			theirs.Write(answer(packet[:n]))
		}
	}()
	return ours, nil
}

// answer answers a question for an IPv4 address with one, any other with none.
func answer(packet []byte) []byte {
	q, r := new(dns.Msg), new(dns.Msg)
	if q.Unpack(packet) != nil {
		return nil
	}
	r.SetReply(q)
	var i int
	fmt.Sscanf(q.Question[0].Name, "t%d.", &i)
	if q.Question[0].Qtype == dns.TypeA {
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: addr.AsSlice()}}
	}
	packed, _ := r.Pack()
	return packed
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
