package handshake

import (
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/probes"
	"vpcprobe/probes/identify/certtest"
	"vpcprobe/probes/resolve"
	"vpcprobe/probes/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const domain = "api.example.com"

// A place is where a handshake takes place: an authority, a client, a target.
type place struct {
	t      *testing.T
	ca     *certtest.Pair // vouches for servers; in trust.ca_file
	people *certtest.Pair // vouches for clients
	target *probes.Target
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, ca: certtest.Root(t, "Lab Root"), people: certtest.Root(t, "People Root")}
	p.target = &probes.Target{
		Name:   "test",
		Kind:   probes.CustomDomain,
		Domain: domain,
		Settings: &probes.Settings{
			KeyExchange: "classical",
			Timeout:     10 * time.Second,
			Trust:       probes.Trust{CAFile: p.file("ca.pem", p.ca.PEM())},
		},
	}
	return p
}

func (p *place) file(name string, content []byte) string {
	p.t.Helper()
	path := filepath.Join(p.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// identity gives the target a client certificate.
func (p *place) identity(client *certtest.Pair, chain ...*certtest.Pair) {
	p.target.ClientCertificate.Certificate = p.file("client.pem", certtest.Bundle(append([]*certtest.Pair{client}, chain...)...))
	p.target.ClientCertificate.Key = p.file("client.key", client.KeyPEM(p.t))
}

// server is the certificate of a server that nothing is wrong with.
func (p *place) server(options ...certtest.Option) tls.Certificate {
	return p.ca.Issue(p.t, "server", append([]certtest.Option{certtest.Names(domain)}, options...)...).TLS()
}

// walk runs the kind once against a server, as the agent does.
func (p *place) walk(serve func(net.Conn), more bool) (probes.Observation, *probes.Line) {
	p.t.Helper()
	return p.walkTo(context.Background(), listen(p.t, serve), more)
}

func (p *place) walkTo(ctx context.Context, addr netip.AddrPort, more bool) (probes.Observation, *probes.Line) {
	p.t.Helper()
	probe, err := Kind.New(probes.Host())(p.target)
	if err != nil {
		p.t.Fatal(err)
	}
	line := &probes.Line{Lane: lane(addr), More: more}
	if line.Conn, err = net.Dial("tcp", addr.String()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(line.Close)
	obs := probe.Probe(ctx, p.seen(), line)
	if len(obs) != 1 {
		p.t.Fatalf("%d observations, want 1", len(obs))
	}
	return obs[0], line
}

func lane(addr netip.AddrPort) probes.Lane {
	return probes.Lane{Via: probes.ViaDomain, ServerName: domain, Addr: addr, Answered: true}
}

func (p *place) seen(obs ...probes.Observation) probes.Evidence {
	return probes.Evidence{Target: p.target}.With(name, obs)
}

// findings are the ids of what the rules say, with the certainty.
func (p *place) findings(o probes.Observation) []string {
	var ids []string
	for _, f := range probes.Diagnose(Rules, p.seen(o)) {
		ids = append(ids, f.Rule.ID+" "+f.Certainty.String())
	}
	return ids
}

// listen serves every connection to a loopback address until the test ends.
func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// speak serves TLS and then waits for the client to hang up.
func speak(config *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		t := tls.Server(conn, config)
		if t.Handshake() == nil {
			io.Copy(io.Discard, t)
		}
		t.Close()
	}
}

// say answers whatever comes first with text, and stays until the client hangs up.
func say(text string) func(net.Conn) {
	return func(conn net.Conn) {
		conn.Read(make([]byte, 4096))
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

// reset cuts a connection so that the peer gets a reset.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// A cutter is a server that reads the client's certificate and then resets
// the connection without an alert, as load balancers do.
func cutter(config *tls.Config) func(net.Conn) {
	return func(conn net.Conn) {
		c := config.Clone()
		c.VerifyConnection = func(tls.ConnectionState) error {
			reset(conn)
			return errors.New("cut")
		}
		tls.Server(conn, c).Handshake()
	}
}

func only(version uint16, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: certs, MinVersion: version, MaxVersion: version}
}

var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

func each(t *testing.T, do func(t *testing.T, version uint16)) {
	for _, v := range versions {
		t.Run(tls.VersionName(v), func(t *testing.T) { t.Parallel(); do(t, v) })
	}
}

// expect compares an observation and its findings with what must be.
func (p *place) expect(o probes.Observation, outcome probes.Outcome, findings ...string) *Detail {
	p.t.Helper()
	if o.Outcome != outcome {
		p.t.Errorf("outcome %s (%v), want %s", o.Outcome, o.Err, outcome)
	}
	if (o.Err == nil) != (outcome == probes.OK) {
		p.t.Errorf("outcome %s with error %v", o.Outcome, o.Err)
	}
	if got := p.findings(o); !slices.Equal(got, findings) {
		p.t.Errorf("findings %q, want %q", got, findings)
	}
	d := Of(o)
	if d == nil {
		p.t.Fatal("no detail")
	}
	return d
}

func TestGoodServer(t *testing.T) {
	each(t, func(t *testing.T, version uint16) {
		p := newPlace(t)
		config := only(version, p.server())
		config.NextProtos = []string{"h2"}
		o, line := p.walk(speak(config), true)
		d := p.expect(o, probes.OK)
		if d.Version != tls.VersionName(version) || d.ALPN != "h2" || d.Group != "X25519" || d.Cipher == "" {
			t.Errorf("agreed on %s %s %s %s", d.Version, d.Cipher, d.Group, d.ALPN)
		}
		if !d.NameMatches || d.Asked || d.Sent || len(d.Flaws) > 0 || len(d.Chain) != 1 || d.BytesRead == 0 {
			t.Errorf("detail %+v", d)
		}
		if c := d.Chain[0]; c.Subject != "CN=server" || c.Issuer != "CN=Lab Root" || c.Key != "ECDSA P-256" ||
			c.Signature != "ECDSA-SHA256" || !slices.Equal(c.Names, []string{domain}) || len(c.Fingerprint) != 64 {
			t.Errorf("certificate %+v", c)
		}
		if want := tls.VersionName(version) + ", api.example.com, 364 days left"; d.String() != want {
			t.Errorf("line %q, want %q", d, want)
		}
		if len(o.Phases) != 1 || o.Phases[0].Name != probes.PhaseTLS || o.Phases[0].Took <= 0 {
			t.Errorf("phases %v", o.Phases)
		}
		if _, err := line.Conn.Write([]byte("x")); err != nil {
			t.Errorf("the connection is of no use: %v", err)
		}
	})
}

func TestMetrics(t *testing.T) {
	p := newPlace(t)
	leaf := p.ca.Issue(t, "server", certtest.Names(domain))
	config := only(tls.VersionTLS13, leaf.TLS())
	config.ClientAuth = tls.RequestClientCert
	o, _ := p.walk(speak(config), true)
	got := map[string]string{}
	for _, v := range o.Values {
		got[v.Name] = fmt.Sprintf("%.0f %v", v.V, v.Labels)
	}
	want := map[string]string{
		"tls_info":                         "1 [TLS 1.3 TLS_AES_128_GCM_SHA256 X25519 ]",
		"tls_client_cert_requested":        "1 []",
		"cert_not_after_timestamp_seconds": fmt.Sprintf("%d [server]", leaf.NotAfter.Unix()),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("values %v\nwant   %v", got, want)
	}
}

func TestPrivateAPISpeaksHTTP1(t *testing.T) {
	p := newPlace(t)
	p.target.Kind = probes.PrivateAPI
	config := only(tls.VersionTLS13, p.server())
	config.NextProtos = []string{"h2", "http/1.1"}
	addr := listen(t, speak(config))
	p.target.Endpoint.Addresses = []netip.Addr{addr.Addr()}
	o, _ := p.walkTo(context.Background(), addr, true)
	if d := p.expect(o, probes.OK); d.ALPN != "http/1.1" {
		t.Errorf("ALPN %q, want http/1.1", d.ALPN)
	}
}

func TestKeyExchange(t *testing.T) {
	for _, tt := range []struct {
		exchange string
		server   []tls.CurveID
		want     string
	}{
		{"classical", nil, "X25519"},
		{"classical", []tls.CurveID{tls.CurveP256}, "P-256"},
		{"classical", []tls.CurveID{tls.CurveP384}, "P-384"},
		{"classical", []tls.CurveID{tls.CurveP521}, "P-521"},
		{"hybrid", nil, "X25519MLKEM768"},
		{"hybrid", []tls.CurveID{tls.CurveP384}, "P-384"},
		{"hybrid", []tls.CurveID{tls.CurveP521}, "P-521"},
	} {
		t.Run(tt.exchange+" "+tt.want, func(t *testing.T) {
			p := newPlace(t)
			p.target.KeyExchange = tt.exchange
			config := only(tls.VersionTLS13, p.server())
			config.CurvePreferences = tt.server
			o, _ := p.walk(speak(config), true)
			if d := p.expect(o, probes.OK); d.Group != tt.want {
				t.Errorf("group %s, want %s", d.Group, tt.want)
			}
		})
	}
}

// Whatever is wrong with the server's certificate is known, and no connection
// is handed on.
func TestServerCertificates(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	for _, tt := range []struct {
		name     string
		cert     func(*place) tls.Certificate
		outcome  probes.Outcome
		findings []string
		note     string // part of the first note
	}{
		{"unknown authority", func(p *place) tls.Certificate {
			return certtest.Root(p.t, "Proxy Root").Issue(p.t, "server", certtest.Names(domain)).TLS()
		}, probes.Untrusted, []string{"server-cert-untrusted certain"}, "issued by CN=Proxy Root, 1 sent"},
		{"self-signed", func(p *place) tls.Certificate {
			return certtest.SelfSigned(p.t, "me", certtest.Names(domain)).TLS()
		}, probes.Untrusted, []string{"server-cert-untrusted certain"}, "self-signed by CN=me"},
		{"unknown authority, wrong name and expired", func(p *place) tls.Certificate {
			return certtest.Root(p.t, "Proxy Root").Issue(p.t, "server", certtest.Names("x.example"),
				certtest.Valid(now.Add(-9*day), now.Add(-2*day))).TLS()
		}, probes.Untrusted, []string{"server-cert-untrusted certain"}, "unknown authority"},
		{"intermediate left out", func(p *place) tls.Certificate {
			return p.ca.Issue(p.t, "Issuing", certtest.CA()).Issue(p.t, "server", certtest.Names(domain)).TLS()
		}, probes.Untrusted, []string{"server-cert-untrusted certain"}, "issued by CN=Issuing, 1 sent"},
		{"intermediate sent", func(p *place) tls.Certificate {
			between := p.ca.Issue(p.t, "Issuing", certtest.CA())
			return between.Issue(p.t, "server", certtest.Names(domain)).TLS(between)
		}, probes.OK, nil, ""},
		{"not for servers", func(p *place) tls.Certificate {
			return p.server(certtest.With(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
		}, probes.Untrusted, []string{"server-cert-untrusted certain"}, "incompatible key usage"},
		{"wrong name", func(p *place) tls.Certificate { return p.server(certtest.Names("www.example.com", "x.example.com")) },
			probes.WrongName, []string{"server-cert-wrong-name certain"},
			"asked for api.example.com; the certificate is for www.example.com, x.example.com"},
		{"API Gateway's default certificate", func(p *place) tls.Certificate {
			return p.server(certtest.Names("*.execute-api.eu-west-1.amazonaws.com"))
		}, probes.WrongName, []string{"server-cert-wrong-name certain"}, "points to the wrong place"},
		{"wrong name and expired", func(p *place) tls.Certificate {
			return p.server(certtest.Names("www.example.com"), certtest.Valid(now.Add(-9*day), now.Add(-2*day)))
		}, probes.WrongName, []string{"server-cert-wrong-name certain"}, "www.example.com"},
		{"no name", func(p *place) tls.Certificate { return p.server(certtest.Names()) },
			probes.WrongName, []string{"server-cert-wrong-name certain"}, "no name at all: CN=server"},
		{"expired", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(-9*day), now.Add(-2*day))) },
			probes.Expired, []string{"server-cert-expired certain"}, "CN=server expired on"},
		{"not yet valid", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(day), now.Add(99*day))) },
			probes.Expired, []string{"server-cert-expired certain"}, "is valid from"},
		{"expired intermediate", func(p *place) tls.Certificate {
			between := p.ca.Issue(p.t, "Issuing", certtest.CA(), certtest.Valid(now.Add(-9*day), now.Add(-2*day)))
			return between.Issue(p.t, "server", certtest.Names(domain), certtest.Valid(now.Add(-5*day), now.Add(99*day))).TLS(between)
		}, probes.Expired, []string{"server-cert-expired certain"}, "CN=Issuing expired on"},
		{"expired intermediate that has nothing in common with the leaf", func(p *place) tls.Certificate {
			between := p.ca.Issue(p.t, "Issuing", certtest.CA(), certtest.Valid(now.Add(-9*day), now.Add(-2*day)))
			return between.Issue(p.t, "server", certtest.Names(domain), certtest.Valid(now.Add(-day), now.Add(99*day))).TLS(between)
		}, probes.Expired, []string{"server-cert-expired certain"}, "CN=Issuing expired on"},
		{"expires in 29 days", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(-91*day), now.Add(29*day))) },
			probes.OK, []string{"server-cert-expiring certain"}, ": 28 days left, until "},
		{"of six days, two thirds of them left", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(-2*day), now.Add(4*day))) },
			probes.OK, nil, ""},
		{"expires in 2 days", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(-9*day), now.Add(2*day))) },
			probes.OK, []string{"server-cert-expiring certain"}, "ACT NOW: only 47 hours left"},
		{"expires in 31 days", func(p *place) tls.Certificate { return p.server(certtest.Valid(now.Add(-day), now.Add(31*day))) },
			probes.OK, nil, ""},
		{"a spare certificate in the chain has expired", func(p *place) tls.Certificate {
			return p.ca.Issue(p.t, "server", certtest.Names(domain)).TLS(
				certtest.Root(p.t, "Old Root", certtest.Valid(now.Add(-9*day), now.Add(-2*day))))
		}, probes.OK, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, version uint16) {
				p := newPlace(t)
				o, line := p.walk(speak(only(version, tt.cert(p))), true)
				d := p.expect(o, tt.outcome, tt.findings...)
				if len(d.Chain) == 0 || d.Version != tls.VersionName(version) {
					t.Errorf("chain %v, version %s: not all is known", d.Chain, d.Version)
				}
				if (line.Conn != nil) != (tt.outcome == probes.OK) {
					t.Errorf("outcome %s with connection %v", o.Outcome, line.Conn)
				}
				p.expectNote(o, tt.note)
			})
		})
	}
}

