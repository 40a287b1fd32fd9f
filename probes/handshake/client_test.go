package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/identify/certtest"
)

// The shapes of mutual TLS, with and without a certificate of ours, and the
// verdict as TLS shows it when nothing is sent on the connection.
func TestMutualTLS(t *testing.T) {
	anyone := func(p *place, c *tls.Config) func(net.Conn) { // API Gateway: the verdict is a 403
		c.ClientAuth = tls.RequestClientCert
		return speak(c)
	}
	must := func(p *place, c *tls.Config) func(net.Conn) {
		c.ClientAuth = tls.RequireAnyClientCert
		return speak(c)
	}
	verify := func(p *place, c *tls.Config) func(net.Conn) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, certtest.Pool(p.people)
		return speak(c)
	}
	silent := func(p *place, c *tls.Config) func(net.Conn) {
		c.SessionTicketsDisabled = true
		return anyone(p, c)
	}
	cut := func(p *place, c *tls.Config) func(net.Conn) {
		c.ClientAuth = tls.RequestClientCert
		return cutter(c)
	}
	stranger := func(p *place) *certtest.Pair { return certtest.Root(p.t, "Stranger Root").Issue(p.t, "client") }
	friend := func(p *place) *certtest.Pair { return p.people.Issue(p.t, "client") }
	for _, tt := range []struct {
		name    string
		server  func(*place, *tls.Config) func(net.Conn)
		client  func(*place) *certtest.Pair
		outcome probes.Outcome
		verdict [2]Opinion // in TLS 1.2 and 1.3
		alert   [2]string
		finding string
	}{
		{"none asked for nothing shown", anyone, nil, probes.OK, [2]Opinion{Accepted, Accepted}, [2]string{}, ""},
		{"any is welcome", anyone, stranger, probes.OK, [2]Opinion{Accepted, Accepted}, [2]string{}, ""},
		{"trusted", verify, friend, probes.OK, [2]Opinion{Accepted, Accepted}, [2]string{}, ""},
		{"no ticket, no word", silent, friend, probes.OK, [2]Opinion{Accepted, Silent}, [2]string{}, ""},
		{"required, none", must, nil, probes.Rejected, [2]Opinion{Refused, Refused},
			[2]string{"handshake_failure", "certificate_required"}, "client-cert-required certain"},
		{"required and cut, none", cut, nil, probes.Reset, [2]Opinion{Refused, Refused}, [2]string{}, "client-cert-required likely"},
		{"untrusted", verify, stranger, probes.Rejected, [2]Opinion{Refused, Refused},
			[2]string{"unknown_ca", "unknown_ca"}, "client-cert-rejected certain"},
		{"untrusted and cut", cut, stranger, probes.Reset, [2]Opinion{Refused, Refused}, [2]string{}, "client-cert-rejected likely"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, version uint16) {
				p := newPlace(t)
				if tt.client != nil {
					p.identity(tt.client(p))
				}
				o, line := p.walk(tt.server(p, only(version, p.server())), false)
				var findings []string
				if tt.finding != "" {
					findings = []string{tt.finding}
				}
				d := p.expect(o, tt.outcome, findings...)
				i := int(version - tls.VersionTLS12)
				if !d.Asked || d.Sent != (tt.client != nil) || d.Verdict != tt.verdict[i] || d.Alert != tt.alert[i] {
					t.Errorf("asked %v, sent %v, verdict %q, alert %q", d.Asked, d.Sent, d.Verdict, d.Alert)
				}
				if (line.Conn != nil) != (tt.outcome == probes.OK) {
					t.Errorf("outcome %s with connection %v", o.Outcome, line.Conn)
				}
			})
		})
	}
}

