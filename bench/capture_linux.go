package main

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"vpcprobe/lab/netns"
)

// A capture notes when packets pass a device, by the kernel's clock: the truth
// that reported times are compared with.
type capture struct {
	fd   int
	done sync.WaitGroup

	mu    sync.Mutex
	flows map[uint16]flow      // TCP connections, by the local port; the latest
	names map[string]*question // lookups, by the first label of the name; the latest
}

// A flow is one TCP connection, or an attempt at one.
type flow struct {
	peer   netip.AddrPort
	syn    time.Time
	answer time.Time // SYN/ACK, or the ICMP error about it
}

// A question is one lookup, which may be several packets.
type question struct {
	first, last time.Time // asked, answered
}

// newCapture listens to a device of a host of the lab.
func newCapture(n *netns.Namespace, device string) (*capture, error) {
	c := &capture{fd: -1, flows: map[uint16]flow{}, names: map[string]*question{}}
	err := n.Do(func() (err error) {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network byte order
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all&0xffff); err != nil {
			return err
		}
		index, err := indexOf(device)
		if err != nil {
			return err
		}
		return unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: index})
	})
	if err != nil {
		return nil, err
	}
	unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000})
	c.done.Go(c.read)
	return c, nil
}

func (c *capture) stop() {
	c.mu.Lock()
	fd := c.fd
	c.fd = -1
	c.mu.Unlock()
	c.done.Wait()
	unix.Close(fd)
}

func (c *capture) read() {
	packet, oob := make([]byte, 2048), make([]byte, 128)
	fd := c.fd
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, packet, oob, 0)
		c.mu.Lock()
		if c.fd < 0 {
			c.mu.Unlock()
			return
		}
		if err == nil && n > 14 {
			c.note(packet[14:n], stampOf(oob[:oobn]))
		}
		c.mu.Unlock()
	}
}

// stampOf is the time at which the kernel saw the packet.
func stampOf(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := (*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(ts.Unix())
		}
	}
	return time.Now()
}

// note takes in an IPv4 packet.
func (c *capture) note(p []byte, at time.Time) {
	if len(p) < 28 || p[0]>>4 != 4 {
		return
	}
	body := p[int(p[0]&15)*4:]
	if len(body) < 20 {
		return
	}
	from, to := netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
	source, destination := binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	switch p[9] {
	case unix.IPPROTO_TCP:
		const syn, ack, rst = 2, 16, 4
		switch flags := body[13]; {
		case flags&syn != 0 && flags&ack == 0:
			c.flows[source] = flow{peer: netip.AddrPortFrom(to, destination), syn: at}
		case flags&(syn|rst) != 0 && c.flows[destination].peer == netip.AddrPortFrom(from, source):
			c.answered(destination, at)
		}
	case unix.IPPROTO_ICMP: // about a packet of which it quotes the beginning
		if quoted := body[8:]; len(quoted) >= 24 && quoted[9] == unix.IPPROTO_TCP {
			c.answered(binary.BigEndian.Uint16(quoted[int(quoted[0]&15)*4:]), at)
		}
	case unix.IPPROTO_UDP:
		c.lookup(body[8:], source == dnsPort, at)
	}
}

func (c *capture) answered(port uint16, at time.Time) {
	if f := c.flows[port]; f.answer.IsZero() {
		f.answer = at
		c.flows[port] = f
	}
}

// lookup takes in a DNS message. Questions within 100 ms are one lookup.
func (c *capture) lookup(m []byte, isAnswer bool, at time.Time) {
	if len(m) < 19 || m[12] != 6 {
		return
	}
	name := string(m[13:19])
	q := c.names[name]
	switch {
	case isAnswer && q != nil:
		q.last = at
	case !isAnswer && (q == nil || at.Sub(q.first) > 100*time.Millisecond):
		c.names[name] = &question{first: at}
	}
}

// connected returns how long the connection from a local port took, if that is
// known.
func (c *capture) connected(port uint16) (flow, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flows[port]
	return f, !f.answer.IsZero()
}

// connectedTo returns the connection to a port that began soonest after a time.
func (c *capture) connectedTo(port uint16, after time.Time) (best flow, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flows {
		if f.peer.Port() == port && f.syn.After(after) && !f.answer.IsZero() && (!ok || f.syn.Before(best.syn)) {
			best, ok = f, true
		}
	}
	return best, ok
}

// asked returns the latest lookup of a name.
func (c *capture) asked(name string) (question, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.names[name]
	if q == nil || q.last.IsZero() {
		return question{}, false
	}
	return *q, true
}
