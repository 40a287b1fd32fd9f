package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

const (
	// bufferSize is the UDP payload that we offer to take: the size that
	// passes unfragmented everywhere (DNS Flag Day 2020).
	bufferSize = 1232

	// resendAfter is when to ask again, and resendLast when to ask for the last
	// time, unless a third and two thirds of the time there is are over before.
	// Twice is not enough: a server that is held up for a second, or to which too
	// much is sent at a time, loses both (as a VPC's resolver does above 1,024
	// packets a second from one network interface).
	resendAfter = time.Second
	resendLast  = 3 * time.Second

	// grace is for a reply that is here already when the time is up.
	grace = 10 * time.Millisecond

	// maxStray bounds how many datagrams are read that are not the reply.
	maxStray = 1000
)

// errBadReply is the outcome bad_reply as an error.
var errBadReply = errors.New("bad reply")

// errNotAsked is a fault of ours: a server that heard no question is not silent.
var errNotAsked = errors.New("no time was left to ask")

// errHurried says of a timeout that it proves little.
var errHurried = errors.New("little time was left for TCP")

// A question is one question to one server, and what became of it.
type question struct {
	from   *client
	server netip.AddrPort
	name   string // fully qualified
	qtype  uint16
	tcp    bool // don't try UDP
	plain  bool // without EDNS0

	id     uint16 // unpredictable
	packed []byte
	sent   time.Time // when it was first sent, over UDP, beside the lookup's others
	reply  *reply    // never nil once asked: together with an error it says how far it came
	err    error
}

// A reply is what came back, and how.
type reply struct {
	rcode     int
	answers   []Answer
	chain     []string
	transport string
	truncated bool          // over UDP, so that TCP had to be used
	resent    int           // how often the question was sent again
	stray     int           // datagrams that were not the reply
	arrived   time.Time     // when we had it, by our clock
	delay     time.Duration // how much later that was than it reached the kernel
}

// ask puts questions to a server side by side: over UDP, over TCP where the
// reply was truncated, and without EDNS0 where the server does not understand
// that (RFC 6891, 6.2.2).
func ask(ctx context.Context, questions []*question) {
	once(ctx, questions)
	var again []*question
	var first []*reply
	for _, q := range questions {
		if q.err == nil && !q.plain && q.reply.misunderstood() {
			q.plain = true
			again, first = append(again, q), append(first, q.reply)
		}
	}
	once(ctx, again)
	for i, q := range again {
		if q.err != nil { // then what it said at first is its answer
			q.reply, q.err = first[i], nil
			continue
		}
		q.reply.resent += first[i].resent
	}
}

// misunderstood reports whether the reply may be due to EDNS0: older servers
// have several words for that (RFC 6891, 7; RFC 2671, 5.3).
func (r *reply) misunderstood() bool {
	switch r.rcode {
	case dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers, dns.RcodeServerFailure:
		return true
	}
	return false
}

func once(ctx context.Context, questions []*question) {
	for _, q := range questions {
		q.id, q.reply = dns.Id(), &reply{transport: OverUDP}
		q.packed, q.err = q.message(!q.plain)
	}
	if slices.ContainsFunc(questions, (*question).needsUDP) {
		overUDP(ctx, questions)
	}
	if !slices.ContainsFunc(questions, (*question).needsTCP) {
		return
	}
	var wg sync.WaitGroup
	for _, q := range questions {
		if q.needsTCP() {
			wg.Go(func() { q.overTCP(ctx) })
		}
	}
	wg.Wait()
}

// needsUDP and needsTCP report over what the question is still to be asked.
func (q *question) needsUDP() bool { return q.err == nil && !q.tcp }
func (q *question) needsTCP() bool { return q.err == nil && (q.tcp || q.reply.truncated) }

// A client asks servers, for all probes of an agent.
type client struct {
	probes.System
	crowd   crowd
	sockets probes.Pool[*socket]
	buffers sync.Pool // of *[maxDatagram]byte
}

// buffer returns a buffer for one datagram, which belongs into buffers again.
func (c *client) buffer() *[maxDatagram]byte {
	if buf, ok := c.buffers.Get().(*[maxDatagram]byte); ok {
		return buf
	}
	return new([maxDatagram]byte)
}

// A flight is a question that is under way over UDP.
type flight struct {
	*question
	*socket
}

// overUDP sends all questions that are not for TCP to their server, each from a
// port of its own, and then takes one reply after the other. The kernel stamps those
// that wait meanwhile, so their time is right.
func overUDP(ctx context.Context, questions []*question) {
	from := questions[0].from
	defer from.crowd.enter(ctx, questions[0].server)()
	flights := make([]flight, 0, len(questions))
	defer func() {
		for _, f := range flights {
			f.land(ctx)
		}
	}()
	for _, q := range questions {
		if !q.needsUDP() {
			continue
		}
		s, err := from.dial(ctx, q.server)
		if isTimeout(err) {
			err = errNotAsked // to make a socket takes no reply
		}
		if err != nil {
			q.err = err
			continue
		}
		flights = append(flights, flight{q, s})
	}
	buf := from.buffer()
	defer from.buffers.Put(buf)
	probes.InStep()
	now := time.Now()
	until := waitsFrom(ctx, now)
	if until.over(now) { // the time passed while others came as far
		for _, f := range flights {
			f.err = errNotAsked
		}
		return
	}
	for _, f := range flights {
		f.send(now)
	}
	for n, by := range until {
		if n > 0 && !sendAgain(ctx, flights, until) {
			break
		}
		for i, f := range flights {
			if n+i > 0 {
				now = time.Now()
			}
			f.await(ctx, now, by, buf[:])
		}
	}
	for _, f := range flights {
		if f.err != nil {
			f.err = finally(ctx, f.reply.stray, probes.ErrorAt(net.UDPAddrFromAddrPort(f.server), f.err))
		}
	}
}

