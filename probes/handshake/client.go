package handshake

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/identify"
)

// A Choice says which client certificate to show.
type Choice int

// The choices of a client certificate.
const (
	Own     Choice = iota // the target's, if it has one
	None                  // none
	Control               // a throwaway one, made on the spot, that no server trusts
)

// A Variant departs from the target as configured; its zero value does not.
type Variant struct {
	ServerName  string // SNI, and the name that the certificate must be for; the lane's unless given
	Certificate Choice
}

// A Client shakes hands as one target is configured to. It is safe for use by
// several goroutines.
type Client struct {
	sys    probes.System
	target *probes.Target
	*shared
}

// shared is what the clients of one agent have in common.
type shared struct {
	pairs  identify.Cache[*tls.Certificate]
	roots  identify.Cache[*x509.CertPool]
	chains chainCache
	names  nameCache
	system sync.Once
}

// Clients returns a maker of clients that share what they read of files and
// what they know of chains. Use it where many targets are bound.
func Clients(sys probes.System) func(*probes.Target) (*Client, error) {
	s := &shared{}
	return func(t *probes.Target) (*Client, error) {
		s.system.Do(func() { x509.SystemCertPool() }) // read once: not when no descriptor may be left to read them with
		if c := t.ClientCertificate; c.Certificate == "" && c.Key != "" {
			return nil, fmt.Errorf("%s: client_certificate has a key but no certificate", t.Name)
		}
		return &Client{sys, t, s}, nil
	}
}

// NewClient returns a client for the target.
func NewClient(sys probes.System, t *probes.Target) (*Client, error) { return Clients(sys)(t) }

// Shake completes TLS on conn, which it owns from now on, within ctx and the
// target's timeout. The connection that it returns, a [*tls.Conn], is nil
// unless the server was verified; then nothing secret has been sent either.
//
// In TLS 1.3 the handshake ends before the server has judged the client
// certificate: its alert, or the cut, comes with the first read. Whoever does
// not read asks [Verdict].
func (c *Client) Shake(ctx context.Context, conn net.Conn, lane probes.Lane, v Variant) (net.Conn, probes.Observation) {
	a := &attempt{client: c, serverName: lane.ServerName, start: time.Now()}
	if v.ServerName != "" {
		a.serverName = v.ServerName
	}
	a.detail = &Detail{ServerName: a.serverName, at: a.start}
	o := probes.Observation{Kind: name, Via: lane.Via, Name: a.serverName, Addr: lane.Addr, Start: a.start, Detail: a.detail}
	if err := a.prepare(v.Certificate); err != nil {
		conn.Close()
		o.Outcome, o.Err = probes.Fault, err
		return nil, o
	}
	w := &wire{Conn: conn, bell: &bell{}, made: a.start}
	t := tls.Client(w, a.config(w.bell))
	err := c.complete(ctx, t)
	a.detail.Segments = w.look()
	o.Phases = since(a.start)
	o.Outcome, o.Err = a.conclude(w, t.ConnectionState(), err)
	o.Values = values(a.detail)
	if o.Outcome != probes.OK {
		conn.Close()
		return nil, o
	}
	return t, o
}

// complete lets the connection keep to the time by itself: a context's timer would
// close it, though the server's answer may be here.
func (c *Client) complete(ctx context.Context, t *tls.Conn) error {
	deadline, _ := probes.Within(ctx, c.target.StepTimeout()).Deadline()
	t.SetDeadline(deadline)
	err := t.HandshakeContext(ctx)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	t.SetDeadline(time.Time{})
	return err
}

// An attempt is one handshake.
type attempt struct {
	client     *Client
	serverName string
	start      time.Time
	own        *tls.Certificate // what to show if asked; nil for none
	roots      *x509.CertPool   // nil for the system's
	judged     *judgement       // of the server's chain; nil until it came
	detail     *Detail
}

// prepare reads the files. What is wrong with them is our own trouble; the
// step identify says what it means.
func (a *attempt) prepare(choice Choice) error {
	t, s := a.client.target, a.client.shared
	if path := t.Trust.CAFile; path != "" {
		roots, err := s.roots.Get(func(text [][]byte) (*x509.CertPool, error) { return rootsOf(path, text[0]) }, path)
		if err != nil {
			return fmt.Errorf("trust.ca_file: %w", err)
		}
		a.roots = roots
	}
	var err error
	switch files := t.ClientCertificate; {
	case choice == Control:
		a.own, err = controlCertificate(a.start)
	case choice == Own && files.Certificate != "":
		a.own, err = s.pair(files)
	}
	if err != nil {
		return fmt.Errorf("client_certificate: %w", err)
	}
	return nil
}

// pair returns the certificate and key of the files. The key may stand in the
// certificate's file.
func (s *shared) pair(files probes.ClientCertificate) (*tls.Certificate, error) {
	keyFile := files.Key
	if keyFile == "" {
		keyFile = files.Certificate
	}
	return s.pairs.Get(func(text [][]byte) (*tls.Certificate, error) {
		certs, err := identify.ParseCertificates(text[0])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", files.Certificate, err)
		}
		key, err := identify.ParseKey(text[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keyFile, err)
		}
		if !identify.Belongs(key, certs[0]) {
			return nil, fmt.Errorf("%s: the key is not that of the first certificate in %s", keyFile, files.Certificate)
		}
		return pairOf(certs, key), nil
	}, files.Certificate, keyFile)
}

