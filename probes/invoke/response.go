package invoke

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vpcprobe/probes"
)

// The bounds on what a server may send. http.ReadResponse has none on headers.
const (
	maxHead     = 64 << 10 // bytes of status lines and headers, interim answers included
	maxLines    = 100      // header lines
	maxInterim  = 8        // 1xx answers
	maxKept     = 64 << 10 // bytes of body kept
	maxTransfer = 1 << 20  // bytes of body read; what comes after that changes nothing
)

// errNotHTTP is what an answer is that is not HTTP, or breaks these bounds. The
// errors that wrap it may quote what came: they are scrubbed before anybody
// sees them.
var errNotHTTP = errors.New("not an HTTP answer")

func notHTTP(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotHTTP, fmt.Sprintf(format, args...))
}

// A reply is what came back, raw.
type reply struct {
	proto  string
	status int // 0 until headers came
	header http.Header
	body   []byte // as far as it is kept
	size   int64  // as far as it was read

	sent    time.Time // when the request had been written
	first   time.Time // when the first byte came
	began   bool      // it did
	err     error     // why there is no complete answer
	phases  []probes.Phase
	partial bool // the body was longer than anybody wants to read
	scratch []byte

	unjudged bool // the server asked for a client certificate, and has not shown what it thinks of that
}

// exchange sends the request and reads the answer, by HTTP/2 where the
// handshake agreed on it. It returns by ctx's deadline, to which the connection
// keeps by itself: it takes an answer that is here when this process was held up.
func exchange(ctx context.Context, conn net.Conn, k *call) *reply {
	if negotiated(conn) == "h2" {
		return exchangeHTTP2(ctx, conn, k)
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()

	r := &reply{}
	start := time.Now()
	_, err := conn.Write(k.bytes())
	r.sent = time.Now()
	in := bufio.NewReaderSize(conn, 4096)
	if err == nil || answered(conn, in, err) {
		_, err = in.Peek(1)
	}
	r.first = time.Now()
	r.phases = []probes.Phase{{Name: probes.PhaseProcessing, Took: r.first.Sub(start)}}
	if err != nil {
		r.err = err
		return r
	}
	r.began = true
	r.err = r.readFrom(in, k.request.Method)
	r.phases = append(r.phases, probes.Phase{Name: probes.PhaseTransfer, Took: time.Since(r.first)})
	return r
}

// answered reports whether a server that stopped reading the request has said
// something first: an answer explains more than the broken pipe does.
func answered(conn net.Conn, in *bufio.Reader, err error) bool {
	if o := probes.Classify(err); o == probes.Timeout || o == probes.Aborted {
		return false
	}
	_, err = in.Peek(1)
	return err == nil
}

// readFrom reads an answer to a request of that method.
func (r *reply) readFrom(in *bufio.Reader, method string) error {
	h := head{in: in, left: maxHead}
	for interim := 0; ; interim++ {
		if interim > maxInterim {
			return notHTTP("more than %d interim answers", maxInterim)
		}
		proto, status, header, err := h.read()
		if err != nil {
			return err
		}
		if status == http.StatusSwitchingProtocols {
			return notHTTP("it switched protocols unasked")
		}
		if status >= 200 {
			r.proto, r.status, r.header = proto, status, header
			break
		}
	}
	return r.readBody(in, method)
}

// A head reads status line and headers within a budget.
type head struct {
	in   *bufio.Reader
	left int // bytes
}

func (h *head) read() (proto string, status int, header http.Header, err error) {
	line, err := h.line()
	if err != nil {
		return "", 0, nil, err
	}
	if proto, status, err = parseStatus(line); err != nil {
		return "", 0, nil, err
	}
	header = http.Header{}
	for n := 0; ; n++ {
		line, err := h.line()
		switch {
		case err != nil:
			return "", 0, nil, err
		case line == "":
			return proto, status, header, nil
		case n == maxLines:
			return "", 0, nil, notHTTP("more than %d header lines", maxLines)
		}
		if n > 0 && (line[0] == ' ' || line[0] == '\t') {
			continue // of the value before; nobody reads one that long (RFC 9112, section 5.2)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return "", 0, nil, notHTTP("a header line without a name")
		}
		header.Add(name, strings.Trim(value, " \t"))
	}
}

// line reads one line, without its end.
func (h *head) line() (string, error) {
	var line []byte
	for {
		part, err := h.in.ReadSlice('\n')
		h.left -= len(part)
		if h.left < 0 {
			return "", notHTTP("headers of more than %d bytes", maxHead)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if looksForeign(line) {
				return "", notHTTP("no line ended")
			}
			return "", unexpected(err)
		}
	}
}

// looksForeign reports whether a line that never ended is none of HTTP.
func looksForeign(line []byte) bool {
	for _, b := range line {
		if b < ' ' && b != '\t' && b != '\r' || b == 0x7f {
			return true
		}
	}
	return false
}

// unexpected turns an end into one that came too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func parseStatus(line string) (proto string, status int, err error) {
	proto, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return "", 0, notHTTP("it begins with %q", line)
	}
	status, err = strconv.Atoi(code)
	if err != nil || len(code) != 3 || status < 100 || status > 999 {
		return "", 0, notHTTP("its status is %q", code)
	}
	return proto, status, nil
}

func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// readBody reads the body, as its headers delimit it.
func (r *reply) readBody(in *bufio.Reader, method string) error {
	if method == http.MethodHead || r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		return nil
	}
	coding := strings.ToLower(strings.Join(r.header.Values("Transfer-Encoding"), ","))
	switch lengths := r.header.Values("Content-Length"); {
	case coding == "chunked":
		return r.readChunks(in)
	case coding != "" && coding != "identity":
		return notHTTP("the transfer encoding %q", coding)
	case len(lengths) > 0:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) > 1 && lengths[1] != lengths[0] {
			return notHTTP("the content length %q", strings.Join(lengths, ","))
		}
		return r.take(in, int64(n))
	}
	err := r.take(in, -1)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil // the end of the connection is the end of the body
	}
	return err
}

// take reads n bytes of body, or up to the end if n is negative.
func (r *reply) take(in io.Reader, n int64) error {
	if n < 0 {
		n = maxTransfer
	}
	if r.scratch == nil {
		r.scratch = make([]byte, 4096)
	}
	for n > 0 && !r.full() {
		got, err := in.Read(r.scratch[:min(int64(len(r.scratch)), n)])
		n -= int64(got)
		r.keep(r.scratch[:got])
		if err != nil && n > 0 {
			return unexpected(err)
		}
	}
	return nil
}

func (r *reply) keep(b []byte) {
	r.size += int64(len(b))
	r.body = append(r.body, b[:min(len(b), maxKept-len(r.body))]...)
}

// full reports whether enough was read.
func (r *reply) full() bool {
	r.partial = r.partial || r.size >= maxTransfer
	return r.partial
}

func (r *reply) readChunks(in *bufio.Reader) error {
	h := head{in: in, left: maxHead + maxTransfer}
	for !r.full() {
		line, err := h.line()
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
		if err != nil {
			return notHTTP("a chunk of size %q", size)
		}
		if n == 0 {
			return h.trailer()
		}
		if err := r.take(in, int64(n)); err != nil || r.partial {
			return err
		}
		if line, err = h.line(); err != nil {
			return err
		} else if line != "" {
			return notHTTP("a chunk that does not end where it should")
		}
	}
	return nil
}

// trailer skips what may follow the last chunk.
func (h *head) trailer() error {
	for range maxLines {
		line, err := h.line()
		if err != nil || line == "" {
			return err
		}
	}
	return notHTTP("more than %d trailer lines", maxLines)
}
