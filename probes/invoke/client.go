package invoke

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/handshake"
)

// A Client sends requests to one target, as its callers do or departing from
// that. It is shared with package followup, so that what a follow-up learns
// comes about in the same way as what it explains.
type Client struct {
	network     probes.Network
	target      *probes.Target
	shaker      *handshake.Client
	credentials *Credentials
	agent       string // User-Agent
	marked      bool   // sent even where the target has a User-Agent of its own, after that
	path        string // of the target, cleaned
	want        *expectation
	timeout     time.Duration // of each step
}

// Clients returns a maker of clients that share credentials and what was read
// of files. agent is what they send as User-Agent, unless the target has one of
// its own; marked ones send both then. The errors of the maker are for the person
// who wrote the configuration.
func Clients(sys probes.System, agent string, marked bool) func(*probes.Target) (*Client, error) {
	credentials, shakers := NewCredentials(sys.Network), handshake.Clients(sys)
	return func(t *probes.Target) (*Client, error) {
		shaker, err := shakers(t)
		if err != nil {
			return nil, err
		}
		c := &Client{network: sys.Network, target: t, shaker: shaker, credentials: credentials, agent: agent, marked: marked, timeout: t.StepTimeout()}
		return c, c.prepare()
	}
}

// prepare works out what the target's requests have in common.
func (c *Client) prepare() (err error) {
	if c.path, err = cleanPath(c.target.URLPath()); err != nil {
		return err
	}
	if err := checkHeaders(c.target); err != nil {
		return err
	}
	c.want, err = newExpectation(c.target)
	return err
}

// Target returns what the client speaks to.
func (c *Client) Target() *probes.Target { return c.target }

// Path returns the path and query of the target's own request, cleaned.
func (c *Client) Path() string { return c.path }

// A Request says how one request departs from the target's own. The zero value
// does not.
type Request struct {
	Method    string            // the target's, unless given
	Path      string            // path and query; the target's, unless given
	Host      string            // the Host header; the lane's, unless given
	Unsigned  bool              // neither sign nor send a configured Authorization header
	APIKey    string            // sent in place of the target's
	NoAPIKey  bool              // send none
	Bare      bool              // no configured headers but those that say where the request goes, no body
	NoBody    bool              // no body
	Handshake handshake.Variant // how to shake hands, for Call

	// NoAPIID leaves out x-apigw-api-id, which names the API where the Host
	// header does not.
	NoAPIID bool
}

// An opened line's observation, and what its handshake said of client
// certificates.
type opened struct{ probes.Observation }

func (o opened) asked() bool {
	d := handshake.Of(o.Observation)
	return d != nil && d.Asked
}

// Open connects to the lane's address and shakes hands. The connection is nil
// unless the server was verified; the observation then says why, as one of
// this kind.
func (c *Client) Open(ctx context.Context, lane probes.Lane, v handshake.Variant) (net.Conn, opened) {
	dialing, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, o := connect.Dial(dialing, c.network, lane)
	if conn == nil {
		return nil, opened{c.unopened(lane, o)}
	}
	secured, shaken := c.shaker.Shake(ctx, conn, lane, v)
	if secured == nil {
		phases := append(o.Phases[:len(o.Phases):len(o.Phases)], shaken.Phases...)
		asked := opened{shaken}.asked()
		shaken = c.unopened(lane, shaken)
		shaken.Phases = phases
		shaken.Detail.(*Answer).CertAsked = asked
		return nil, opened{shaken}
	}
	return secured, opened{shaken}
}

// unopened turns the observation of a lower layer that failed into one of ours.
func (c *Client) unopened(lane probes.Lane, o probes.Observation) probes.Observation {
	o.Kind, o.Name, o.Via, o.Addr = "", lane.ServerName, lane.Via, lane.Addr
	o.Values = nil
	o.Detail = &Answer{Host: lane.ServerName}
	if o.Outcome == probes.OK {
		o.Outcome = probes.Fault
	}
	return o
}

// Call opens a connection of its own for one request and closes it.
func (c *Client) Call(ctx context.Context, lane probes.Lane, r Request) probes.Observation {
	conn, o := c.Open(ctx, lane, r.Handshake)
	if conn == nil {
		return o.Observation
	}
	defer conn.Close()
	return c.Do(ctx, conn, lane, o.asked(), r)
}