// An endpoint of another region shows that region's certificate. Where the
// names have told already that there are two regions, it is not a second cause.
func TestCertificateOfAnotherRegion(t *testing.T) {
	p := newPlace(t)
	addr := listen(t, speak(only(tls.VersionTLS12, p.server(certtest.Names("*.execute-api.eu-west-1.amazonaws.com")))))
	*p.target = probes.Target{
		Kind:   probes.PrivateAPI,
		API:    "a1b2c3d4e5",
		Region: "us-east-1",
		Settings: &probes.Settings{
			KeyExchange: "classical",
			Trust:       p.target.Trust,
			Via:         []probes.Via{probes.ViaPrivateDNS},
			Endpoint: probes.Endpoint{ID: "vpce-0a1b2c3d4e5f67890", Addresses: []netip.Addr{addr.Addr()},
				DNSName: "vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com"},
		},
	}
	o, _ := p.walkTo(context.Background(), addr, true)
	p.expect(o, probes.WrongName, "server-cert-wrong-name certain")
	asked := probes.Observation{Kind: "resolve", Via: probes.ViaPrivateDNS, Name: p.target.NameOf(probes.ViaPrivateDNS), Outcome: probes.Elsewhere, Detail: &resolve.Detail{}}
	seen := p.seen(o).With("resolve", []probes.Observation{asked})
	if found := probes.Diagnose(Rules, seen); len(found) != 0 {
		t.Errorf("found %s beside the names' cause", found[0].Rule.ID)
	}
}

