package trace

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Run traces the path to dst, which usually takes one round trip of its
// farthest hop, and at most [Options.Silence] (or Patience, if that is longer).
//
// It returns an error only if it could not do its work: the agent has no file
// descriptors left, or ctx ended before anything was certain; then the result,
// if there is one, says what was learned so far. It starts no goroutine and leaves no socket
// behind, except the connection that [Options.KeepConn] asks for.
func Run(ctx context.Context, dst netip.AddrPort, o Options) (*Result, error) {
	e := &engine{
		o:       o.withDefaults(),
		dst:     netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port()),
		waiting: map[int32]*probe{},
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	if e.poll, err = newPoller(); err != nil {
		return nil, err
	}
	defer e.poll.close()
	defer context.AfterFunc(ctx, e.poll.interrupt)()
	defer e.closeAll()

	e.start = time.Now()
	if err := e.run(ctx); err != nil {
		return nil, err
	}
	r := e.result()
	r.Took = Milliseconds(time.Since(e.start))
	if e.o.Paris && ctx.Err() == nil {
		if err := e.paris(ctx, r); err != nil {
			return nil, err
		}
	}
	if r.State == Unfinished {
		return r, ctx.Err()
	}
	return r, nil
}

// A protocol is what a packet of the trace is made of.
type protocol int

const (
	tcp protocol = iota // SYNs: the trace itself
	udp                 // datagrams: the control, which no TCP filter stops
)

// A probe is one packet: a SYN, or a datagram of the control trace.
type probe struct {
	socket
	proto   protocol
	ttl     int       // 0: the full TTL, as every ordinary connection has
	attempt int       // the second packet with the same TTL has 1
	sent    time.Time // wall and monotonic clock just before it left
	done    bool      // answered, timed out, or not needed any more
	given   bool      // given up: says nothing about its TTL
	reply   Reply
}

// progress is how far the packets of one protocol got.
type progress struct {
	sent int // the highest TTL sent
	far  int // the highest TTL that was answered
	end  int // the lowest TTL with a terminal answer; 0: none yet
}

// An engine is one trace under way.
type engine struct {
	o     Options
	dst   netip.AddrPort
	poll  *poller
	start time.Time

	probes  []*probe         // all of them, in the order of sending
	waiting map[int32]*probe // those whose answer is awaited, by descriptor
	reach   [2]progress      // by protocol
	direct  *probe           // the first full-TTL SYN that was answered
	directs int              // full-TTL SYNs sent
	maxRTT  time.Duration    // the longest round trip seen
	control bool             // UDP is traced too
	local   netip.Addr       // our own address on this path

	syns, handshakes int
	noErrorQueue     bool // this kernel does not queue ICMP errors of TCP sockets
	peerMSS, pathMTU int
}

// run sends and listens until there is nothing left to learn.
func (e *engine) run(ctx context.Context) error {
	e.control = e.o.Control
	first := e.o.Window
	if e.o.Prior != nil {
		// The SYN with TTL N of a path of N hops is the one that reaches the
		// target: no further one is needed unless it stays unanswered.
		first = e.o.Prior.Length
	} else if err := e.sendDirect(); err != nil {
		return err
	}
	if err := e.sendTTLs(first); err != nil {
		return err
	}
	for wake := e.start; ; {
		for _, event := range e.poll.wait(ctx, wake) {
			if p := e.waiting[event.Fd]; p != nil && e.read(p) {
				e.finish(p)
			}
		}
		now := time.Now()
		var err error
		if wake, err = e.advance(now); err != nil {
			return err
		}
		if ctx.Err() != nil || len(e.waiting) == 0 && !wake.After(now) {
			return nil
		}
	}
}

// sendDirect sends one SYN with the full TTL, from a source port of its own: a
// device that drops some flows only does not drop all of these.
func (e *engine) sendDirect() error {
	e.directs++
	return e.send([]*probe{{attempt: e.directs - 1}})
}

// sendTTLs sends packets with all TTLs not yet sent, up to one of them.
func (e *engine) sendTTLs(upto int) error {
	upto = min(upto, e.o.MaxTTL)
	var batch []*probe
	for _, proto := range []protocol{tcp, udp} {
		if proto == udp && !e.control {
			continue
		}
		for ttl := e.reach[proto].sent + 1; ttl <= upto; ttl++ {
			batch = append(batch, &probe{proto: proto, ttl: ttl})
		}
		e.reach[proto].sent = max(e.reach[proto].sent, upto)
	}
	return e.send(batch)
}