// In TLS 1.3 the verdict comes with the first read, which is left to whoever
// speaks next on the connection.
func TestVerdictIsLeftToTheNextStep(t *testing.T) {
	p := newPlace(t)
	config := only(tls.VersionTLS13, p.server())
	config.ClientAuth = tls.RequireAnyClientCert
	o, line := p.walk(speak(config), true)
	if d := p.expect(o, probes.OK); !d.Asked || d.Sent || d.Verdict != "" {
		t.Errorf("asked %v, sent %v, verdict %q", d.Asked, d.Sent, d.Verdict)
	}
	_, err := line.Conn.Read(make([]byte, 1))
	if code, text, ok := Alert(err); !ok || code != 116 || text != "certificate_required" {
		t.Errorf("first read: %v", err)
	}

	// What that step makes of it is told apart by what the handshake sent.
	read := probes.Observation{Kind: "invoke", Via: o.Via, Addr: o.Addr, Outcome: probes.Rejected, Err: err}
	found := probes.Diagnose(Rules, p.seen(o).With("invoke", []probes.Observation{read}))
	if len(found) != 1 || found[0].Rule != required || len(found[0].Because) != 1 || len(found[0].Notes) != 1 {
		t.Errorf("found %+v", found)
	}
	sent := *Of(o)
	sent.Sent = true
	o.Detail = &sent
	found = probes.Diagnose(Rules, p.seen(o).With("invoke", []probes.Observation{read}))
	if len(found) != 1 || found[0].Rule != rejected {
		t.Errorf("found %+v", found)
	}
	read.Addr = netip.AddrPortFrom(read.Addr.Addr(), 1)
	if found := probes.Diagnose(Rules, p.seen(o).With("invoke", []probes.Observation{read})); len(found) != 0 {
		t.Errorf("found %s by the reading on another lane", found[0].Rule.ID)
	}
}

func TestAlertOfOtherErrors(t *testing.T) {
	for _, err := range []error{nil, io.EOF, errors.New("remote error: tls: bad certificate"),
		&net.OpError{Op: "remote error"}, &net.OpError{Op: "remote error", Err: io.EOF}, &net.OpError{Op: "read", Err: io.EOF}} {
		if _, text, ok := Alert(err); ok {
			t.Errorf("%v is taken for the alert %s", err, text)
		}
	}
}

func TestNotAsked(t *testing.T) {
	p := newPlace(t)
	p.identity(p.people.Issue(t, "client"))
	o, _ := p.walk(speak(only(tls.VersionTLS13, p.server())), true)
	p.expect(o, probes.OK, "client-cert-not-asked certain")
}

// The library would send no certificate here, and turn "untrusted" into
// "required".
func TestCertificateIsSentThoughItsIssuerIsNotListed(t *testing.T) {
	each(t, func(t *testing.T, version uint16) {
		p := newPlace(t)
		p.identity(certtest.Root(t, "Stranger Root").Issue(t, "client"))
		config := only(version, p.server())
		config.ClientAuth, config.ClientCAs = tls.RequireAnyClientCert, certtest.Pool(p.people)
		o, _ := p.walk(speak(config), false)
		d := p.expect(o, probes.OK)
		if !d.Sent || d.IssuerListed == nil || *d.IssuerListed || strings.Join(d.AcceptableCAs, " ") != "CN=People Root" {
			t.Errorf("sent %v, listed %v, acceptable %q", d.Sent, d.IssuerListed, d.AcceptableCAs)
		}
	})
}

// What identify has found in the files is not found again in the handshake,
// unless it is not known to be the reason.
func TestRejectionThatTheFilesExplain(t *testing.T) {
	p := newPlace(t)
	p.identity(certtest.Root(t, "Stranger Root").Issue(t, "client"))
	config := only(tls.VersionTLS12, p.server())
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, certtest.Pool(p.people)
	o, _ := p.walk(speak(config), true)
	p.expect(o, probes.Rejected, "client-cert-rejected certain")
	for problem, want := range map[string]int{"client-cert-untrusted": 0, "client-cert-expired": 1} {
		report := &identify.Report{Problems: []identify.Problem{{Finding: problem, Refuses: true}}}
		seen := p.seen(o).With("identify", []probes.Observation{{Kind: "identify", Outcome: probes.Invalid, Detail: report}})
		if found := probes.Diagnose(Rules, seen); len(found) != want {
			t.Errorf("%s: found %v", problem, found)
		}
	}
}

