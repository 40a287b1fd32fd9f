package probes

import (
	"net/netip"
	"testing"
	"time"
)

var direct = Host().Network

// A toy is connected from an address.
type toy struct {
	netip.AddrPort
	closed bool
}

func (t *toy) Close() error { t.closed = true; return nil }

func (*toy) hangUp() bool { return true }

func (*toy) finish() bool { return true }

func (*toy) finished() bool { return true }

func (t *toy) from() netip.Addr { return t.Addr() }

func from(addr netip.AddrPort) *toy { return &toy{AddrPort: addr} }

var (
	four  = netip.MustParseAddrPort("10.0.1.17:443")
	six   = netip.MustParseAddrPort("[fd00::17]:443")
	local = netip.MustParseAddrPort("[fe80::1%eth0]:53")
)

// Sockets come back to where they fit, the one used last first.
func TestPool(t *testing.T) {
	var p Pool[*toy]
	old, young, other, zoned := from(four), from(four), from(six), from(local)
	for _, s := range []*toy{old, young, other, zoned} {
		p.Put(s)
	}
	if !zoned.closed || p.Len() != 3 {
		t.Errorf("%d are kept, that of an address with a zone closed: %t", p.Len(), zoned.closed)
	}
	for i, want := range []*toy{young, old, nil} {
		if got, to, ok := p.Take(direct, four); got != want || to != four || ok != (want != nil) {
			t.Errorf("%d: %p to %v, want %p", i, got, to, want)
		}
	}
	if _, _, ok := p.Take(direct, local); ok {
		t.Error("a socket for any address was given for one with a zone")
	}
	if _, _, ok := p.Take(nil, six); ok {
		t.Error("a socket was given for a network that does not say where its addresses lead")
	}
	if got, _, ok := p.Take(direct, six); got != other || !ok {
		t.Errorf("%p for IPv6, want %p", got, other)
	}
}

// What was not needed for long goes, a few with each that comes.
func TestPoolSheds(t *testing.T) {
	var p Pool[*toy]
	var all []*toy
	for range 3 * maxShed {
		all = append(all, from(four))
		p.Put(all[len(all)-1])
	}
	if p.Len() != len(all) {
		t.Fatalf("of %d, %d are kept", len(all), p.Len())
	}
	closed := func() (n int) {
		for _, s := range all {
			if s.closed {
				n++
			}
		}
		return n
	}
	idle := maxShed + 1
	for i := range p.spare[:idle] {
		p.spare[i].since = time.Now().Add(-spareLife - time.Second)
	}
	for _, want := range []int{maxShed, idle, idle} {
		taken, _, _ := p.Take(direct, four)
		p.Put(taken)
		if closed() != want || p.Len() != len(all)-want || all[idle].closed {
			t.Errorf("%d are closed and %d kept, want %d and %d", closed(), p.Len(), want, len(all)-want)
		}
	}
}

// There are never more than so many.
func TestPoolIsBounded(t *testing.T) {
	var p Pool[*toy]
	first := from(four)
	p.Put(first)
	for range maxSpare {
		p.Put(from(four))
	}
	if p.Len() != maxSpare || !first.closed {
		t.Errorf("%d are kept, the oldest closed: %t; want %d", p.Len(), first.closed, maxSpare)
	}
}