func (p *place) expectNote(o probes.Observation, part string) {
	p.t.Helper()
	if part == "" {
		return
	}
	for _, f := range probes.Diagnose(Rules, p.seen(o)) {
		if notes := strings.Join(f.Notes, "\n"); !strings.Contains(notes, part) {
			p.t.Errorf("notes %q, want %q in it", notes, part)
		}
	}
}

// The client certificate is shown to nobody whom we do not trust.
func TestIdentityIsNotShownToStrangers(t *testing.T) {
	each(t, func(t *testing.T, version uint16) {
		p := newPlace(t)
		p.identity(p.people.Issue(t, "client"))
		var shown atomic.Int32
		config := only(version, certtest.SelfSigned(t, "stranger", certtest.Names(domain)).TLS())
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(s tls.ConnectionState) error {
			shown.Store(int32(len(s.PeerCertificates)))
			return nil
		}
		o, line := p.walk(speak(config), true)
		d := p.expect(o, probes.Untrusted, "server-cert-untrusted certain")
		if !d.Asked || d.Sent || shown.Load() != 0 || line.Conn != nil {
			t.Errorf("asked %v, sent %v, the server saw %d certificates, connection %v", d.Asked, d.Sent, shown.Load(), line.Conn)
		}
	})
}

func TestPeersThatDoNotSpeakTLS(t *testing.T) {
	for _, tt := range []struct {
		name     string
		serve    func(net.Conn)
		outcome  probes.Outcome
		heard    string
		findings []string
	}{
		{"plain HTTP", say("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), probes.NotTLS, "HTTP/1.1 400 Bad Request",
			[]string{"tls-not-spoken certain"}},
		{"SSH", say("SSH-2.0-OpenSSH_9.9\r\n"), probes.NotTLS, "SSH-2.0-OpenSSH_9.9", []string{"tls-not-spoken certain"}},
		{"short text, then end", func(c net.Conn) { io.WriteString(c, "no\n"); io.CopyN(io.Discard, c, 100) },
			probes.NotTLS, "no", []string{"tls-not-spoken certain"}},
		{"terminal escapes", say("\x1b[2J\x1b]0;x\x07 hello there"), probes.NotTLS, "[2J ]0;x  hello there", []string{"tls-not-spoken certain"}},
		{"a record of garbage", say("\x16\x03\x03\x00\x04\x02\x00\x00\x00"), probes.NotTLS, "", []string{"tls-not-spoken certain"}},
		{"an oversized record", say("\x16\x03\x03\xff\xff" + strings.Repeat("x", 100)), probes.NotTLS, "", []string{"tls-not-spoken certain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			o, line := p.walk(tt.serve, true)
			if d := p.expect(o, tt.outcome, tt.findings...); d.Heard != tt.heard || d.BytesRead == 0 || line.Conn != nil {
				t.Errorf("heard %q of %d bytes, want %q", d.Heard, d.BytesRead, tt.heard)
			}
		})
	}
}

func TestCuts(t *testing.T) {
	read := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	for _, tt := range []struct {
		name     string
		serve    func(net.Conn)
		outcome  probes.Outcome
		bytes    bool
		findings []string
	}{
		{"reset before the first byte", func(c net.Conn) { read(c); reset(c) }, probes.Reset, false, []string{"connection-cut likely"}},
		{"closed before the first byte", func(c net.Conn) { read(c) }, probes.Closed, false, []string{"connection-cut likely"}},
		{"reset within the server's part", func(c net.Conn) {
			read(c)
			io.WriteString(c, "\x16\x03\x03\x01\x00\x02\x00\x00\xfc\x03\x03")
			time.Sleep(50 * time.Millisecond) // so that the bytes are read before the reset
			reset(c)
		}, probes.Reset, true, []string{"connection-cut likely"}},
		{"closed within the server's part", func(c net.Conn) { read(c); io.WriteString(c, "\x16\x03\x03\x01\x00\x02") },
			probes.Closed, true, []string{"connection-cut likely"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			o, line := p.walk(tt.serve, true)
			if d := p.expect(o, tt.outcome, tt.findings...); (d.BytesRead > 0) != tt.bytes || line.Conn != nil {
				t.Errorf("%d bytes read", d.BytesRead)
			}
		})
	}
}

// A cut on which nothing was said is told from one that the client hello
// brought about.
func TestCutsUnprompted(t *testing.T) {
	for _, tt := range []struct {
		name       string
		serve      func(net.Conn)
		unprompted bool
		note       string
	}{
		{"hangs up at once", func(c net.Conn) { time.Sleep(10 * time.Millisecond); reset(c) }, true, "and the same when nothing is said"},
		{"dislikes the hello", func(c net.Conn) {
			c.Read(make([]byte, 4096))
			reset(c)
		}, false, "dislikes the name api.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			o, _ := p.walk(tt.serve, true)
			if d := p.expect(o, probes.Reset, "connection-cut likely"); d.Unprompted != tt.unprompted {
				t.Errorf("unprompted %v, want %v", d.Unprompted, tt.unprompted)
			}
			p.expectNote(o, tt.note)
			// Where connect has seen it, it has been said.
			reset := probes.Observation{Kind: "connect", Addr: o.Addr, Outcome: probes.Reset}
			if found := probes.Diagnose(Rules, p.seen(o).With("connect", []probes.Observation{reset})); len(found) != 0 {
				t.Errorf("found %s beside connect's cause", found[0].Rule.ID)
			}
			reset.Addr = netip.AddrPortFrom(o.Addr.Addr().Next(), o.Addr.Port())
			if found := probes.Diagnose(Rules, p.seen(o).With("connect", []probes.Observation{reset})); len(found) != 1 {
				t.Errorf("found %d, though connect saw it at another address", len(found))
			}
		})
	}
}