// taken is an answer that says whether it shows that the certificate was taken.
type taken bool

func (t taken) PastCertificate() bool { return bool(t) }

// Only what shows that the server took the certificate contradicts the copy of
// its truststore. Web servers say 400 to one that they do not take, and API
// Gateway's policies deny only those whose certificate it took.
func TestCopyOfTheTruststore(t *testing.T) {
	p := newPlace(t)
	p.identity(certtest.Root(t, "Stranger Root").Issue(t, "client"))
	p.target.ClientCertificate.Truststore = p.file("bundle.pem", p.people.PEM())
	judge, err := identify.Kind.New(probes.Host())(p.target)
	if err != nil {
		t.Fatal(err)
	}
	config := only(tls.VersionTLS12, p.server())
	config.ClientAuth = tls.RequestClientCert
	shaken, _ := p.walk(speak(config), true)
	for _, tt := range []struct {
		outcome probes.Outcome
		detail  any
		want    string
	}{
		{probes.OK, nil, "truststore-copy-differs"},
		{probes.ServerError, nil, "truststore-copy-differs"},
		{probes.ClientError, taken(false), "client-cert-untrusted"},
		{probes.ClientError, taken(true), "truststore-copy-differs"},
		{probes.Denied, taken(false), "client-cert-untrusted"},
		{probes.Denied, taken(true), "truststore-copy-differs"},
		{probes.Unexpected, taken(true), "truststore-copy-differs"},
	} {
		answer := probes.Observation{Via: shaken.Via, Addr: shaken.Addr, Outcome: tt.outcome, Detail: tt.detail}
		seen := p.seen(shaken).With("identify", judge.Probe(t.Context(), p.seen(), nil)).With("invoke", []probes.Observation{answer})
		got := ""
		for _, f := range Refine(seen, probes.Diagnose(slices.Concat(identify.Rules, Rules), seen)) {
			got += f.Rule.ID
		}
		if got != tt.want {
			t.Errorf("%s %v: found %s, want %s", tt.outcome, tt.detail, got, tt.want)
		}
	}

	// While a new truststore spreads, one address takes what another refuses.
	refused := shaken
	refused.Addr = netip.AddrPortFrom(shaken.Addr.Addr().Next(), 443)
	refused.Outcome, refused.Detail = probes.Rejected, &Detail{Asked: true, Sent: true, Alert: "unknown_ca", AlertCode: alertUnknownCA}
	answer := probes.Observation{Via: shaken.Via, Addr: shaken.Addr, Outcome: probes.OK}
	seen := p.seen(shaken, refused).With("identify", judge.Probe(t.Context(), p.seen(), nil)).With("invoke", []probes.Observation{answer})
	got := ""
	for _, f := range Refine(seen, probes.Diagnose(slices.Concat(identify.Rules, Rules), seen)) {
		got += f.Rule.ID + " "
	}
	if got != "client-cert-rejected truststore-copy-differs " {
		t.Errorf("taken at one address and refused at another: found %s", got)
	}
}

