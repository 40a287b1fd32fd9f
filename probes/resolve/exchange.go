package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

const (
	// bufferSize is the UDP payload that we offer to take: the size that
	// passes unfragmented everywhere (DNS Flag Day 2020).
	bufferSize = 1232

	// resendAfter is how long to wait for a reply before asking once more, at
	// most; a third of the time there is, at least.
	resendAfter = time.Second

	// maxStray bounds how many datagrams are read that are not the reply.
	maxStray = 1000
)

// errBadReply is the outcome bad_reply as an error.
var errBadReply = errors.New("bad reply")

// A question is one question to one server, and what became of it.
type question struct {
	from   *sockets
	server netip.AddrPort
	name   string // fully qualified
	qtype  uint16
	tcp    bool // don't try UDP
	plain  bool // without EDNS0

	asked  *dns.Msg // with an unpredictable id
	packed []byte
	sent   time.Time // when it was first sent, over UDP
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
	for _, q := range questions {
		if q.err == nil && !q.plain && q.reply.misunderstood() {
			q.plain = true
			again = append(again, q)
		}
	}
	once(ctx, again)
}

func (r *reply) misunderstood() bool {
	return r.rcode == dns.RcodeFormatError || r.rcode == dns.RcodeNotImplemented || r.rcode == dns.RcodeBadVers
}

func once(ctx context.Context, questions []*question) {
	var datagrams, streams []*question
	for _, q := range questions {
		q.reply = &reply{transport: OverUDP}
		if q.asked, q.packed, q.err = q.message(); q.err != nil {
			continue
		}
		if q.tcp {
			streams = append(streams, q)
		} else {
			datagrams = append(datagrams, q)
		}
	}
	overUDP(ctx, datagrams)
	for _, q := range datagrams {
		if q.err == nil && q.reply.truncated {
			streams = append(streams, q)
		}
	}
	var wg sync.WaitGroup
	for _, q := range streams {
		wg.Go(func() { q.overTCP(ctx) })
	}
	wg.Wait()
}

// message returns the question as a packet, with an unpredictable id.
func (q *question) message() (*dns.Msg, []byte, error) {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	if !q.plain {
		m.SetEdns0(bufferSize, false)
	}
	packed, err := m.Pack()
	return m, packed, err
}

// A flight is a question that is under way over UDP.
type flight struct {
	*question
	*socket
}

// overUDP sends all questions, each from a port of its own, and then takes one
// reply after the other. The kernel stamps those that wait meanwhile, so their
// time is right.
func overUDP(ctx context.Context, questions []*question) {
	flights := make([]*flight, 0, len(questions))
	for _, q := range questions {
		k, err := q.from.take(ctx, q.server)
		if err != nil {
			q.err = err
			continue
		}
		flights = append(flights, &flight{q, k})
	}
	first, last := resendAt(ctx)
	fly(ctx, flights, first)
	var again []*flight
	for _, f := range flights {
		if f.doubtful() && ctx.Err() == nil && f.renew(ctx) {
			again = append(again, f)
		}
	}
	fly(ctx, again, last)
	for _, f := range flights {
		f.land(ctx)
	}
}

// fly sends questions, whose replies are to be here by a moment, and waits for
// them.
func fly(ctx context.Context, flights []*flight, by time.Time) {
	if len(flights) == 0 {
		return
	}
	buf, release := flights[0].from.buffer()
	defer release()
	defer context.AfterFunc(ctx, func() {
		for _, f := range flights {
			f.SetReadDeadline(time.Unix(1, 0))
		}
	})()
	for _, f := range flights {
		f.SetReadDeadline(by)
		if f.sent.IsZero() {
			f.sent = time.Now()
		}
		_, f.err = f.Write(f.packed)
	}
	for _, f := range flights {
		f.await(ctx, buf[:])
	}
}

// doubtful reports whether the question is worth asking again: one lost
// datagram is no outage, and what a socket meets that has served before, new
// ones may not.
func (f *flight) doubtful() bool { return isTimeout(f.err) || f.err != nil && f.served }

// renew makes the flight ready to be sent again, and returns false if it cannot
// be. A reply that is late is waited for, but not on a socket that has served
// before.
func (f *flight) renew(ctx context.Context) bool {
	if isTimeout(f.err) {
		f.reply.resent++
	}
	if !f.served {
		return true
	}
	k, err := f.from.dial(ctx, f.server)
	if err != nil {
		f.err = err
		return false
	}
	f.Close()
	f.socket, f.reply.stray = k, 0
	return true
}

// land parts with the socket. It may serve on if nothing is outstanding on it.
func (f *flight) land(ctx context.Context) {
	if f.err == nil && f.reply.stray+f.reply.resent == 0 && ctx.Err() == nil {
		f.from.put(f.socket)
		return
	}
	f.Close()
	f.err = finally(ctx, f.reply.stray, f.err)
}

// await receives until the reply comes or it takes too long. What is not the
// reply is passed over, since anybody can send it.
func (f *flight) await(ctx context.Context, buf []byte) {
	r := f.reply
	for f.err == nil && r.arrived.IsZero() {
		if f.err = ctx.Err(); f.err != nil {
			return
		}
		if r.stray == maxStray {
			f.err = context.DeadlineExceeded
			return
		}
		packet, delay, err := f.receive(buf)
		if err != nil {
			f.err = err
			return
		}
		if ours, err := r.read(f.asked, packet); ours {
			r.arrived, r.delay, f.err = time.Now(), delay, err
			return
		}
		r.stray++
	}
}

// finally says how a fruitless wait ended.
func finally(ctx context.Context, stray int, err error) error {
	switch {
	case err == nil:
		return nil
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
	conn, err := q.from.net.DialContext(ctx, "tcp", q.server.String())
	if err != nil {
		q.err = err
		return
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	packet, err := q.exchange(conn)
	if err != nil {
		q.err = finally(ctx, 0, err)
		return
	}
	truncated := q.reply.truncated
	ours, err := q.reply.read(q.asked, packet)
	if !ours {
		err = fmt.Errorf("%w: not one to the question", errBadReply)
	}
	q.reply.arrived, q.reply.truncated, q.err = time.Now(), truncated, err
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

// resendAt is when to ask again, and when to give up.
func resendAt(ctx context.Context) (again, last time.Time) {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		return now.Add(resendAfter), time.Time{}
	}
	return now.Add(min(resendAfter, deadline.Sub(now)/3)), deadline
}

func isTimeout(err error) bool { return err != nil && probes.Classify(err) == probes.Timeout }
