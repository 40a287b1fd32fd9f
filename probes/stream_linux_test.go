package probes

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An echo answers each message; what it reads ends at the end that it was told.
type echo struct {
	*net.TCPListener
	ends chan error // of what clients said
	hold chan struct{}
}

// newEcho returns a server that closes its side of a connection when the client
// has closed its own; or only when it is let go, if it holds.
func newEcho(t *testing.T, holds bool) *echo {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{l, make(chan error, 64), make(chan struct{})}
	if !holds {
		close(e.hold)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, err := io.Copy(conn, conn)
				e.ends <- err
				<-e.hold
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return e
}

func (e *echo) at() netip.AddrPort { return AddrPortOf(e.Addr()) }

// call returns a stream to a server, on a socket of the pool if it has one.
func call(t *testing.T, pool *Pool[*Socket], e *echo) *Stream {
	t.Helper()
	s, to, ok := pool.Take(direct, e.at())
	if ok {
		s.SetWriteDeadline(time.Time{})
		if _, err := s.Redial(to); err != nil {
			t.Fatal(err)
		}
	} else {
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s = NewSocket(direct, conn)
	}
	c := Lend(pool, s).(*Stream)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// say has a word echoed.
func say(t *testing.T, c net.Conn, word string) {
	t.Helper()
	if _, err := io.WriteString(c, word); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(word))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != word {
		t.Fatalf("%q, %v; want %q", buf, err, word)
	}
}

// back waits until the pool has a socket.
func back(t *testing.T, pool *Pool[*Socket]) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); pool.Len() == 0; time.Sleep(time.Millisecond) {
		if pool.collect(); time.Now().After(deadline) {
			t.Fatal("the socket did not come back")
		}
	}
}

// A stream that said something is finished, and its socket serves again as if it
// were new.
func TestStreamsAreFinished(t *testing.T) {
	var pool Pool[*Socket]
	first, second := newEcho(t, false), newEcho(t, false)
	old := call(t, &pool, first)
	socket, from := old.socket, old.LocalAddr().String()
	fresh := counted(t, old)
	say(t, old, "one")
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-first.ends; err != nil {
		t.Errorf("the first connection ended by %v, want its end", err)
	}
	back(t, &pool)
	c := call(t, &pool, second)
	if c.socket != socket {
		t.Fatal("another socket was used")
	}
	if got := c.RemoteAddr().String(); got != second.Addr().String() {
		t.Errorf("the stream leads to %s, want %s", got, second.Addr())
	}
	if got := c.LocalAddr().String(); got == from {
		t.Errorf("both streams come from %s", got)
	}
	if again := counted(t, c); again != fresh {
		t.Errorf("the kernel has counted %+v before anything was said, on a fresh socket %+v", again, fresh)
	}
	say(t, c, "two")

	// What the first stream is asked to do does not reach the second.
	past := time.Unix(1, 0)
	_, read := old.Read(make([]byte, 1))
	_, write := old.Write([]byte("three"))
	_, raw := old.SyscallConn()
	for i, err := range []error{read, write, raw, old.SetDeadline(past), old.SetReadDeadline(past), old.SetWriteDeadline(past), old.Close()} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%d: %v on a closed stream, want %v", i, err, net.ErrClosed)
		}
	}
	if got := old.LocalAddr().String(); got != from {
		t.Errorf("the first stream comes from %s by now, want %s", got, from)
	}
	say(t, c, "four")
	c.Close()
	if err := <-second.ends; err != nil {
		t.Errorf("the second connection ended by %v, want its end", err)
	}
}

// counted is what the kernel has counted of a connection.
func counted(t *testing.T, c net.Conn) [5]uint64 {
	t.Helper()
	var i unix.TCPInfo
	if !TCPInfo(c, &i) {
		t.Fatal("the kernel does not say")
	}
	return [5]uint64{i.Bytes_acked, i.Bytes_received, uint64(i.Segs_out), uint64(i.Total_retrans), uint64(i.Snd_mss)}
}

// Deadlines of a connection end with it.
func TestStreamsBeginWithoutDeadlines(t *testing.T) {
	var pool Pool[*Socket]
	e := newEcho(t, false)
	c := call(t, &pool, e)
	say(t, c, "one")
	c.SetDeadline(time.Unix(1, 0))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want the deadline", err)
	}
	c.Close()
	back(t, &pool)
	s, to, _ := pool.Take(direct, e.at())
	s.SetWriteDeadline(time.Time{}) // as whoever connects does
	if _, err := s.Redial(to); err != nil {
		t.Fatal(err)
	}
	s.SetReadDeadline(time.Unix(1, 0)) // as a connect leaves it that has waited
	c = Lend(&pool, s).(*Stream)
	defer c.Close()
	say(t, c, "two")

	// What a wait ends with is about this connection.
	c.SetReadDeadline(time.Unix(1, 0))
	_, err := c.Read(make([]byte, 1))
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Source.String() != c.LocalAddr().String() || op.Addr.String() != c.RemoteAddr().String() || op.Op != "read" {
		t.Errorf("%v, want one about %v and %v", err, c.LocalAddr(), c.RemoteAddr())
	}
}

