package probes

import (
	"net/netip"
	"testing"
	"time"
)

type toy struct{ closed bool }

func (t *toy) Close() error { t.closed = true; return nil }

func (*toy) hangUp(Network) bool { return true }

var (
	four  = netip.MustParseAddrPort("10.0.1.17:443")
	six   = netip.MustParseAddrPort("[fd00::17]:443")
	local = netip.MustParseAddrPort("[fe80::1%eth0]:53")
)

// Sockets come back to where they fit, the one used last first.
func TestPool(t *testing.T) {
	var p Pool[*toy]
	old, young, other, zoned := new(toy), new(toy), new(toy), new(toy)
	p.Put(nil, old, four)
	p.Put(nil, young, four)
	p.Put(nil, other, six)
	p.Put(nil, zoned, local)
	if !zoned.closed || p.Len() != 3 {
		t.Errorf("%d are kept, that of an address with a zone closed: %t", p.Len(), zoned.closed)
	}
	for i, want := range []*toy{young, old, nil} {
		if got, ok := p.Take(four); got != want || ok != (want != nil) {
			t.Errorf("%d: %p, want %p", i, got, want)
		}
	}
	if _, ok := p.Take(local); ok {
		t.Error("a socket for any address was given for one with a zone")
	}
	if got, ok := p.Take(six); got != other || !ok {
		t.Errorf("%p for IPv6, want %p", got, other)
	}
}

// What was not needed for long goes, one with each that comes; and there are
// never more than so many.
func TestPoolIsBounded(t *testing.T) {
	var p Pool[*toy]
	first := new(toy)
	p.Put(nil, first, four)
	for range maxSpare {
		p.Put(nil, new(toy), four)
	}
	if p.Len() != maxSpare || !first.closed {
		t.Errorf("%d are kept, the oldest closed: %t; want %d", p.Len(), first.closed, maxSpare)
	}
	idle := p.spare[0].socket
	p.spare[0].since = time.Now().Add(-spareLife - time.Second)
	taken, _ := p.Take(four)
	if p.Put(nil, taken, four); !idle.closed || p.Len() != maxSpare-1 {
		t.Errorf("%d are kept, the idle one closed: %t", p.Len(), idle.closed)
	}
}
