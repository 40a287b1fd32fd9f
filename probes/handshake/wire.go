package handshake

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/trace"
)

// A wire is the connection below TLS. It counts what comes and remembers how
// that began: a cut before the first byte is not one after the server hello,
// and a peer that speaks something else says so in its first words.
type wire struct {
	net.Conn
	bell *bell
	read int64
	head []byte

	made  time.Time
	until atomic.Pointer[time.Time] // the latest deadline for reading

	looking  sync.Mutex
	segments *trace.Segments
}

// look returns what the kernel knows of the connection's segments: how it was
// when it was first asked, which is at the latest before the connection closes.
// Where the library gives up a handshake it closes at once.
func (w *wire) look() *trace.Segments {
	w.looking.Lock()
	defer w.looking.Unlock()
	if s, ok := trace.ReadSegments(w.Conn); ok && w.segments == nil {
		w.segments = &s
	}
	return w.segments
}

// Close closes the connection.
func (w *wire) Close() error {
	w.look()
	return w.Conn.Close()
}

// maxHead is enough for a server hello's version and for a line of text.
const maxHead = 128

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil && w.heldUp(err) {
		w.Conn.SetDeadline(time.Now().Add(grace)) // what came may want a reply
		n, err = w.Conn.Read(b)
	}
	w.read += int64(n)
	if room := maxHead - len(w.head); room > 0 && n > 0 {
		w.head = append(w.head, b[:min(n, room)]...)
	}
	return n, err
}

// How late the end of the time is noticed by a process that was held up, and how
// long it then has for what is here already.
const (
	late  = 10 * time.Millisecond
	grace = 100 * time.Millisecond
)

// heldUp reports, once for each deadline, whether a read failed because its time
// was up and this process noticed that late: what came meanwhile counts. A deadline
// before the connection was made interrupts, and means what it says.
func (w *wire) heldUp(err error) bool {
	until := w.until.Load()
	if until == nil || !until.After(w.made) || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(*until) <= late {
		return false
	}
	return w.until.CompareAndSwap(until, nil)
}

// SetDeadline implements [net.Conn].
func (w *wire) SetDeadline(t time.Time) error {
	w.until.Store(&t)
	return w.Conn.SetDeadline(t)
}

// SetReadDeadline implements [net.Conn].
func (w *wire) SetReadDeadline(t time.Time) error {
	w.until.Store(&t)
	return w.Conn.SetReadDeadline(t)
}

// NetConn returns the connection below.
func (w *wire) NetConn() net.Conn { return w.Conn }

// SyscallConn implements [syscall.Conn], so that what the kernel knows of the
// connection can be asked for through TLS.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	if c, ok := w.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// foreign reports whether what came cannot be TLS: the first byte of TLS is
// the type of a record.
func (w *wire) foreign() bool { return len(w.head) > 0 && (w.head[0] < 20 || w.head[0] > 24) }

// heard returns the first line that came, made fit to be shown.
func (w *wire) heard() string {
	line, _, _ := strings.Cut(string(w.head), "\n")
	return probes.Scrub(strings.ToValidUTF8(line, "."), 80)
}

// hello returns the version in the server hello, or 0 if none came.
func (w *wire) hello() uint16 {
	const handshakeRecord, serverHello = 22, 2
	if len(w.head) < 11 || w.head[0] != handshakeRecord || w.head[5] != serverHello {
		return 0
	}
	return uint16(w.head[9])<<8 | uint16(w.head[10])
}

// A bell is a session cache that never has a session, so that none is ever
// resumed; and it hears when the server offers one. A TLS 1.3 server offers it
// after it has read the client's last flight (RFC 8446, section 4.6.1), so to
// hear of it is to know that the client certificate passed.
type bell struct {
	mu   sync.Mutex
	rung bool
	ring func() // called when the server offers a session
}

// Get implements [tls.ClientSessionCache].
func (*bell) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put implements [tls.ClientSessionCache].
func (b *bell) Put(_ string, s *tls.ClientSessionState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s == nil {
		return
	}
	b.rung = true
	if b.ring != nil {
		b.ring()
	}
}

// listen makes the bell call ring at the next offer.
func (b *bell) listen(ring func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ring = ring
}

func (b *bell) heard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}
