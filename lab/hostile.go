package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// A Misbehavior is one way in which a peer that accepts connections can be
// anything but the server one expects.
type Misbehavior string

// The misbehaviors. Those of the first group act on what they have accepted
// without waiting for a word, those of the second answer the first bytes they
// are sent.
const (
	AcceptReset Misbehavior = "accept-reset" // resets every connection a moment after it stands
	Silence     Misbehavior = "silence"      // accepts and never says a word
	HangUp      Misbehavior = "hang-up"      // closes every connection in good order a moment after it stands
	HalfClose   Misbehavior = "half-close"   // finishes its own direction at once and goes on reading
	Garbage     Misbehavior = "garbage"      // sends bytes that mean nothing, for ever
	Banner      Misbehavior = "banner"       // greets as an SSH server does

	ResetOnData    Misbehavior = "reset-on-data"   // resets when the first bytes arrive
	ClearHTTP      Misbehavior = "clear-http"      // answers in clear HTTP, whatever it was sent
	Slowloris      Misbehavior = "slowloris"       // a header that comes a byte at a time
	EndlessHeaders Misbehavior = "endless-headers" // headers without end
	EndlessLine    Misbehavior = "endless-line"    // a status line without end
	EndlessInterim Misbehavior = "endless-interim" // interim (1xx) answers without end
	HugeBody       Misbehavior = "huge-body"       // a body of 10 GB
	EndlessChunks  Misbehavior = "endless-chunks"  // a chunked body without end
	HalfAnswer     Misbehavior = "half-answer"     // less body than announced, then the end
)

// Misbehaviors returns them all.
func Misbehaviors() []Misbehavior {
	return []Misbehavior{
		AcceptReset, Silence, HangUp, HalfClose, Garbage, Banner,
		ResetOnData, ClearHTTP, Slowloris, EndlessHeaders, EndlessLine, EndlessInterim, HugeBody, EndlessChunks, HalfAnswer,
	}
}

// A HostileServer is a TCP server on loopback that misbehaves in clear text.
type HostileServer struct {
	Addr netip.AddrPort

	front *front
}

// Hostile starts a server that misbehaves in one way. Close stops it.
func Hostile(how Misbehavior) (*HostileServer, error) {
	if misbehaviorOf(how) == nil {
		return nil, fmt.Errorf("lab: no misbehavior is called %q", how)
	}
	f, err := newFront(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), misbehaviorOf(how))
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	f.addr = f.ln.Addr().(*net.TCPAddr).AddrPort()
	return &HostileServer{Addr: f.addr, front: f}, nil
}

// Close stops the server and cuts its connections.
func (s *HostileServer) Close() { s.front.close() }

// DialContext connects to the server, whatever address is asked for: a
// [probes.Network] that leads nowhere else.
func (s *HostileServer) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, s.Addr.String())
}

// moment is how long a peer lets a connection stand that it then ends: long
// enough for the client to have seen it stand, so that what the client sees
// does not depend on who is faster.
const moment = 20 * time.Millisecond

// answerHead is how a valid answer of API Gateway begins.
const answerHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-RequestId: 6f1c2b8e-0d4a-4c57-9b57-2f6f0f3f2a11\r\n"

// misbehaviorOf returns what a peer that misbehaves does with a connection, or
// nil.
func misbehaviorOf(how Misbehavior) func(net.Conn) {
	switch how {
	case AcceptReset:
		return func(conn net.Conn) { time.Sleep(moment); cut(conn) }
	case Silence:
		return drain
	case HangUp:
		return func(conn net.Conn) { time.Sleep(moment); conn.Close() }
	case HalfClose:
		return halfClose
	case Garbage:
		return func(conn net.Conn) { forever(conn, "\x00\xff\xfe garbage \x80\x07\r", 0) }
	case Banner:
		return func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n"); drain(conn) }
	}
	if talk := answering(how); talk != nil {
		return func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 64<<10)); err == nil {
				talk(conn)
			}
		}
	}
	return nil
}

// answering returns what a peer does that waits for the first bytes.
func answering(how Misbehavior) func(net.Conn) {
	switch how {
	case ResetOnData:
		return cut
	case ClearHTTP:
		return clearHTTP
	case Slowloris:
		return func(conn net.Conn) {
			io.WriteString(conn, answerHead+"X-Slow: ")
			forever(conn, "z", 20*time.Millisecond)
		}
	case EndlessHeaders:
		return func(conn net.Conn) {
			io.WriteString(conn, answerHead)
			forever(conn, "X-More: "+strings.Repeat("m", 100)+"\r\n", 0)
		}
	case EndlessLine:
		return func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 "); forever(conn, strings.Repeat("O", 100), 0) }
	case EndlessInterim:
		return func(conn net.Conn) { forever(conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0) }
	case HugeBody:
		return func(conn net.Conn) {
			io.WriteString(conn, answerHead+"Content-Length: 10000000000\r\n\r\n")
			forever(conn, strings.Repeat("b", 4096), 0)
		}
	case EndlessChunks:
		return func(conn net.Conn) {
			io.WriteString(conn, answerHead+"Transfer-Encoding: chunked\r\n\r\n")
			forever(conn, "a\r\n0123456789\r\n", 0)
		}
	case HalfAnswer:
		return func(conn net.Conn) {
			io.WriteString(conn, answerHead+"Content-Length: 100\r\n\r\n{\"half\":")
			conn.Close()
		}
	}
	return nil
}

// drain reads until the caller gives up.
func drain(conn net.Conn) { io.Copy(io.Discard, conn) }

// forever writes text again and again until the caller gives up.
func forever(conn net.Conn, text string, pause time.Duration) {
	for {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		if pause > 0 {
			time.Sleep(pause)
		}
	}
}

func halfClose(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	drain(conn)
}

// clearHTTP answers as nginx does on a port that speaks HTTP without TLS.
func clearHTTP(conn net.Conn) {
	const page = "<html><head><title>400 Bad Request</title></head><body>Bad Request</body></html>\n"
	fmt.Fprintf(conn, "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(page), page)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	drain(conn)
}
