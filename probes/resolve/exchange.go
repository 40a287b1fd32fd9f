package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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

// A question is one question to one server.
type question struct {
	net    probes.Network
	server netip.AddrPort
	name   string // fully qualified
	qtype  uint16
	tcp    bool // don't try UDP
	plain  bool // without EDNS0
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

// ask puts the question: over UDP, over TCP where the reply was truncated, and
// without EDNS0 where the server does not understand that (RFC 6891, 6.2.2).
// The reply is never nil: together with an error it says how far it came.
func (q question) ask(ctx context.Context) (*reply, error) {
	r, err := q.once(ctx)
	if err != nil || q.plain || (r.rcode != dns.RcodeFormatError && r.rcode != dns.RcodeNotImplemented && r.rcode != dns.RcodeBadVers) {
		return r, err
	}
	q.plain = true
	return q.once(ctx)
}

func (q question) once(ctx context.Context) (*reply, error) {
	if q.tcp {
		return q.overTCP(ctx)
	}
	r, err := q.overUDP(ctx)
	if err != nil || !r.truncated {
		return r, err
	}
	full, err := q.overTCP(ctx)
	full.truncated, full.resent = true, r.resent
	return full, err
}

// message returns the question as a packet, with an unpredictable id.
func (q question) message() (*dns.Msg, []byte, error) {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	if !q.plain {
		m.SetEdns0(bufferSize, false)
	}
	packed, err := m.Pack()
	return m, packed, err
}

// overUDP asks from a fresh socket, and thus from a fresh port.
func (q question) overUDP(ctx context.Context) (*reply, error) {
	r := &reply{transport: OverUDP}
	m, packed, err := q.message()
	if err != nil {
		return r, err
	}
	conn, err := q.net.DialContext(ctx, "udp", q.server.String())
	if err != nil {
		return r, err
	}
	defer conn.Close()
	defer interruptible(ctx, conn)()
	if _, err := conn.Write(packed); err != nil {
		return r, err
	}
	receive := receiver(conn)
	conn.SetReadDeadline(resendAt(ctx))
	err = r.await(ctx, receive, m)
	if isTimeout(err) && ctx.Err() == nil { // one lost datagram is no outage
		r.resent++
		deadline, _ := ctx.Deadline()
		conn.SetReadDeadline(deadline)
		if _, err = conn.Write(packed); err == nil {
			err = r.await(ctx, receive, m)
		}
	}
	return r, finally(ctx, r.stray, err)
}

// await receives until the reply comes or it takes too long. What is not the
// reply is passed over, since anybody can send it.
func (r *reply) await(ctx context.Context, receive func() ([]byte, time.Duration, error), asked *dns.Msg) error {
	for r.stray < maxStray {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		packet, delay, err := receive()
		if err != nil {
			return err
		}
		if ours, err := r.read(asked, packet); ours {
			r.arrived, r.delay = time.Now(), delay
			return err
		}
		r.stray++
	}
	return context.DeadlineExceeded
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
func (q question) overTCP(ctx context.Context) (*reply, error) {
	r := &reply{transport: OverTCP}
	m, packed, err := q.message()
	if err != nil {
		return r, err
	}
	conn, err := q.net.DialContext(ctx, "tcp", q.server.String())
	if err != nil {
		return r, err
	}
	defer conn.Close()
	defer interruptible(ctx, conn)()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
		return r, finally(ctx, 0, err)
	}
	packet, err := readPrefixed(conn)
	if err != nil {
		return r, finally(ctx, 0, err)
	}
	ours, err := r.read(m, packet)
	if !ours {
		return r, fmt.Errorf("%w: not one to the question", errBadReply)
	}
	r.arrived, r.truncated = time.Now(), false
	return r, err
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

// interruptible lets the end of the context end what conn waits for. The
// returned function undoes it.
func interruptible(ctx context.Context, conn net.Conn) (undo func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
}

// resendAt is when to ask again.
func resendAt(ctx context.Context) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Now().Add(resendAfter)
	}
	return time.Now().Add(min(resendAfter, time.Until(deadline)/3))
}

func isTimeout(err error) bool { return err != nil && probes.Classify(err) == probes.Timeout }
