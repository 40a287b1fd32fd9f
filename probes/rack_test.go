package probes

import (
	"net/netip"
	"testing"
	"time"
)

type toy struct{ closed bool }

func (t *toy) Close() error { t.closed = true; return nil }

var (
	four  = netip.MustParseAddrPort("10.0.1.17:443")
	six   = netip.MustParseAddrPort("[fd00::17]:443")
	local = netip.MustParseAddrPort("[fe80::1%eth0]:53")
)

// Sockets come back to where they fit, the one used last first.
func TestRack(t *testing.T) {
	var r Rack[*toy]
	old, young, other, zoned := new(toy), new(toy), new(toy), new(toy)
	r.Put(old, four)
	r.Put(young, four)
	r.Put(other, six)
	r.Put(zoned, local)
	if !zoned.closed || r.Len() != 3 {
		t.Errorf("%d are kept, that of an address with a zone closed: %t", r.Len(), zoned.closed)
	}
	for i, want := range []*toy{young, old, nil} {
		if got, ok := r.Take(four); got != want || ok != (want != nil) {
			t.Errorf("%d: %p, want %p", i, got, want)
		}
	}
	if _, ok := r.Take(local); ok {
		t.Error("a socket for any address was given for one with a zone")
	}
	if got, ok := r.Take(six); got != other || !ok {
		t.Errorf("%p for IPv6, want %p", got, other)
	}
}

// What was not needed for long goes, one with each that comes; and there are
// never more than so many.
func TestRackIsBounded(t *testing.T) {
	var r Rack[*toy]
	first := new(toy)
	r.Put(first, four)
	for range maxSpare {
		r.Put(new(toy), four)
	}
	if r.Len() != maxSpare || !first.closed {
		t.Errorf("%d are kept, the oldest closed: %t; want %d", r.Len(), first.closed, maxSpare)
	}
	idle := r.spare[0].socket
	r.spare[0].since = time.Now().Add(-spareLife - time.Second)
	taken, _ := r.Take(four)
	if r.Put(taken, four); !idle.closed || r.Len() != maxSpare-1 {
		t.Errorf("%d are kept, the idle one closed: %t", r.Len(), idle.closed)
	}
}
