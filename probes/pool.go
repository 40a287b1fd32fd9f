package probes

import (
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	maxSpare  = 4096             // sockets that a pool keeps: as many as were ever useful, at 12,000 connects a second
	spareLife = 10 * time.Second // how long it keeps one that is not needed
	maxShed   = 4                // how many of those it closes at a time
)

// A Pool keeps sockets that were hung up, to be connected again. To make a socket
// and to close it takes a quarter of the CPU time of a cheap probe at the edge.
// The zero Pool is empty. S is a [Socket], or something around one.
type Pool[S reusable] struct {
	mu    sync.Mutex
	spare []spare[S] // the one that was used last is at the end
}

type reusable interface {
	io.Closer
	hangUp() bool
	from() netip.Addr
}

type spare[S reusable] struct {
	socket S
	ipv4   bool
	since  time.Time
}

// family tells sockets apart that cannot connect to each other's addresses. An
// address with a zone has none: its socket is not kept.
func family(addr netip.Addr) (ipv4, ok bool) {
	ipv4 = addr.Unmap().Is4()
	return ipv4, addr.IsValid() && (ipv4 || addr.Zone() == "")
}

// Take returns the socket that was used last of those which can connect to an
// address of the network, and where that leads.
func (p *Pool[S]) Take(network Network, addr netip.AddrPort) (socket S, to netip.AddrPort, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spare) == 0 { // whoever dials then asks where that leads
		return socket, to, false
	}
	to, _ = Leads(network, addr)
	ipv4, ok := family(to.Addr())
	if !ok {
		return socket, to, false
	}
	for i, s := range slices.Backward(p.spare) {
		if s.ipv4 == ipv4 {
			p.spare = slices.Delete(p.spare, i, i+1)
			return s.socket, to, true
		}
	}
	return socket, to, false
}

// Put hangs up a socket and keeps it, or closes it where that cannot be. With each
// that it keeps, a few go that were not needed for long.
func (p *Pool[S]) Put(socket S) {
	ipv4, ok := family(socket.from())
	if !ok || !socket.hangUp() {
		socket.Close()
		return
	}
	for _, s := range p.keep(spare[S]{socket, ipv4, time.Now()}) {
		s.socket.Close()
	}
}

// keep adds a socket, and returns those that it takes out.
func (p *Pool[S]) keep(s spare[S]) (shed []spare[S]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare = append(p.spare, s)
	n := 0
	for n < maxShed && (s.since.Sub(p.spare[n].since) > spareLife || len(p.spare)-n > maxSpare) {
		n++
	}
	if n > 0 {
		shed = slices.Clone(p.spare[:n])
		p.spare = slices.Delete(p.spare, 0, n)
	}
	return shed
}

// Len is how many sockets there are.
func (p *Pool[S]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spare)
}