// send opens all sockets first and then sends, so that the packets leave back
// to back. Its errors are the agent's own trouble, such as no free descriptor.
func (e *engine) send(batch []*probe) error {
	for _, p := range batch {
		s, err := openSocket(e.dst.Addr().Is6(), p.proto == udp, p.ttl)
		if err != nil {
			for _, p := range batch {
				if p.fd > 0 {
					p.close()
				}
			}
			return err
		}
		p.socket = s
	}
	to := [2]unix.Sockaddr{sockaddr(e.dst), sockaddr(netip.AddrPortFrom(e.dst.Addr(), controlPort))}
	for _, p := range batch {
		e.launch(p, to[p.proto])
	}
	for _, p := range batch { // off the critical path
		if !p.done {
			own := p.socket.local()
			p.reply.Port, e.local = own.Port(), own.Addr().Unmap()
		}
	}
	return nil
}

func (e *engine) launch(p *probe, to unix.Sockaddr) {
	p.reply.Answer = Silent
	e.probes = append(e.probes, p)
	e.waiting[int32(p.fd)] = p
	if p.proto == tcp {
		e.syns++
	}
	p.sent = time.Now()
	err := p.socket.send(to)
	if err == nil {
		err = e.poll.add(p.socket)
	}
	if err != nil {
		p.reply.Answer, p.reply.Error, p.reply.err = NotSent, err.Error(), err
		e.finish(p)
	}
}

// finish takes note of a probe's answer.
func (e *engine) finish(p *probe) {
	e.retire(p)
	a := p.reply.Answer
	if a == Silent || a == NotSent && p.proto == udp {
		return
	}
	e.maxRTT = max(e.maxRTT, time.Duration(p.reply.RTT))
	if p.ttl == 0 {
		if e.direct == nil {
			e.direct = p
		}
		return
	}
	if a == NotSent {
		return
	}
	reach := &e.reach[p.proto]
	reach.far = max(reach.far, p.ttl)
	if a.terminal() && (reach.end == 0 || p.ttl < reach.end) {
		reach.end = p.ttl
	}
}

// retire stops waiting for a probe and closes its socket.
func (e *engine) retire(p *probe) {
	if p.done {
		return
	}
	p.done = true
	delete(e.waiting, int32(p.fd))
	p.close()
}

func (e *engine) closeAll() {
	for _, p := range e.probes {
		e.retire(p)
	}
}

// settled reports whether the state of the port is known.
func (e *engine) settled() bool { return e.reach[tcp].end > 0 || e.direct != nil }

// result puts what was learned together.
func (e *engine) result() *Result {
	r := &Result{
		Target: e.dst, SYNs: e.syns, Handshakes: e.handshakes, NoErrorQueue: e.noErrorQueue,
		Hops: e.hops(tcp), Control: e.hops(udp), PeerMSS: e.peerMSS, PathMTU: e.pathMTU,
	}
	for _, p := range e.probes {
		if p.ttl == 0 && !p.given {
			r.Direct = append(r.Direct, p.reply)
		}
	}
	if e.noErrorQueue {
		r.borrowControl()
	}
	silence := time.Since(e.start) >= e.o.Silence && e.directs >= fullTTLSYNs
	if silence {
		r.noARP = unresolved(e.dst.Addr())
	}
	r.conclude(e.local, silence)
	return r
}

// hops gathers the probes of one protocol by TTL.
func (e *engine) hops(proto protocol) []Hop {
	var hops []Hop
	for _, p := range e.probes {
		if p.proto != proto || p.ttl == 0 || p.given || p.reply.Answer == NotSent {
			continue
		}
		if end := e.reach[udp].end; proto == udp && end > 0 && p.ttl > end {
			continue
		}
		i, known := slices.BinarySearchFunc(hops, p.ttl, func(h Hop, ttl int) int { return h.TTL - ttl })
		if !known {
			hops = slices.Insert(hops, i, Hop{TTL: p.ttl, Reply: p.reply})
		}
		hops[i].add(p.reply)
	}
	// One silent line after the last answer says enough.
	last := -1
	for i, h := range hops {
		if h.Answer != Silent {
			last = i
		}
	}
	return hops[:min(len(hops), last+2)]
}

// borrowControl gives the hops of a kernel that does not say who sent an ICMP
// error the addresses that the UDP control trace saw at the same TTL.
func (r *Result) borrowControl() {
	for i := range r.Hops {
		h := &r.Hops[i]
		c := hopIn(r.Control, h.TTL)
		if c != nil && c.Answer == TimeExceeded && (h.Answer == SomeICMP || h.Answer == Silent) {
			sent := h.Sent
			*h = *c
			h.Sent = sent
		}
	}
	for _, c := range r.Control { // a soft error leaves no trace at all there
		if c.Answer == TimeExceeded && r.Hop(c.TTL) == nil {
			r.Hops = append(r.Hops, c)
		}
	}
}

