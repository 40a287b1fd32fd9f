package lab

//lint:file-ignore SA1019 http.Server.Protocols needs net/http's own HTTP/2, which release builds leave out

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/http2"
)

// web is the HTTP server behind all fronts: HTTP/1.1, and h2 on TLS
// connections that have agreed on it, by x/net, because release builds leave
// net/http's own out. Each connection brings its own handler.
type web struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	done   chan struct{} // closed when Serve has returned
}

func newWeb() (*web, error) {
	w := &web{conns: make(chan net.Conn), closed: make(chan struct{}), done: make(chan struct{})}
	w.server = &http.Server{
		Handler:     http.HandlerFunc(byConnection),
		ConnContext: withHandler,
		ErrorLog:    log.New(io.Discard, "", 0), // hostile clients are what tests are made of
	}
	if err := http2.ConfigureServer(w.server, nil); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.done)
		w.server.Serve(w)
	}()
	return w, nil
}

// serve answers the requests that arrive on conn, a [call] or TLS over one,
// until it ends.
func (w *web) serve(conn net.Conn, c *call) {
	select {
	case w.conns <- conn:
		<-c.ended
	case <-w.closed:
	}
}

func (w *web) close() {
	w.server.Close()
	<-w.done
}

// Accept, Close and Addr make web the listener of its own server.
func (w *web) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. The server calls it exactly once.
func (w *web) Close() error {
	close(w.closed)
	return nil
}

// Addr implements [net.Listener].
func (w *web) Addr() net.Addr { return &net.TCPAddr{} }

// A call is a connection that knows who answers it, and tells when it is over.
type call struct {
	net.Conn
	handler http.Handler

	once  sync.Once
	ended chan struct{}
}

func newCall(conn net.Conn, handler http.Handler) *call {
	return &call{Conn: conn, handler: handler, ended: make(chan struct{})}
}

// Close implements [net.Conn].
func (c *call) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

// CloseWrite lets crypto/tls and net/http finish one direction.
func (c *call) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type handlerKey struct{}

func withHandler(ctx context.Context, conn net.Conn) context.Context {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	return context.WithValue(ctx, handlerKey{}, conn.(*call).handler)
}

func byConnection(w http.ResponseWriter, r *http.Request) {
	r.Context().Value(handlerKey{}).(http.Handler).ServeHTTP(w, r)
}
