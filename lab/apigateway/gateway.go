// Package apigateway models the data plane of Amazon API Gateway: which answer
// a request gets, byte for byte where transcripts show the bytes. It exists so
// that a diagnosis can be tested against something that does not share its
// assumptions: it uses neither the AWS SDK nor any package of ours, and its
// SigV4 verifier and policy evaluation are written from AWS's documents.
//
// It is an http.Handler without a network of its own. What a TLS front knows
// of the connection (SNI, the VPC endpoint, the client certificate) comes with
// [WithConn]; connections that API Gateway resets inside the handshake never
// reach it. It models answers, not load: throttling and quotas are switches.
//
// Comments name the rows of FACTS.md, section 1.2, whose answers the code
// gives (A1 to G1), and say where a choice rests on inference.
package apigateway

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is what the TLS front knows of the connection that a request came on.
type Conn struct {
	ServerName        string            // the SNI
	EndpointID        string            // the VPC endpoint it came through; "" from the internet
	VPC               string            // the VPC of that endpoint
	SourceIP          string            // the client's address: aws:VpcSourceIp through an endpoint, else aws:SourceIp
	ClientCertificate *x509.Certificate // the leaf that the client proved to own
	MutualTLS         bool              // whether a client certificate was asked for
}

type connKey struct{}

// WithConn tells the gateway about the connection of the requests made with
// ctx, as from http.Server.ConnContext. Without it a request comes from the
// internet, from an unknown address, without SNI.
func WithConn(ctx context.Context, c Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// maxRequests bounds what is remembered of the requests received.
const maxRequests = 1024

// A Gateway answers requests as its State says. Its methods are safe for
// concurrent use.
type Gateway struct {
	state  atomic.Pointer[State]
	update sync.Mutex // serializes Update

	received sync.Mutex // guards what follows
	requests []Request  // a ring once full: total says where it starts
	total    int
}

// New returns a gateway with a copy of the state.
func New(s *State) *Gateway {
	g := &Gateway{}
	g.state.Store(s.Clone())
	return g
}

// Update changes the model. Requests in flight are answered from the state as
// it was when they came; f must not keep its argument.
func (g *Gateway) Update(f func(*State)) {
	g.update.Lock()
	defer g.update.Unlock()
	next := g.state.Load().Clone()
	f(next)
	g.state.Store(next.Clone())
}

// A Request is what the model remembers of one request and its answer: the
// truth that a diagnosis is compared with. It holds no secret.
type Request struct {
	At         time.Time // by the model's clock
	Method     string
	Target     string // path and query as sent
	Host       string
	UserAgent  string
	ServerName string
	EndpointID string
	SignedBy   string // the access key id of a signature that was found valid
	APIKey     bool   // an x-api-key header was sent

	API    string // the API and stage it was routed to, as far as that went
	Stage  string
	Row    string // the row of FACTS.md that the answer is an instance of; "" where none is
	Status int
	Reason string // what the execution log would say, where that is known
	ID     string // as in x-amzn-RequestId or apigw-requestid
}

// Requests returns the latest requests, at most 1024, oldest first.
func (g *Gateway) Requests() []Request {
	g.received.Lock()
	defer g.received.Unlock()
	if g.total <= maxRequests {
		return slices.Clone(g.requests)
	}
	start := g.total % maxRequests
	return slices.Concat(g.requests[start:], g.requests[:start])
}

// Received returns how many requests were answered since New.
func (g *Gateway) Received() int {
	g.received.Lock()
	defer g.received.Unlock()
	return g.total
}

func (g *Gateway) remember(r Request) {
	g.received.Lock()
	defer g.received.Unlock()
	if len(g.requests) < maxRequests {
		g.requests = append(g.requests, r)
	} else {
		g.requests[g.total%maxRequests] = r
	}
	g.total++
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(connKey{}).(Conn)
	c := newCall(g.state.Load(), conn, r)
	a := c.answer()
	if !wait(r.Context(), a.delay) {
		return
	}
	g.remember(c.request(a))
	c.write(w, a)
}

// wait reports whether the delay passed before the client went away.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