// read finds out what happened to a probe; false means nothing yet.
//
// The error queue is read first, and also when there is no pending error. On
// networks where an answer needs no time at all, such as the veth pair of a
// container, the ICMP message arrives while connect still holds the socket's
// lock: then the kernel queues it, but notes it only as a soft error that
// SO_ERROR does not show, and the socket stays in SYN_SENT. Were it not closed,
// it would send its SYN again after a second.
func (e *engine) read(p *probe) bool {
	now := time.Now()
	p.reply.RTT, p.reply.Clock = Milliseconds(now.Sub(p.sent)), UserClock
	if !(e.o.oldKernel && p.proto == tcp) {
		if icmp, ok := p.icmp(); ok {
			e.readICMP(p, icmp)
			return true
		}
	}
	if p.proto == udp {
		return e.readDatagram(p)
	}
	return e.readTCP(p)
}

func (e *engine) readICMP(p *probe, icmp icmpError) {
	p.reply.Answer, p.reply.From = icmp.answer(), icmp.from
	p.reply.ICMPType, p.reply.ICMPCode, p.reply.ReplyTTL = icmp.typ, icmp.code, icmp.ttl
	// The kernel stamps with the wall clock, which may be set in between: a
	// round trip longer than our own clock saw is not believed.
	if rtt := Milliseconds(icmp.at.Sub(p.sent.Round(0))); !icmp.at.IsZero() && rtt > 0 && rtt <= p.reply.RTT {
		p.reply.RTT, p.reply.Clock = rtt, KernelClock
	}
	if p.proto == tcp {
		p.reply.SawMSS = icmp.mss
		if info, err := p.tcpInfo(); err == nil {
			p.reply.SentMSS = int(info.Advmss)
		}
	}
}

// readDatagram reads what UDP got if it was not an ICMP error with an address.
func (e *engine) readDatagram(p *probe) bool {
	var b [1]byte
	if _, err := unix.Read(p.fd, b[:]); err != nil {
		return false
	}
	p.reply.Answer, p.reply.From = Datagram, e.dst.Addr()
	return true
}

// readTCP reads what a SYN got if it was not an ICMP error with an address.
//
// The state is read before the pending error. What arrives between the two
// then shows as an error; the other way round it would show as a socket
// without an error that has left SYN_SENT, as if the handshake had completed.
func (e *engine) readTCP(p *probe) bool {
	info, err := p.tcpInfo()
	switch errno := p.failure(); errno {
	case 0:
		switch {
		case err != nil || info.State == tcpClosed: // the kernel sets the error first, so this cannot be
			p.reply.Answer, p.reply.Error = NotSent, "the kernel gave the connection up and does not say why"
		case info.State == tcpSynSent:
			return false
		default:
			e.readHandshake(p, info)
		}
	case unix.ECONNREFUSED, unix.ECONNRESET:
		// A reset carries no kernel timestamp to read: its round trip is by
		// our own clock.
		p.reply.Answer, p.reply.From = Rst, e.dst.Addr()
	case unix.ETIMEDOUT:
		p.reply.Answer = Silent
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP:
		// An ICMP error arrived, but the queue is empty: Linux before 5.8,
		// which cannot tell time exceeded, host unreachable and prohibited
		// apart, or say who sent it. UDP, whose error queue is as old as
		// Linux 2.2, names the routers instead.
		p.reply.Answer = SomeICMP
		e.noErrorQueue, e.control = true, true
	default:
		p.reply.Answer, p.reply.Error, p.reply.err = NotSent, errno.Error(), errno
	}
	return true
}

// readHandshake reads what TCP_INFO says after the SYN/ACK.
func (e *engine) readHandshake(p *probe, info *unix.TCPInfo) {
	e.handshakes++
	p.reply.Answer, p.reply.From = SynAck, e.dst.Addr()
	e.peerMSS, e.pathMTU = int(info.Snd_mss), int(info.Pmtu)
	// A SYN that was sent twice cannot be told which of them was answered
	// (Karn's algorithm).
	if info.Total_retrans == 0 && info.Rtt > 0 {
		p.reply.RTT, p.reply.Clock = Milliseconds(time.Duration(info.Rtt)*time.Microsecond), TCPInfoClock
	}
}

// add takes note of another packet with the hop's TTL.
func (h *Hop) add(r Reply) {
	h.Sent++
	if h.Answer == Silent || r.Answer != Silent && r.RTT < h.RTT {
		h.Reply = r
	}
	if r.From.IsValid() && !slices.Contains(h.Addrs, r.From) {
		h.Addrs = append(h.Addrs, r.From)
	}
}
