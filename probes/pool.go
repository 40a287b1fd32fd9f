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
	partLife  = 2 * time.Second  // how long it waits for a peer to end a connection
)

// A Pool keeps sockets that were hung up, to be connected again. To make a socket
// and to close it takes a quarter of the CPU time of a cheap probe at the edge.
// The zero Pool is empty. S is a [Socket], or something around one.
type Pool[S reusable] struct {
	mu      sync.Mutex
	spare   []spare[S] // the one that was used last is at the end
	parting []spare[S] // their connections are finished on our side; the first has waited longest
}

type reusable interface {
	io.Closer
	from() netip.Addr
	hangUp() bool
	finish() bool
	finished() bool
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
	p.collect()
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
func (p *Pool[S]) Put(socket S) { p.keep(&p.spare, socket, socket.hangUp()) }

// Part finishes the connection of a socket, which comes back, as with Put, once the
// peer has finished it, too.
func (p *Pool[S]) Part(socket S) { p.keep(&p.parting, socket, socket.finish()) }

// collect takes back sockets whose connections have ended, a few at a time, and
// closes those whose peers take too long.
func (p *Pool[S]) collect() {
	for range maxShed {
		s, ended, ok := p.parted()
		switch {
		case !ok:
			return
		case ended:
			p.Put(s)
		default:
			s.Close()
		}
	}
}

// parted takes out the socket that has waited longest, if its connection has ended
// or has had its time.
func (p *Pool[S]) parted() (socket S, ended, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.parting) == 0 {
		return socket, false, false
	}
	s := p.parting[0]
	if ended = s.socket.finished(); !ended && time.Since(s.since) < partLife {
		return socket, false, false
	}
	p.parting = slices.Delete(p.parting, 0, 1)
	return s.socket, ended, true
}

// keep adds a socket to others, and closes those for which there is no use.
func (p *Pool[S]) keep(others *[]spare[S], socket S, usable bool) {
	ipv4, ok := family(socket.from())
	if !ok || !usable {
		socket.Close()
		return
	}
	for _, s := range p.add(others, spare[S]{socket, ipv4, time.Now()}) {
		s.socket.Close()
	}
}

// add adds a socket, and returns those that it takes out.
func (p *Pool[S]) add(others *[]spare[S], s spare[S]) (shed []spare[S]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := append(*others, s)
	n := 0
	for n < maxShed && (s.since.Sub(kept[n].since) > spareLife || len(kept)-n > maxSpare) {
		n++
	}
	if n > 0 {
		shed = slices.Clone(kept[:n])
		kept = slices.Delete(kept, 0, n)
	}
	*others = kept
	return shed
}

// Len is how many sockets there are.
func (p *Pool[S]) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.spare)
}