func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name string
		sent string
	}{{"no byte", ""}, {"a part", "\x16\x03\x03\x01\x00\x02"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.target.Timeout = 200 * time.Millisecond
			o, _ := p.walk(say(tt.sent), true)
			if d := p.expect(o, probes.Timeout, "handshake-stalled likely"); d.BytesRead != int64(len(tt.sent)) {
				t.Errorf("%d bytes read, want %d", d.BytesRead, len(tt.sent))
			}
			// Where the trace has shown why, it has been said.
			traced := probes.Observation{Kind: "trace", Addr: o.Addr, Detail: &trace.Result{MTU: &trace.MTUResult{BlackHole: true}}}
			if found := probes.Diagnose(Rules, p.seen(o).With("trace", []probes.Observation{traced})); len(found) != 0 {
				t.Errorf("found %s beside the trace's cause", found[0].Rule.ID)
			}
		})
	}
}

func TestSlowServerEndsWithinTheTimeout(t *testing.T) {
	p := newPlace(t)
	p.target.Timeout = 300 * time.Millisecond
	o, _ := p.walk(func(c net.Conn) {
		for _, b := range "\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + strings.Repeat("x", 200) {
			if _, err := c.Write([]byte{byte(b)}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}, true)
	p.expect(o, probes.Timeout, "handshake-stalled likely")
}

func TestShutdownBlamesNobody(t *testing.T) {
	p := newPlace(t)
	ctx, cancel := context.WithCancel(context.Background())
	o, line := p.walkTo(ctx, listen(t, func(c net.Conn) { cancel(); io.Copy(io.Discard, c) }), true)
	if p.expect(o, probes.Aborted); line.Conn != nil {
		t.Error("connection handed on")
	}
}

func TestVersions(t *testing.T) {
	t.Run("alert", func(t *testing.T) {
		p := newPlace(t)
		o, _ := p.walk(speak(&tls.Config{Certificates: []tls.Certificate{p.server()}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), true)
		if d := p.expect(o, probes.Rejected, "tls-version-refused certain"); d.Alert != "protocol_version" || d.AlertCode != 70 {
			t.Errorf("alert %q", d.Alert)
		}
	})
	t.Run("an older server hello", func(t *testing.T) {
		p := newPlace(t)
		hello := "\x02\x00\x00\x26\x03\x01" + strings.Repeat("r", 32) + "\x00\xc0\x13\x00"
		o, _ := p.walk(say("\x16\x03\x01\x00"+string(rune(len(hello)))+hello), true)
		p.expect(o, probes.Rejected, "tls-version-refused certain")
		p.expectNote(o, "the server answered with TLS 1.0")
	})
}

func TestAlertsThatConcernNoCertificate(t *testing.T) {
	for code, text := range map[byte]string{112: "unrecognized_name", 40: "handshake_failure", 80: "internal_error", 99: "alert_99", 42: "bad_certificate"} {
		t.Run(text, func(t *testing.T) {
			p := newPlace(t)
			o, _ := p.walk(say("\x15\x03\x03\x00\x02\x02"+string([]byte{code})), true)
			if d := p.expect(o, probes.Rejected, "handshake-refused certain"); d.Alert != text {
				t.Errorf("alert %q, want %q", d.Alert, text)
			}
		})
	}
	t.Run("no HTTP version in common", func(t *testing.T) {
		p := newPlace(t)
		config := only(tls.VersionTLS13, p.server())
		config.NextProtos = []string{"smtp"}
		o, _ := p.walk(speak(config), true)
		if d := p.expect(o, probes.Rejected, "handshake-refused certain"); d.Alert != "no_application_protocol" {
			t.Errorf("alert %q", d.Alert)
		}
	})
}

// A certificate that the library cannot parse is no sign that TLS is not
// spoken.
func TestUnreadableServerCertificate(t *testing.T) {
	p := newPlace(t)
	o, _ := p.walk(speak(only(tls.VersionTLS13, tls.Certificate{Certificate: [][]byte{[]byte("no DER")}, PrivateKey: certtest.EC(t, elliptic.P256())})), true)
	p.expect(o, probes.NotTLS, "handshake-broken likely")
}
