package lab

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

// dial connects through the lab's network and says how that ended.
func (l *Lab) dial(t *testing.T, addr netip.Addr) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	conn, err := l.System().Network.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, l.port).String())
	if err == nil {
		conn.Close()
	}
	return err
}

// Every address can go from every state to every other, and is then exactly in
// that state.
func TestLinks(t *testing.T) {
	t.Parallel()
	l := start(t)
	wire := map[link]func(error) bool{
		open: func(err error) bool { return err == nil },
		silent: func(err error) bool {
			return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
		},
		refused:    func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) },
		unroutable: func(err error) bool { return errors.Is(err, syscall.EHOSTUNREACH) },
		prohibited: func(err error) bool { return errors.Is(err, syscall.EACCES) },
		resetting:  func(err error) bool { return errors.Is(err, syscall.ECONNRESET) },
	}
	for from := range wire {
		for to, is := range wire {
			l.setLinks(from, ENIs()[1])
			l.setLinks(to, ENIs()[1])
			for range 3 { // a full queue must stay full
				if err := l.dial(t, ENIs()[1]); !is(err) {
					t.Errorf("from %d to %d: %v", from, to, err)
				}
			}
			if err := l.dial(t, ENIs()[0]); err != nil {
				t.Errorf("from %d to %d: the neighbor: %v", from, to, err)
			}
		}
	}
}

func TestPublicAddressIsSilent(t *testing.T) {
	t.Parallel()
	l := start(t)
	if err := l.dial(t, PublicAddress()); !os.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want silence", err)
	}
	l.Break(PublicGateway)
	got, err := l.get(t, publicStub(), privateName, "/prod/status")
	if err != nil || got.status != 403 || got.errorType != "ForbiddenException" {
		t.Errorf("%+v, %v, want Forbidden", got, err)
	}
}

// Misbehaving peers do what their names say. What they send without end is
// sampled.
func TestMisbehaviors(t *testing.T) {
	t.Parallel()
	ends := map[Misbehavior]error{ // how the connection ends, nil while it does not
		AcceptReset: syscall.ECONNRESET, ResetOnData: syscall.ECONNRESET,
		HangUp: io.EOF, HalfClose: io.EOF, ClearHTTP: io.EOF, HalfAnswer: io.EOF,
	}
	begins := map[Misbehavior]string{ // what it says first
		Garbage: "\x00\xff\xfe", Banner: "SSH-2.0-", ClearHTTP: "HTTP/1.1 400 ",
		Slowloris: answerHead + "X-Slow: z", EndlessHeaders: answerHead + "X-More: ", EndlessLine: "HTTP/1.1 200 OOO",
		EndlessInterim: "HTTP/1.1 103 ", HugeBody: answerHead + "Content-Length: 10000000000\r\n\r\nbbb",
		EndlessChunks: answerHead + "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n", HalfAnswer: answerHead + "Content-Length: 100\r\n\r\n{",
	}
	const enough = 1 << 20
	for _, how := range Misbehaviors() {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			server, err := Hostile(how)
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			conn, err := server.DialContext(t.Context(), "tcp", "anywhere:443")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if how != AcceptReset && how != HangUp {
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			var said []byte
			b := make([]byte, 32<<10)
			for err == nil && len(said) < enough {
				var n int
				n, err = conn.Read(b)
				said = append(said, b[:n]...)
			}
			if want := ends[how]; !errors.Is(err, want) && !(want == nil && os.IsTimeout(err)) {
				t.Errorf("it ended with %v, want %v", err, want)
			}
			if want := begins[how]; len(said) < len(want) || string(said[:len(want)]) != want || want == "" && len(said) > 0 {
				t.Errorf("it said %.80q, want %q", said, want)
			}
		})
	}
	if _, err := Hostile("friendly"); err == nil {
		t.Error("an unknown misbehavior was accepted")
	}
}