// A certificate that is replaced while a walk goes on: what is on disk tells
// nothing of what the server thinks of the one that it was shown.
func TestCertificateReplacedMeanwhile(t *testing.T) {
	stranger := certtest.Root(t, "Stranger Root").Issue(t, "client")
	for _, tt := range []struct {
		name    string
		replace func(*place) // between the handshake and the judgement
		want    string
		note    string
	}{
		{"not at all", func(*place) {}, "truststore-copy-differs certain", "by the copy:"},
		{"by another of the stranger's", func(p *place) {
			p.identity(certtest.Root(t, "Stranger Root").Issue(t, "client"))
		}, "client-cert-untrusted certain", "replaced meanwhile"},
		{"by the same with its issuer", func(p *place) {
			p.identity(stranger, certtest.Root(t, "Stranger Root"))
		}, "client-cert-untrusted certain", "replaced meanwhile"},
		{"by one that is trusted", func(p *place) { p.identity(p.people.Issue(t, "client")) }, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.identity(stranger)
			p.target.ClientCertificate.Truststore = p.file("bundle.pem", p.people.PEM())
			config := only(tls.VersionTLS13, p.server())
			config.ClientAuth = tls.RequestClientCert
			shaken, _ := p.walk(speak(config), true)
			tt.replace(p)
			judge, err := identify.Kind.New(probes.Host())(p.target)
			if err != nil {
				t.Fatal(err)
			}
			judged := p.seen(shaken).With("identify", judge.Probe(t.Context(), p.seen(), nil))
			for _, outcome := range []probes.Outcome{probes.OK, probes.Denied} {
				seen := judged.With("invoke", []probes.Observation{{Via: shaken.Via, Addr: shaken.Addr, Outcome: outcome}})
				want, explain := tt.want, false
				if outcome == probes.Denied && tt.note == "by the copy:" {
					want, explain = "client-cert-untrusted certain", true
				}
				var got, notes []string
				for _, f := range Refine(seen, probes.Diagnose(slices.Concat(identify.Rules, Rules), seen)) {
					got, notes = append(got, f.Rule.ID+" "+f.Certainty.String()), append(notes, f.Notes...)
				}
				if strings.Join(got, " ") != want || FilesExplain(seen) != explain {
					t.Errorf("%s: found %q, files explain %v; want %q, %v", outcome, got, FilesExplain(seen), want, explain)
				}
				if !explain && !strings.Contains(strings.Join(notes, "\n"), tt.note) {
					t.Errorf("%s: notes %q, want %q in them", outcome, notes, tt.note)
				}
			}
		})
	}
}

// Where the DNS leads to a stranger, the stranger is not to blame.
func TestStrangersAreNotBlamed(t *testing.T) {
	p := newPlace(t)
	o, _ := p.walk(speak(only(tls.VersionTLS13, certtest.SelfSigned(t, "x").TLS())), true)
	p.expect(o, probes.Untrusted, "server-cert-untrusted certain")
	p.target.Kind = probes.PrivateAPI
	p.target.Endpoint.Addresses = append(p.target.Endpoint.Addresses, o.Addr.Addr().Next())
	p.expect(o, probes.Untrusted)
}

func TestFilesAtFault(t *testing.T) {
	p := newPlace(t)
	client, other := p.people.Issue(t, "client"), p.people.Issue(t, "other")
	p.identity(client)
	good := p.target.Clone()
	key := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("xyzzy")})
	for _, tt := range []struct {
		name   string
		change func()
		want   string
	}{
		{"no certificate file", func() { p.target.ClientCertificate.Certificate = "/nowhere/client.pem" }, "/nowhere/client.pem"},
		{"no key file", func() { p.target.ClientCertificate.Key = "/nowhere/client.key" }, "/nowhere/client.key"},
		{"another's key", func() { p.target.ClientCertificate.Key = p.file("other.key", other.KeyPEM(t)) }, "other.key: the key is not that of"},
		{"encrypted key", func() { p.target.ClientCertificate.Key = p.file("secret.key", key) }, "secret.key: the private key is encrypted"},
		{"no key at all", func() { p.target.ClientCertificate.Key = "" }, "client.pem: no private key in it"},
		{"no CA file", func() { p.target.Trust.CAFile = "/nowhere/ca.pem" }, "trust.ca_file: stat /nowhere/ca.pem"},
		{"CA file of nonsense", func() { p.target.Trust.CAFile = p.file("junk.pem", []byte("junk")) }, "junk.pem: not PEM"},
		{"a folder", func() { p.target.Trust.CAFile = t.TempDir() }, "not a regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			*p.target = *good.Clone()
			tt.change()
			o, line := p.walk(speak(only(tls.VersionTLS13, p.server())), true)
			p.expect(o, probes.Fault)
			if !strings.Contains(o.Err.Error(), tt.want) || line.Conn != nil {
				t.Errorf("error %q, want %q in it", o.Err, tt.want)
			}
		})
	}
}