// A stream on which nothing was said is reset, and its socket serves at once.
func TestSilentStreamsAreReset(t *testing.T) {
	var pool Pool[*Socket]
	e := newEcho(t, false)
	call(t, &pool, e).Close()
	if err := <-e.ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("ended by %v, want a reset", err)
	}
	if pool.Len() != 1 {
		t.Errorf("%d sockets are kept, want 1", pool.Len())
	}
}

// A socket that is being read from is closed, not kept: the reader must hear of it.
func TestStreamsClosedWhileReading(t *testing.T) {
	var pool Pool[*Socket]
	e := newEcho(t, true)
	c := call(t, &pool, e)
	say(t, c, "one")
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	for busy := false; !busy; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		busy = c.busy > 0
		c.mu.Unlock()
	}
	c.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
	if <-e.ends; pool.Len() != 0 || len(pool.parting) != 0 {
		t.Errorf("%d and %d sockets are kept, want none", pool.Len(), len(pool.parting))
	}
}

// A socket whose peer does not end the connection waits, and those after it with it;
// but not for long.
func TestPeersThatDoNotPart(t *testing.T) {
	var pool Pool[*Socket]
	holds, parts := newEcho(t, true), newEcho(t, false)
	defer close(holds.hold)
	var all []*Stream
	for _, e := range []*echo{holds, parts, parts} {
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Lend(&pool, NewSocket(direct, conn)).(*Stream))
	}
	for i, c := range all {
		say(t, c, "one")
		c.Close()
		<-[]*echo{holds, parts, parts}[i].ends
	}
	if pool.collect(); pool.Len() != 0 || len(pool.parting) != 3 {
		t.Fatalf("%d sockets are back, %d part; want 0 and 3", pool.Len(), len(pool.parting))
	}
	pool.parting[0].since = time.Now().Add(-partLife)
	for deadline := time.Now().Add(10 * time.Second); pool.Len() < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pool.collect()
	}
	if _, err := all[0].socket.Conn.Write(nil); pool.Len() != 2 || len(pool.parting) != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("%d sockets are back, %d part, want 2 and 0; the first: %v, want it closed", pool.Len(), len(pool.parting), err)
	}
}

// A peer that says more than was read does not have to wait.
func TestStreamsThatAreNotReadToTheEnd(t *testing.T) {
	for _, tt := range []struct {
		said int
		want error
	}{{64, nil}, {64 << 10, syscall.ECONNRESET}} {
		var pool Pool[*Socket]
		ours, theirs := pair(t)
		c := Lend(&pool, NewSocket(direct, ours)).(*Stream)
		if _, err := c.Write([]byte("one")); err != nil {
			t.Fatal(err)
		}
		theirs.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := theirs.Write(make([]byte, tt.said)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if _, err := io.Copy(io.Discard, theirs); !errors.Is(err, tt.want) {
			t.Errorf("%d bytes were not read: the peer sees %v, want %v", tt.said, err, tt.want)
		}
	}
}

// A connection that the peer has reset is over: its socket serves again at once.
func TestStreamsThatThePeerReset(t *testing.T) {
	var pool Pool[*Socket]
	ours, theirs := pair(t)
	c := Lend(&pool, NewSocket(direct, ours)).(*Stream)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	theirs.SetLinger(0)
	theirs.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	c.Close()
	back(t, &pool)
	say(t, call(t, &pool, newEcho(t, false)), "two")
}

// What is not a socket of this machine is left as it is.
func TestOtherConnectionsAreNotLent(t *testing.T) {
	ours, _ := net.Pipe()
	defer ours.Close()
	if got := Lend(new(Pool[*Socket]), NewSocket(direct, ours)); got != ours {
		t.Errorf("%T, want the connection itself", got)
	}
}

// A connection to a closed port of this machine may happen to come from that very
// port: it is accepted by itself, and nobody listens.
func TestSocketsThatMeetThemselves(t *testing.T) {
	var pool Pool[*Socket]
	ours, _ := pair(t)
	pool.Put(NewSocket(direct, ours))
	s, _, ok := pool.Take(direct, four)
	if !ok {
		t.Fatal("the socket is not kept")
	}
	defer s.Close()
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var itself netip.AddrPort
	raw.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
			itself, _ = name(unix.SYS_GETSOCKNAME, fd)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := s.Redial(itself); err != errItself {
		t.Errorf("%v, want %v", err, errItself)
	}
}