func pairOf(certs []*x509.Certificate, key crypto.Signer) *tls.Certificate {
	pair := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair
}

// controlCertificate makes a self-signed client certificate whose key is
// forgotten with it.
func controlCertificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "vpcprobe-control"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return pairOf([]*x509.Certificate{leaf}, key), nil
}

func (a *attempt) config(b *bell) *tls.Config {
	t := a.client.target
	c := &tls.Config{
		ServerName:           a.serverName,
		InsecureSkipVerify:   true, // a.verify judges instead, and lets the handshake go on
		VerifyConnection:     a.verify,
		GetClientCertificate: a.present,
		ClientSessionCache:   b,
		MinVersion:           tls.VersionTLS12,
		// Private APIs speak HTTP/1.1 only (API Gateway Developer Guide,
		// apigateway-private-apis).
		NextProtos: []string{"http/1.1"},
		// All that callers offer: servers are set up for P-384 alone. Only the
		// first has a key share in the client hello.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
	}
	if t.Kind == probes.CustomDomain {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	if t.KeyExchange == "hybrid" {
		c.CurvePreferences = append([]tls.CurveID{tls.X25519MLKEM768}, c.CurvePreferences...)
	}
	return c
}

// verify judges the server's chain as soon as it is there, so that present
// knows whom it faces. It never ends the handshake: what the server does next
// is worth knowing even if it is not trusted.
func (a *attempt) verify(s tls.ConnectionState) error {
	j := a.client.chains.examine(s.PeerCertificates, a.roots, time.Now()).judge(s.PeerCertificates[0], a.serverName)
	a.judged = &j
	return nil
}

// maxCAs bounds how many of the acceptable authorities are noted.
const maxCAs = 32

// present answers the server's request for a client certificate. The library
// would pass over a certificate whose issuer the server does not name; other
// clients send it all the same, and so do we.
func (a *attempt) present(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	d := a.detail
	d.Asked = true
	for _, raw := range asked.AcceptableCAs[:min(len(asked.AcceptableCAs), maxCAs)] {
		d.AcceptableCAs = append(d.AcceptableCAs, a.client.names.of(raw))
	}
	if a.own == nil || a.judged == nil || a.judged.outcome != probes.OK {
		return &tls.Certificate{}, nil
	}
	if len(asked.AcceptableCAs) > 0 {
		listed := asked.SupportsCertificate(a.own) == nil
		d.IssuerListed = &listed
	}
	anyCA := *asked
	anyCA.AcceptableCAs = nil
	d.unsigned = anyCA.SupportsCertificate(a.own) != nil
	d.Sent, d.shown = true, &a.own.Certificate
	return a.own, nil
}

// conclude notes what was seen and names the outcome. A bad verdict on the
// server stands whatever came after it.
func (a *attempt) conclude(w *wire, s tls.ConnectionState, err error) (probes.Outcome, error) {
	d := a.detail
	d.agreed(s)
	d.BytesRead, d.hello = w.read, w.hello()
	if code, text, ok := Alert(err); ok {
		d.AlertCode, d.Alert = code, text
	}
	if j := a.judged; j != nil {
		d.Chain, d.NotAfter, d.NameMatches, d.Flaws = j.chain, j.notAfter, j.nameMatches, j.flaws
		if j.outcome != probes.OK {
			return j.outcome, j.err
		}
	}
	if err == nil {
		if d.Asked && s.Version < tls.VersionTLS13 {
			d.Verdict = Accepted // TLS 1.2 ends with the server's word
		}
		return probes.OK, nil
	}
	outcome := d.classify(w, err)
	if outcome == probes.NotTLS && w.foreign() {
		d.Heard = w.heard()
	}
	if d.Asked && (outcome == probes.Rejected || outcome == probes.Reset || outcome == probes.Closed) {
		d.Verdict = Refused
	}
	return outcome, scrubbed{err}
}

// A scrubbed error says what an error says, made fit to be evidence.
type scrubbed struct{ error }

func (e scrubbed) Error() string { return probes.Scrub(e.error.Error(), 300) }
func (e scrubbed) Unwrap() error { return e.error }

// classify names the outcome of a handshake that failed with err.
func (d *Detail) classify(w *wire, err error) probes.Outcome {
	outcome := probes.Classify(err)
	_, garbled := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case d.Alert != "":
		return probes.Rejected
	case outcome == probes.Aborted || outcome == probes.Timeout:
		return outcome
	case garbled || w.foreign():
		return probes.NotTLS
	case outcome != probes.Fault || w.read == 0:
		return outcome
	case d.tooOld() || d.unsigned:
		return probes.Rejected
	}
	return probes.NotTLS // the library's other errors mean that the peer broke the protocol
}

// tooOld reports whether the server chose a version that we did not offer.
func (d *Detail) tooOld() bool { return d.hello != 0 && d.hello < tls.VersionTLS12 }