func TestFilesAreReadAgainWhenTheyChange(t *testing.T) {
	p := newPlace(t)
	p.identity(p.people.Issue(t, "first"))
	var seen []string
	config := only(tls.VersionTLS13, p.server())
	config.ClientAuth = tls.RequestClientCert
	var mu sync.Mutex
	config.VerifyConnection = func(s tls.ConnectionState) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, s.PeerCertificates[0].Subject.CommonName)
		return nil
	}
	addr := listen(t, speak(config))
	client, err := NewClient(probes.Host(), p.target)
	if err != nil {
		t.Fatal(err)
	}
	shake := func() {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		c, o := client.Shake(context.Background(), conn, lane(addr), Variant{})
		p.expect(Verdict(context.Background(), c, o), probes.OK)
		c.Close()
	}
	shake()
	second := p.people.Issue(t, "second")
	os.WriteFile(p.target.ClientCertificate.Certificate, second.PEM(), 0o600)
	os.WriteFile(p.target.ClientCertificate.Key, second.KeyPEM(t), 0o600)
	later := time.Now().Add(time.Second) // a file system's clock may be coarse
	os.Chtimes(p.target.ClientCertificate.Certificate, later, later)
	shake()
	// The same files under other names, as Kubernetes swaps mounted secrets.
	third := p.people.Issue(t, "third")
	for path, text := range map[string][]byte{p.target.ClientCertificate.Certificate: third.PEM(), p.target.ClientCertificate.Key: third.KeyPEM(t)} {
		os.WriteFile(path+".new", text, 0o600)
		os.Chtimes(path+".new", later, later)
		os.Rename(path+".new", path)
	}
	shake()
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(seen, " "); got != "first second third" {
		t.Errorf("the server saw %s", got)
	}
}

func TestVariants(t *testing.T) {
	p := newPlace(t)
	p.identity(p.people.Issue(t, "client"))
	type hello struct{ sni, subject string }
	hellos := make(chan hello, 1)
	config := only(tls.VersionTLS13, p.ca.Issue(t, "server", certtest.Names(domain, "other.example.com")).TLS())
	config.ClientAuth = tls.RequestClientCert
	config.VerifyConnection = func(s tls.ConnectionState) error {
		h := hello{sni: s.ServerName}
		if len(s.PeerCertificates) > 0 {
			h.subject = s.PeerCertificates[0].Subject.String()
		}
		hellos <- h
		return nil
	}
	addr := listen(t, speak(config))
	client, err := NewClient(probes.Host(), p.target)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		variant Variant
		want    hello
	}{
		{"as configured", Variant{}, hello{domain, "CN=client"}},
		{"no certificate", Variant{Certificate: None}, hello{domain, ""}},
		{"a control certificate", Variant{Certificate: Control}, hello{domain, "CN=vpcprobe-control"}},
		{"another name", Variant{ServerName: "other.example.com"}, hello{"other.example.com", "CN=client"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			c, o := client.Shake(context.Background(), conn, lane(addr), tt.variant)
			d := p.expect(o, probes.OK)
			defer c.Close()
			if got := <-hellos; got != tt.want || d.ServerName != tt.want.sni || o.Name != tt.want.sni || d.Sent != (tt.want.subject != "") {
				t.Errorf("the server saw %+v, want %+v; sent %v", got, tt.want, d.Sent)
			}
		})
	}
}