// sendAgain sends the questions again that got no reply yet, and reports whether
// there are any: a lost datagram is no outage. Nor is a silence for which we
// were held up so long that no time is left to ask again.
func sendAgain(ctx context.Context, flights []flight, until waits) bool {
	sent := false
	for _, f := range flights {
		if !isTimeout(f.err) || ctx.Err() != nil {
			continue
		}
		now := time.Now()
		if until.over(now) {
			f.err = errNotAsked
			continue
		}
		f.reply.resent++
		f.simplify()
		f.send(now)
		sent = true
	}
	return sent
}

// land ends the flight. A socket whose question got one reply, and nothing else,
// may ask again, unless its deadline is being set this moment.
func (f flight) land(ctx context.Context) {
	if f.err != nil || f.reply.resent > 0 || f.reply.stray > 0 || ctx.Err() != nil {
		f.socket.Close()
		return
	}
	f.from.sockets.Put(f.socket)
}

// simplify takes EDNS0 out of the question: something on the way may drop what
// has it, and most callers do without. The id stays, so that a late reply still
// is one.
func (f flight) simplify() {
	if packed, err := f.message(false); err == nil {
		f.packed = packed
	}
}

// send sends the question.
func (f flight) send(now time.Time) {
	if f.sent.IsZero() {
		f.sent = now
	}
	_, f.err = f.socket.Write(f.packed)
}

// await receives from now on until the reply comes or it takes too long. What is
// not the reply is passed over, since anybody can send it. A reply that is here when
// we notice that the time is up is no silence: the wait was for the other question,
// or the machine is too busy.
func (f flight) await(ctx context.Context, now, by time.Time, buf []byte) {
	soon := probes.Briefly(now, by)
	r, brief, late := f.reply, soon != by, false
	f.socket.SetReadDeadline(soon)
	for f.err == nil && r.arrived.IsZero() {
		if f.err = ctx.Err(); f.err != nil {
			return
		}
		if r.stray == maxStray {
			f.err = context.DeadlineExceeded
			return
		}
		got, err := f.receive(buf)
		if isTimeout(err) && brief {
			brief = false
			f.socket.SetReadDeadline(by)
			defer context.AfterFunc(ctx, func() { f.socket.SetReadDeadline(time.Unix(1, 0)) })()
			continue
		}
		if isTimeout(err) && !late {
			late = true
			f.socket.SetReadDeadline(time.Now().Add(grace))
			continue
		}
		if err != nil {
			f.err = err
			return
		}
		if ours, err := r.read(f.question, got.packet); ours {
			r.arrived, r.delay, f.err = got.at, got.delay, err
			return
		}
		r.stray++
	}
}

// finally says how a fruitless wait ended.
func finally(ctx context.Context, stray int, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case isTimeout(err) && stray > 0: // if nothing else came, that is the outcome
		return fmt.Errorf("%w: %d datagrams that do not belong to the question, and no other", errBadReply, stray)
	}
	return err
}

// overTCP asks over a connection of its own.
func (q *question) overTCP(ctx context.Context) {
	q.reply = &reply{transport: OverTCP, truncated: q.reply.truncated, resent: q.reply.resent}
	began := time.Now()
	conn, err := q.from.Network.DialContext(ctx, "tcp", q.server.String())
	if err != nil {
		q.err = q.hurried(ctx, began, err)
		return
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	packet, err := q.exchange(conn)
	if err != nil {
		q.err = q.hurried(ctx, began, finally(ctx, 0, err))
		return
	}
	q.reply.arrived = time.Now()
	truncated := q.reply.truncated
	ours, err := q.reply.read(q, packet)
	if !ours {
		err = fmt.Errorf("%w: not one to the question", errBadReply)
	}
	q.reply.truncated, q.err = truncated, err
}

// hurried marks a timeout of TCP that began when UDP had taken most of the time.
func (q *question) hurried(ctx context.Context, began time.Time, err error) error {
	deadline, ok := ctx.Deadline()
	if !ok || q.sent.IsZero() || !isTimeout(err) || deadline.Sub(began) >= deadline.Sub(q.sent)/3 {
		return err
	}
	return fmt.Errorf("%w: %w", errHurried, err)
}

// exchange sends the question and reads a reply, each with its length before it.
func (q *question) exchange(conn net.Conn) ([]byte, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q.packed))), q.packed...)); err != nil {
		return nil, err
	}
	return readPrefixed(conn)
}

// readPrefixed reads one message with its length before it.
func readPrefixed(conn io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, packet)
	return packet, err
}

// waits are until when to wait for a reply each time that a question is sent,
// which is at once and at the end of each wait but the last. A last one of zero
// does not end.
type waits [3]time.Time

func waitsFrom(ctx context.Context, now time.Time) waits {
	deadline, ok := ctx.Deadline()
	if !ok {
		return waits{now.Add(resendAfter), now.Add(resendLast), {}}
	}
	third := deadline.Sub(now) / 3
	return waits{now.Add(min(resendAfter, third)), now.Add(min(resendLast, 2*third)), deadline}
}

// over reports whether no time is left to ask.
func (w waits) over(now time.Time) bool {
	last := w[len(w)-1]
	return !last.IsZero() && !now.Before(last)
}

func isTimeout(err error) bool { return err != nil && probes.Classify(err) == probes.Timeout }