// Do sends a request on a connection whose server was verified, and reads the
// answer. asked says whether the server asked for a client certificate: under
// TLS 1.3 its verdict on that arrives with the first read only.
func (c *Client) Do(ctx context.Context, conn net.Conn, lane probes.Lane, asked bool, r Request) probes.Observation {
	o := probes.Observation{Via: lane.Via, Name: lane.ServerName, Addr: lane.Addr, Start: time.Now()}
	a := &Answer{CertAsked: asked, direct: c.want.private, expectsGateway: c.target.API != "" || c.target.Region != ""}
	o.Detail = a
	call, err := c.build(ctx, lane, r, a)
	if call.fetch > 0 {
		o.Phases = append(o.Phases, probes.Phase{Name: probes.PhaseCredentials, Took: call.fetch})
	}
	if err != nil {
		o.Outcome, o.Err = probes.Fault, err
		if errors.Is(ctx.Err(), context.Canceled) {
			o.Outcome = probes.Aborted
		}
		return o
	}
	ctx = probes.Within(ctx, c.timeout)
	reply := exchange(ctx, conn, call)
	reply.unjudged = asked && !handshake.Passed(conn)
	o.Phases = append(o.Phases, reply.phases...)
	c.read(a, reply, call, lane)
	o.Outcome, o.Err = c.conclude(a, reply, call, lane, ctx)
	o.Values = values(a, call)
	return o
}

// read enters what the reply says into the answer.
func (c *Client) read(a *Answer, reply *reply, call *call, lane probes.Lane) {
	if reply.status == 0 {
		return
	}
	fill(a, reply, call.known())
	if reply.body != nil {
		a.Differs = call.differs(reply.body)
	}
	a.Skew = skew(reply)
	row := c.want.recognizes(reply)
	if row == nil {
		row = match(a)
	}
	row.enter(a, situation{c.target, lane.Via, lane.Addr.Addr(), a})
	if a.Signed != nil && (a.Denial == "A10" || a.Denial == "A11") {
		c.credentials.Forget(c.target.Profile) // there may be better ones by now
	}
}

// conclude decides how the request ended.
func (c *Client) conclude(a *Answer, reply *reply, call *call, lane probes.Lane, ctx context.Context) (probes.Outcome, error) {
	if reply.err != nil {
		err := errors.New(probes.Scrub(reply.err.Error(), maxMessage, call.known()...))
		return networkOutcome(ctx, reply), err
	}
	outcome, err := c.want.judge(a, reply)
	if outcome != probes.OK && a.Message == "" && a.Body == "" {
		a.Body = excerptOf(reply, call.known())
	}
	if err != nil {
		err = errors.New(probes.Scrub(err.Error(), maxMessage, call.known()...))
	}
	return outcome, err
}

// networkOutcome classifies a request that got no complete answer.
func networkOutcome(ctx context.Context, reply *reply) probes.Outcome {
	if context.Cause(ctx) == context.Canceled {
		return probes.Aborted
	}
	if errors.Is(reply.err, errNotHTTP) {
		return probes.NotHTTP
	}
	if _, _, ok := handshake.Alert(reply.err); ok {
		return probes.Rejected
	}
	outcome := probes.Classify(reply.err)
	cut := outcome == probes.Reset || outcome == probes.Closed
	switch {
	case cut && reply.unjudged && !reply.began:
		return probes.Rejected // the true verdict on the client certificate (measured)
	case outcome == probes.Fault:
		return probes.NotHTTP // what TLS or HTTP/2 could not make sense of
	}
	return outcome
}

// negotiated returns the protocol that the handshake agreed on.
func negotiated(conn net.Conn) string {
	if t, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return t.ConnectionState().NegotiatedProtocol
	}
	return ""
}

func checkHeaders(t *probes.Target) error {
	for _, h := range t.Headers {
		switch canonical(h.Name) {
		case "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Trailer":
			return fmt.Errorf("headers: %s is set by the agent itself", h.Name)
		case "Accept-Encoding":
			if !strings.EqualFold(h.Value, "identity") {
				return errors.New("headers: Accept-Encoding must be identity, or left out: the agent does not decode bodies")
			}
		case "Authorization":
			if t.Sign {
				return errors.New("headers: Authorization and sign: true exclude each other")
			}
		}
		if !validValue(h.Value) {
			return fmt.Errorf("headers: the value of %s holds a control character", h.Name)
		}
	}
	return nil
}
