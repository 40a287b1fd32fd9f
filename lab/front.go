package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// A link is what the network does with a caller's packets to an address.
type link int

const (
	open       link = iota
	silent          // a security group, a network ACL or a missing route swallows them
	refused         // nothing listens there
	unroutable      // a router says that it has no way there
	prohibited      // a router or the host's own policy forbids it
	resetting       // a device on the way cuts the connection in the moment it stands
	flaky           // every second attempt is swallowed
)

// A front is the lab's presence at one address: a listener that can be made
// silent or taken away while the lab runs, and a peer that talks to whoever
// connects.
type front struct {
	addr  netip.AddrPort
	serve func(net.Conn) // closes the connection when it is done

	mu     sync.Mutex
	now    link
	ln     *net.TCPListener
	filler net.Conn      // takes the only place in a silent listener's queue
	done   chan struct{} // closed when the accept loop has ended

	conns conns
}

// newFront listens at addr and lets serve talk to each connection in a
// goroutine of its own.
func newFront(addr netip.AddrPort, serve func(net.Conn)) (*front, error) {
	f := &front{addr: addr, serve: serve}
	if err := f.listen(); err != nil {
		return nil, err
	}
	f.accept()
	return f, nil
}

func (f *front) listen() error {
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(f.addr))
	if err != nil {
		return err
	}
	f.ln = ln
	return nil
}

// backlog sets how many connections the kernel completes before anybody
// accepts them. Linux lets it be changed on a socket that listens already.
func (f *front) backlog(n int) error {
	raw, err := f.ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = syscall.Listen(int(fd), n) }); err != nil {
		return err
	}
	return failed
}

// accept starts the accept loop.
func (f *front) accept() {
	done := make(chan struct{})
	f.done = done
	ln := f.ln
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
				return
			case err != nil: // out of file descriptors, or a connection that died in the queue
				time.Sleep(time.Millisecond)
				continue
			}
			f.conns.serve(conn, f.serve)
		}
	}()
}

// stop ends the accept loop; the kernel goes on completing connections.
func (f *front) stop() {
	if f.done == nil {
		return
	}
	f.ln.SetDeadline(time.Unix(1, 0))
	<-f.done
	f.done = nil
	f.ln.SetDeadline(time.Time{})
}

// set makes the address behave as to says, without a moment in which it does
// something third. What is neither open nor silent nor refused is the
// network's business: the front is open.
func (f *front) set(to link) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to != silent && to != refused {
		to = open
	}
	if f.now == to {
		return nil
	}
	if f.now == refused {
		if err := f.listen(); err != nil {
			return fmt.Errorf("listen again: %w", err)
		}
	}
	f.now = to
	switch to {
	case silent:
		return f.mute()
	case refused:
		f.unmute()
		f.stop()
		return f.ln.Close()
	}
	f.unmute()
	if err := f.backlog(128); err != nil {
		return err
	}
	f.accept()
	return nil
}

// mute fills the listener's queue, so that the kernel drops every further SYN,
// as a security group would.
func (f *front) mute() error {
	f.stop()
	if err := f.backlog(0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	filler, err := new(net.Dialer).DialContext(ctx, "tcp4", f.addr.String())
	if err != nil {
		return nil // somebody who was just connecting took the place: full is full
	}
	f.filler = filler
	return nil
}

func (f *front) unmute() {
	if f.filler != nil {
		f.filler.Close()
		f.filler = nil
	}
}

// close stops listening, cuts all connections and waits for their goroutines.
func (f *front) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unmute()
	if f.now != refused {
		f.stop()
		f.ln.Close()
	}
	f.conns.close()
}

// conns are the connections that somebody is talking on.
type conns struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	wg     sync.WaitGroup
}

// serve lets talk have the connection, in a goroutine of its own.
func (c *conns) serve(conn net.Conn, talk func(net.Conn)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		conn.Close()
		return
	}
	if c.open == nil {
		c.open = map[net.Conn]bool{}
	}
	c.open[conn] = true
	c.wg.Go(func() {
		defer c.forget(conn)
		talk(conn)
	})
}

func (c *conns) forget(conn net.Conn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

// close cuts every connection and waits until nobody talks any more.
func (c *conns) close() {
	c.mu.Lock()
	c.closed = true
	for conn := range c.open {
		conn.Close()
	}
	c.mu.Unlock()
	c.wg.Wait()
}

// cut ends a connection with a reset rather than in good order.
func cut(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}
