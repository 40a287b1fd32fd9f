package invoke

import (
	"context"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"vpcprobe/probes"
)

// A stop is the network of a process that is held up once, until after a
// connection's deadline, at the first read that follows so many writes. Then the
// time is up before it looks at what came.
type stop struct {
	net.Dialer
	writes int32
	held   time.Duration
}

func (s *stop) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := s.Dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &stopped{Conn: conn, stop: s}, nil
}

type stopped struct {
	net.Conn
	stop   *stop
	writes atomic.Int32
	over   atomic.Bool
}

func (c *stopped) Write(b []byte) (int, error) {
	defer c.writes.Add(1)
	return c.Conn.Write(b)
}

func (c *stopped) Read(b []byte) (int, error) {
	if c.writes.Load() >= c.stop.writes && c.over.CompareAndSwap(false, true) {
		time.Sleep(c.stop.held)
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(b)
}

// An answer that came while this process was held up is one, however late it is
// noticed.
func TestAnswersThatCameWhileHeldUp(t *testing.T) {
	t.Parallel()
	answer := gatewayAnswer("200 OK", "", "{}")
	h2 := handles(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x-amzn-requestid", "1") })
	for _, tt := range []struct {
		name   string
		writes int32 // before it
		talk   func(net.Conn)
		edits  []func(*world)
		want   probes.Outcome
	}{
		{"in the handshake", 1, says(answer), nil, probes.OK},
		{"after the request", 3, says(answer), nil, probes.OK},
		{"after the request, of HTTP/2", 3, h2, []func(*world){overHTTP2}, probes.OK},
		{"after the request, and nothing came", 3, wait, nil, probes.Timeout},
		{"in the midst of an answer that does not go on", 3, saysAndListens("HTTP/1.1 200 OK\r\n"), nil, probes.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.talk, tt.edits...)
			w.target.Timeout = 300 * time.Millisecond
			client, err := Clients(probes.System{Network: &stop{writes: tt.writes, held: 400 * time.Millisecond}}, "vpcprobe/test", false)(w.target)
			if err != nil {
				t.Fatal(err)
			}
			if o := client.Call(t.Context(), w.lane, Request{}); o.Outcome != tt.want {
				t.Errorf("%s (%v), want %s", o.Outcome, o.Err, tt.want)
			}
		})
	}
}
