package probes

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection over loopback.
func pair(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); peer.Close() })
	return conn.(*net.TCPConn), peer.(*net.TCPConn)
}

// What a socket reads, and how that ends, is what its connection would say.
func TestSocketsReadAsConnectionsDo(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(ours, theirs *net.TCPConn)
		read string
		want error
	}{
		{"something is said", func(_, theirs *net.TCPConn) { theirs.Write([]byte("220 ready")) }, "220 ", nil},
		{"the peer hangs up", func(_, theirs *net.TCPConn) { theirs.Close() }, "", io.EOF},
		{"nothing comes", func(ours, _ *net.TCPConn) { ours.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) }, "", os.ErrDeadlineExceeded},
		{"it is closed", func(ours, _ *net.TCPConn) { ours.Close() }, "", net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func(wrap func(net.Conn) net.Conn) (string, error) {
				ours, theirs := pair(t)
				tt.do(ours, theirs)
				buf := make([]byte, 4)
				n, err := wrap(ours).Read(buf)
				return string(buf[:n]), ErrorAt(nil, err)
			}
			got, err := read(func(c net.Conn) net.Conn { return NewSocket(direct, c) })
			want, wantErr := read(func(c net.Conn) net.Conn { return c })
			if got != want || got != tt.read || !errors.Is(err, tt.want) || (err != nil && err.Error() != wantErr.Error()) {
				t.Errorf("%q, %v; the connection itself %q, %v; want %q, %v", got, err, want, wantErr, tt.read, tt.want)
			}
		})
	}
}

// Datagrams keep their bounds, empty ones too, and none is an end.
func TestSocketsKeepDatagramsApart(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := NewSocket(direct, conn)
	defer s.Close()
	s.SetReadDeadline(time.Now().Add(5 * time.Second))
	for _, packet := range []string{"one", "", "three"} {
		if _, err := s.Write([]byte(packet)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		n, from, err := server.ReadFrom(buf)
		if err != nil || string(buf[:n]) != packet {
			t.Fatalf("sent %q, %q arrived, %v", packet, buf[:n], err)
		}
		if _, err := server.WriteTo(buf[:n], from); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"one", "", "three"} {
		buf := make([]byte, 16)
		if n, _, err := s.Receive(buf, nil); err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v; want %q", buf[:n], err, want)
		}
	}
}
