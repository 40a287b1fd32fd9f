package invoke

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"vpcprobe/probes"
)

// Every server that misbehaves ends in one exact outcome.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	quick := func(w *world) { w.target.Timeout = time.Second }
	for _, tt := range []struct {
		name string
		talk func(net.Conn)
		want probes.Outcome
		code int
	}{
		{"garbage", says("\x00\x01\x02\x03 not http at all\n"), probes.NotHTTP, 0},
		{"garbage without an end of line", says("\x00\x01\x02\x03\xff\xfe"), probes.NotHTTP, 0},
		{"another protocol", says("SSH-2.0-OpenSSH_9.6\r\n"), probes.NotHTTP, 0},
		{"a status that is none", says("HTTP/1.1 2xx fine\r\n\r\n"), probes.NotHTTP, 0},
		{"a version that is none", says("HTTP/3 200 OK\r\n\r\n"), probes.NotHTTP, 0},
		{"a header without a name", says("HTTP/1.1 200 OK\r\n: x\r\n\r\n"), probes.NotHTTP, 0},
		{"endless headers", endless("X-A: " + strings.Repeat("b", 100) + "\r\n"), probes.NotHTTP, 0},
		{"a header without end", endless(strings.Repeat("b", 1000)), probes.NotHTTP, 0},
		{"interim answers without end", endless("HTTP/1.1 102 Processing\r\n\r\n"), probes.NotHTTP, 0},
		{"protocols switched", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), probes.NotHTTP, 0},
		{"a length that is none", says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), probes.NotHTTP, 200},
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), probes.NotHTTP, 200},
		{"an unknown coding", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n"), probes.NotHTTP, 200},
		{"chunks that are none", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), probes.NotHTTP, 200},
		{"silence", func(c net.Conn) { wait(c) }, probes.Timeout, 0},
		{"slow headers", slowly("HTTP/1.1 200 OK\r\nX-A: b\r\n"), probes.Timeout, 0},
		{"a slow body", slowly("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), probes.Timeout, 200},
		{"the end before the answer", says(""), probes.Closed, 0},
		{"the end within headers", says("HTTP/1.1 200 OK\r\nX-A: b\r\n"), probes.Closed, 0},
		{"the end within the body", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"), probes.Closed, 200},
		{"the end within a chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}"), probes.Closed, 200},
		{"a reset", reset, probes.Reset, 0},
		{"10 GB", endlessAfter("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n"), probes.OK, 200},
		{"a body without end", endlessAfter("HTTP/1.1 503 No\r\n\r\n"), probes.ServerError, 503},
		{"chunks without end", endless2("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200\r\n"+strings.Repeat("c", 512)+"\r\n"), probes.OK, 200},
		{"more body than said", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more"), probes.OK, 200},
		{"an early hint", says("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), probes.OK, 200},
		{"a header in two lines", says("HTTP/1.1 200 OK\r\nX-A: b;\r\n\tc: d\r\nContent-Length: 2\r\n\r\n{}"), probes.OK, 200},
		{"the second line of no header", says("HTTP/1.1 200 OK\r\n c: d\r\n\r\n"), probes.NotHTTP, 0},
		{"an answer up to the end", says("HTTP/1.0 200 OK\r\n\r\n{}"), probes.OK, 200},
		{"a trailer", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nX-A: b\r\n\r\n"), probes.OK, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t, tt.talk, quick).call(t)
			if o.Outcome != tt.want || Of(o).Status != tt.code {
				t.Errorf("%s %d (%v), want %s %d", o.Outcome, Of(o).Status, o.Err, tt.want, tt.code)
			}
			if (o.Err == nil) != (tt.want == probes.OK) {
				t.Errorf("outcome %s with error %v", o.Outcome, o.Err)
			}
			if n := Of(o).Size; n > maxTransfer+4096 {
				t.Errorf("read %d bytes of body", n)
			}
		})
	}
}

// wait keeps the connection until the client ends it.
func wait(c net.Conn) { io.Copy(io.Discard, c) }

func endless(part string) func(net.Conn) { return endless2("HTTP/1.1 ", part) }

func endless2(begin, part string) func(net.Conn) {
	return func(c net.Conn) {
		if strings.HasPrefix(part, "X-A") {
			begin = "HTTP/1.1 200 OK\r\n"
		} else if strings.HasPrefix(part, "HTTP/") {
			begin = ""
		}
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		block := bytes.Repeat([]byte(part), 100)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}
}

func endlessAfter(head string) func(net.Conn) { return endless2(head, strings.Repeat("x", 1000)) }

func slowly(head string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, head)
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func reset(c net.Conn) {
	raw := c.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
	raw.SetLinger(0)
	raw.Close()
}

func TestPhases(t *testing.T) {
	t.Parallel()
	o := newWorld(t, says(gatewayAnswer("200 OK", "", "{}"))).call(t)
	var names []string
	for _, p := range o.Phases {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "processing transfer" {
		t.Errorf("phases %q", got)
	}
}

// The reader keeps its bounds whatever comes, and never panics.
func FuzzReadFrom(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 204 No\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "\x16\x03\x01",
	} {
		f.Add([]byte(s), "GET")
	}
	f.Fuzz(func(t *testing.T, b []byte, method string) {
		r := &reply{}
		err := r.readFrom(bufio.NewReaderSize(bytes.NewReader(b), 64), method)
		if len(r.body) > maxKept || r.size > int64(len(b)) {
			t.Fatalf("kept %d of %d bytes", len(r.body), r.size)
		}
		if err == nil && (r.status < 200 || r.status > 999) {
			t.Fatalf("status %d without an error", r.status)
		}
		if r.status == 0 {
			return
		}
		a := &Answer{}
		fill(a, r, nil)
		if n := len([]rune(a.Message)); n > maxMessage+1 {
			t.Fatalf("a message of %d runes", n)
		}
		_ = fmt.Sprint(a)
	})
}

// A cut is a verdict on the client certificate only as long as the server has
// not given one: TLS 1.2 ends with it, and a TLS 1.3 server that offers a
// session has given it.
func TestCutsAfterTheVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		version   uint16
		noTickets bool
		want      probes.Outcome
		finding   string
	}{
		{"TLS 1.2", tls.VersionTLS12, false, probes.Closed, "answer-cut"},
		{"TLS 1.3", tls.VersionTLS13, false, probes.Closed, "answer-cut"},
		{"TLS 1.3 without tickets", tls.VersionTLS13, true, probes.Rejected, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, says(""), func(w *world) {
				w.config.ClientAuth, w.config.SessionTicketsDisabled = tls.RequestClientCert, tt.noTickets
				w.config.MinVersion, w.config.MaxVersion = tt.version, tt.version
			})
			o := w.call(t)
			if o.Outcome != tt.want || !Of(o).CertAsked {
				t.Errorf("%s (%v), asked %v, want %s", o.Outcome, o.Err, Of(o).CertAsked, tt.want)
			}
			found := ""
			for _, f := range probes.Diagnose(Rules, probes.Evidence{Target: w.target}.With(name, []probes.Observation{o})) {
				found += f.Rule.ID
			}
			if found != tt.finding {
				t.Errorf("found %q, want %q", found, tt.finding)
			}
		})
	}
}
