package invoke

//lint:file-ignore SA1019 the server that takes a connection is what is needed here

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"vpcprobe/probes"
)

func overHTTP2(w *world) {
	w.config.NextProtos = []string{"h2"}
	w.target.Timeout = time.Second
}

func handles(h http.HandlerFunc) func(net.Conn) {
	return func(c net.Conn) { (&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: h}) }
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	w := newWorld(t, handles(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %s %s %s", r.Method, r.Host, r.RequestURI, r.UserAgent(), body)
		w.Header().Set("x-amzn-requestid", "1")
		w.Header().Set("x-amzn-errortype", "ForbiddenException")
		w.WriteHeader(403)
		io.WriteString(w, `{"message":"Forbidden"}`)
	}), overHTTP2, func(w *world) { w.target.Method, w.target.Body, w.target.Path = "POST", "order", "/a/../b?c=d" })
	o := w.call(t)
	a := Of(o)
	if o.Outcome != probes.Denied || a.Protocol != "HTTP/2.0" || a.Denial != "F" || a.Size != 23 {
		t.Errorf("%s %+v (%v)", o.Outcome, a, o.Err)
	}
	if s := <-got; s != "POST api.test /b?c=d vpcprobe/test order" {
		t.Errorf("sent %q", s)
	}
}

func TestHostileHTTP2(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		talk func(net.Conn)
		want probes.Outcome
	}{
		{"garbage", saysAndListens(strings.Repeat("garbage ", 100)), probes.NotHTTP},
		{"HTTP/1.1", saysAndListens("HTTP/1.1 200 OK\r\n\r\n"), probes.NotHTTP},
		{"silence", wait, probes.Timeout},
		{"a slow answer", handles(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), probes.Timeout},
		{"an aborted stream", handles(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), probes.Reset},
		{"goodbye", frames(func(f *http2.Framer, id uint32) { f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, nil) }), probes.Closed},
		{"large headers", frames(func(f *http2.Framer, id uint32) { headers(f, id, true, 1000, strings.Repeat("v", 200)) }), probes.NotHTTP},
		{"many headers", frames(func(f *http2.Framer, id uint32) { headers(f, id, true, 150, "v") }), probes.NotHTTP},
		{"interim answers without end", frames(interim), probes.NotHTTP},
		{"a body of unknown length", frames(func(f *http2.Framer, id uint32) {
			headers(f, id, false, 0, "")
			f.WriteData(id, false, []byte("{"))
			f.WriteData(id, true, []byte("}"))
		}), probes.OK},
		{"the end within a body of unknown length", func(c net.Conn) {
			frames(func(f *http2.Framer, id uint32) {
				headers(f, id, false, 0, "")
				f.WriteData(id, false, []byte("{"))
				c.(*tls.Conn).CloseWrite()
			})(c)
		}, probes.Closed},
		{"10 GB", handles(func(w http.ResponseWriter, _ *http.Request) {
			block := make([]byte, 1<<16)
			for {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}), probes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t, tt.talk, overHTTP2).call(t)
			if o.Outcome != tt.want {
				t.Errorf("%s (%v), want %s", o.Outcome, o.Err, tt.want)
			}
			if n := Of(o).Size; n > maxTransfer+4096 {
				t.Errorf("read %d bytes", n)
			}
		})
	}
}

// frames answers the first request with frames of its own.
func frames(answer func(f *http2.Framer, id uint32)) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := frame.(*http2.HeadersFrame); ok {
				answer(f, h.StreamID)
				wait(c)
				return
			}
		}
	}
}

// headers sends a header block in as many frames as it takes.
func headers(f *http2.Framer, id uint32, end bool, n int, value string) {
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	for i := range n {
		e.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-%d", i), Value: value, Sensitive: true})
	}
	rest := block.String()
	for first := true; first || rest != ""; first = false {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		if first {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(part), EndStream: end, EndHeaders: rest == ""})
		} else if f.WriteContinuation(id, rest == "", []byte(part)) != nil {
			return
		}
	}
}

func interim(f *http2.Framer, id uint32) {
	var block strings.Builder
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "103"})
	for {
		if f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(block.String()), EndHeaders: true}) != nil {
			return
		}
	}
}