func TestSessionsAreNeverResumed(t *testing.T) {
	each(t, func(t *testing.T, version uint16) {
		p := newPlace(t)
		resumed := make(chan bool, 8)
		config := only(version, p.server())
		addr := listen(t, func(conn net.Conn) {
			s := tls.Server(conn, config)
			if s.Handshake() == nil {
				resumed <- s.ConnectionState().DidResume
				io.WriteString(s, "x")
				io.Copy(io.Discard, s)
			}
		})
		client, _ := NewClient(probes.Host(), p.target)
		for range 3 {
			conn, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			c, o := client.Shake(context.Background(), conn, lane(addr), Variant{})
			p.expect(o, probes.OK)
			c.Read(make([]byte, 1)) // takes in the tickets
			c.Close()
			if <-resumed {
				t.Error("resumed")
			}
		}
	})
}

func TestDialsForItself(t *testing.T) {
	p := newPlace(t)
	probe, _ := Kind.New(probes.Host())(p.target)
	line := &probes.Line{Lane: lane(listen(t, speak(only(tls.VersionTLS13, p.server())))), More: true}
	defer line.Close()

	o := probe.Probe(context.Background(), p.seen(), line)[0]
	if o.Outcome != probes.Skipped || line.Conn != nil {
		t.Errorf("outcome %s, though connect never went well", o.Outcome)
	}

	well := probes.Observation{Kind: "connect", Via: line.Via, Addr: line.Addr, Outcome: probes.OK}
	o = probe.Probe(context.Background(), p.seen().With("connect", []probes.Observation{well}), line)[0]
	if p.expect(o, probes.OK); line.Conn == nil {
		t.Error("no connection")
	}
	line.Close()

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	line.Addr = gone.Addr().(*net.TCPAddr).AddrPort()
	gone.Close()
	well.Addr = line.Addr
	o = probe.Probe(context.Background(), p.seen().With("connect", []probes.Observation{well}), line)[0]
	if o.Outcome != probes.Refused || o.Kind != name || o.Detail != nil || p.findings(o) != nil {
		t.Errorf("%+v", o)
	}
}

// A chain that was found good is not verified again, but trust in it does not
// outlive the certificate, the file of roots or a few minutes, and the name is
// compared each time.
func TestChainCache(t *testing.T) {
	ca := certtest.Root(t, "Root")
	now := time.Now()
	leaf := ca.Issue(t, "server", certtest.Names(domain), certtest.Valid(now.Add(-time.Hour), now.Add(2*time.Minute)))
	chain, roots := []*x509.Certificate{leaf.Certificate}, certtest.Pool(ca)
	var cache chainCache
	for _, tt := range []struct {
		name  string
		sni   string
		roots *x509.CertPool
		at    time.Time
		want  probes.Outcome
	}{
		{"first", domain, roots, now, probes.OK},
		{"again", domain, roots, now.Add(time.Minute), probes.OK},
		{"another name", "www.example.com", roots, now, probes.WrongName},
		{"other roots", domain, certtest.Pool(certtest.Root(t, "Other")), now, probes.Untrusted},
		{"after it expired", domain, roots, now.Add(3 * time.Minute), probes.Expired},
		{"before it was valid", domain, roots, now.Add(-2 * time.Hour), probes.Expired},
	} {
		if j := cache.examine(chain, tt.roots, tt.at).judge(chain[0], tt.sni); j.outcome != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.name, j.outcome, j.err, tt.want)
		}
	}
	if len(cache.good) != 1 {
		t.Errorf("%d chains kept, want one whatever name it is presented for", len(cache.good))
	}
	for _, e := range cache.good {
		if e.since != e.since.Round(0) || e.until != e.until.Round(0) {
			t.Errorf("kept from %v until %v: a clock that is set changes nothing of that", e.since, e.until)
		}
	}
	for i := range 3 * maxGood {
		cache.keep(chainKey{sum: [32]byte{byte(i), byte(i >> 8)}}, chainEntry{until: now.Add(time.Hour)}, now)
	}
	if len(cache.good) > maxGood {
		t.Errorf("%d chains kept", len(cache.good))
	}
}
