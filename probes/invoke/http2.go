package invoke

//lint:file-ignore SA1019 net/http's transport dials by itself, and its errors have no types

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"

	"vpcprobe/probes"
)

// exchangeHTTP2 speaks HTTP/2 on a connection whose handshake agreed on it, as
// custom domains do. It ends the connection: no goroutine outlives it for long.
func exchangeHTTP2(ctx context.Context, conn net.Conn, k *call) *reply {
	r := &reply{}
	start := time.Now()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline) // the preface is written outside of ctx
	}
	heard := &witness{Conn: conn}
	t := &http2.Transport{MaxHeaderListSize: maxHead, DisableCompression: true, MaxReadFrameSize: 16 << 10}
	client, err := t.NewClientConn(heard)
	var response *http.Response
	if err == nil {
		defer client.Close()
		r.sent = time.Now()
		response, err = client.RoundTrip(k.forHTTP2(ctx))
	}
	r.first = time.Now()
	r.phases = []probes.Phase{{Name: probes.PhaseProcessing, Took: r.first.Sub(start)}}
	if err != nil {
		r.err = plainError(heard.explain(err))
		return r
	}
	defer response.Body.Close()
	r.began, r.proto, r.status, r.header = true, response.Proto, response.StatusCode, response.Header
	if lines(response.Header) > maxLines {
		r.err = notHTTP("more than %d header lines", maxLines)
		return r
	}
	length := response.ContentLength
	if k.request.Method == http.MethodHead {
		length = 0
	}
	body := &stream{Reader: response.Body}
	if err := r.take(body, length); err != nil && (length >= 0 || !body.ended) {
		r.err = plainError(err)
	}
	r.phases = append(r.phases, probes.Phase{Name: probes.PhaseTransfer, Took: time.Since(r.first)})
	return r
}

// A stream knows whether it ended in good order: that tells the end of a body of
// unknown length from that of the connection.
type stream struct {
	io.Reader
	ended bool
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.ended = s.ended || errors.Is(err, io.EOF)
	return n, err
}

// A witness is a connection that remembers what it first failed of. The library
// may say no more than that the connection could not be established, where
// the peer said in a TLS alert what it thinks of the client certificate.
type witness struct {
	net.Conn
	first atomic.Pointer[error]
}

func (w *witness) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	return n, w.note(err)
}

func (w *witness) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	return n, w.note(err)
}

func (w *witness) note(err error) error {
	if err != nil && !errors.Is(err, net.ErrClosed) { // our own hanging up explains nothing
		w.first.CompareAndSwap(nil, &err)
	}
	return err
}

// explain joins an error without a type with what the connection failed of.
func (w *witness) explain(err error) error {
	if cause := w.first.Load(); cause != nil && probes.Classify(err) == probes.Fault {
		return errors.Join(err, *cause)
	}
	return err
}

func lines(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// plainError gives the errors of HTTP/2 the meaning that the same event has
// on a connection without it.
func plainError(err error) error {
	if s, ok := errors.AsType[http2.StreamError](err); ok {
		if slices.Contains(brokenProtocol, s.Code) {
			return errors.Join(err, errNotHTTP)
		}
		return errors.Join(err, syscall.ECONNRESET)
	}
	if _, ok := errors.AsType[http2.ConnectionError](err); ok {
		return errors.Join(err, errNotHTTP)
	}
	_, gone := errors.AsType[http2.GoAwayError](err)
	if gone || strings.Contains(err.Error(), "GOAWAY") { // one of the two errors for it has no type
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	return err
}

// brokenProtocol are the codes of streams whose peer does not speak properly;
// all others are a peer that gave up.
var brokenProtocol = []http2.ErrCode{
	http2.ErrCodeProtocol, http2.ErrCodeFlowControl, http2.ErrCodeFrameSize, http2.ErrCodeCompression, http2.ErrCodeStreamClosed,
}
