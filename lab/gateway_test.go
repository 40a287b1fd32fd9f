package lab

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shake completes a handshake without verifying anything, reads once, and says
// what was seen.
func (l *Lab) shake(t *testing.T, addr netip.Addr, config *tls.Config) (tls.ConnectionState, error, error) {
	t.Helper()
	conn, err := net.Dial("tcp", l.at(addr).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	config.InsecureSkipVerify = true
	c := tls.Client(conn, config)
	if err := c.Handshake(); err != nil {
		return c.ConnectionState(), err, nil
	}
	conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	return c.ConnectionState(), nil, err
}

func TestCertificateBySNI(t *testing.T) {
	t.Parallel()
	l := start(t)
	const wildcard, vpce = "*" + executeAPIZone, "*" + vpceZone
	for _, tt := range []struct {
		addr      netip.Addr
		sni, name string
	}{
		{ENIs()[0], privateName, wildcard},
		{ENIs()[1], aliasName, wildcard},
		{ENIs()[2], EndpointName, vpce},
		{ENIs()[0], zonalName(0), vpce},
		{ENIs()[0], CatalogDomain, CatalogDomain},
		{ENIs()[0], "", wildcard},
		{ENIs()[0], "www.example.com", wildcard},
		{ENIs()[0], PartnersDomain, wildcard}, // a Regional domain is not known to endpoints
		{partnersENI(), PartnersDomain, PartnersDomain},
		{partnersENI(), CatalogDomain, wildcard},
		{publicStub(), privateName, wildcard},
		{otherENI(), privateName, wildcard},
		{farENI(), FarEndpointName, "*.execute-api." + OtherRegion + ".vpce.amazonaws.com"},
		{farENI(), API + farExecuteAPIZone, "*" + farExecuteAPIZone},
	} {
		l.Break(PublicGateway)
		state, err, _ := l.shake(t, tt.addr, &tls.Config{ServerName: tt.sni})
		if err != nil && tt.sni != PartnersDomain {
			t.Errorf("%q at %v: %v", tt.sni, tt.addr, err)
			continue
		}
		if got := state.PeerCertificates[0].DNSNames; len(got) != 1 || got[0] != tt.name {
			t.Errorf("%q at %v: the certificate is for %v, want %s", tt.sni, tt.addr, got, tt.name)
		}
	}
}

func TestServerCertificateFaults(t *testing.T) {
	t.Parallel()
	var unknown x509.UnknownAuthorityError
	var wrong x509.HostnameError
	var invalid x509.CertificateInvalidError
	for _, tt := range []struct {
		name  string
		fault Fault
		is    func(error) bool
	}{
		{"CertificateUntrusted", CertificateUntrusted, func(err error) bool { return errors.As(err, &unknown) }},
		{"InterceptedTLS", InterceptedTLS, func(err error) bool { return errors.As(err, &unknown) }},
		{"CertificateWrongName", CertificateWrongName, func(err error) bool { return errors.As(err, &wrong) }},
		{"CertificateExpired", CertificateExpired, func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }},
		{"CertificateExpiring", CertificateExpiring, func(err error) bool { return err == nil }},
	} {
		l := start(t, tt.fault)
		_, err := l.get(t, ENIs()[0], privateName, "/prod/status")
		if !tt.is(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestExpiringCertificate(t *testing.T) {
	t.Parallel()
	state, err, _ := start(t, CertificateExpiring).shake(t, ENIs()[0], &tls.Config{ServerName: privateName})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(state.PeerCertificates[0].NotAfter); left > 5*day || left < 5*day-time.Hour {
		t.Errorf("%v left, want five days", left)
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault Fault
		addr  netip.Addr
		sni   string
		want  uint16
	}{
		{"healthy endpoint", func(*Lab) {}, ENIs()[0], privateName, tls.VersionTLS13},
		{"OnlyTLS12", OnlyTLS12, ENIs()[0], privateName, tls.VersionTLS12},
		{"Regional domain", MutualTLSOff, partnersENI(), PartnersDomain, tls.VersionTLS12},
		{"MutualTLS13", Faults(MutualTLSOff, MutualTLS13), partnersENI(), PartnersDomain, tls.VersionTLS13},
	} {
		state, err, _ := start(t, tt.fault).shake(t, tt.addr, &tls.Config{ServerName: tt.sni})
		if err != nil || state.Version != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, tls.VersionName(state.Version), err, tls.VersionName(tt.want))
		}
	}
}

func TestHandshakeFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault Fault
		alert string // crypto/tls does not export the type of received alerts
	}{
		{"OldTLS", OldTLS, "protocol version not supported"},
		{"HandshakeRefused", HandshakeRefused, "internal error"},
	} {
		_, err, _ := start(t, tt.fault).shake(t, ENIs()[0], &tls.Config{ServerName: privateName})
		if err == nil || err.Error() != "remote error: tls: "+tt.alert {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.alert)
		}
	}
	_, err, _ := start(t, HandshakeAltered).shake(t, ENIs()[0], &tls.Config{ServerName: privateName})
	if err == nil || !strings.Contains(err.Error(), "bad record MAC") {
		t.Errorf("HandshakeAltered: %v, want a bad record MAC", err)
	}
}

// speak is get by hand, in HTTP/1.1: where the request cannot be written any
// more, it still reads what the server has said.
func (l *Lab) speak(t *testing.T, addr netip.Addr, name, path string, edit func(*http.Request, *tls.Config)) (answer, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://"+name+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: l.roots(t), ServerName: name}
	edit(r, config)
	conn, err := net.Dial("tcp", l.at(addr).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	c := tls.Client(conn, config)
	if err := c.Handshake(); err != nil {
		return answer{}, err
	}
	unwritten := r.Write(c)
	response, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return answer{}, errors.Join(unwritten, err) // whichever comes first gets the reset
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, errorType: response.Header.Get("X-Amzn-Errortype"), body: string(body)}, err
}

// What each kind of server does about each kind of client certificate, on the
// wire (FACTS.md 3.2). A handshake that went well is followed by a request.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	const (
		none = iota
		trusted
		untrusted
	)
	reset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
	alert := func(err error) bool {
		return strings.Contains(err.Error(), "remote error: tls: ")
	}
	for _, tt := range []struct {
		name   string
		fault  Fault
		shown  int
		status int              // of the answer, if there is one
		fails  func(error) bool // otherwise
	}{
		{"API Gateway, none", func(*Lab) {}, none, 0, reset},
		{"API Gateway, trusted", func(*Lab) {}, trusted, 200, nil},
		{"API Gateway, untrusted", func(*Lab) {}, untrusted, 403, nil},
		{"verifier, none", MutualTLSByVerifier, none, 0, alert},
		{"verifier, trusted", MutualTLSByVerifier, trusted, 200, nil},
		{"verifier, untrusted", MutualTLSByVerifier, untrusted, 0, alert},
		{"balancer, none", MutualTLSByBalancer, none, 0, reset},
		{"balancer, trusted", MutualTLSByBalancer, trusted, 200, nil},
		{"balancer, untrusted", MutualTLSByBalancer, untrusted, 0, reset},
		{"off, none", MutualTLSOff, none, 200, nil},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			l := start(t, tt.fault)
			if version == tls.VersionTLS13 {
				l.Break(MutualTLS13)
			}
			edit := func(*http.Request, *tls.Config) {}
			switch tt.shown {
			case trusted:
				edit = l.presenting(t)
			case untrusted:
				l.Break(OtherTruststore)
				edit = l.presenting(t)
			}
			got, err := l.speak(t, partnersENI(), PartnersDomain, "/status", edit)
			if got.status != tt.status || (tt.fails == nil) != (err == nil) || tt.fails != nil && !tt.fails(err) {
				t.Errorf("%s, %s: %+v, %v", tt.name, tls.VersionName(version), got, err)
			}
			if got.status == 403 && (got.errorType != "ForbiddenException" || got.body != `{"message":"Forbidden"}`) {
				t.Errorf("%s: %+v", tt.name, got)
			}
		}
	}
}

// Without a certificate, TLS 1.2 fails inside the handshake, and TLS 1.3 at
// the first read after it.
func TestMissingCertificateByVersion(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		asked := false
		_, during, after := l.shake(t, partnersENI(), &tls.Config{
			ServerName: PartnersDomain,
			GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = len(info.AcceptableCAs) == 0
				return &tls.Certificate{}, nil
			},
		})
		at := during
		if version == tls.VersionTLS13 {
			at = after
		}
		if !asked || !errors.Is(at, syscall.ECONNRESET) {
			t.Errorf("%s: asked %v, during %v, after %v", tls.VersionName(version), asked, during, after)
		}
		l.Break(MutualTLS13)
	}
}

func TestNamedAuthorities(t *testing.T) {
	t.Parallel()
	l := start(t, MutualTLSNamesCAs)
	named := 0
	l.shake(t, partnersENI(), &tls.Config{
		ServerName: PartnersDomain,
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			named = len(info.AcceptableCAs)
			return &tls.Certificate{}, nil
		},
	})
	if named != 2 {
		t.Errorf("%d authorities are named, want root and intermediate", named)
	}
}

// Only the Regional domain asks for client certificates.
func TestPrivateAPIsDoNotAsk(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, name := range []string{privateName, EndpointName, CatalogDomain} {
		_, err, _ := l.shake(t, ENIs()[0], &tls.Config{
			ServerName: name,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				t.Errorf("%s asks for a client certificate", name)
				return &tls.Certificate{}, nil
			},
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who answers in API Gateway's place cannot be taken for it.
func TestOtherAnswers(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, tt := range []struct {
		fault  Fault
		status int
		server string
	}{
		{AnsweredByWebServer, 404, "nginx/1.24.0"},
		{AnsweredByProxy, 403, "squid/6.6"},
		{AnsweredByBalancer, 503, "awselb/2.0"},
	} {
		l.Break(tt.fault)
		got, err := l.get(t, ENIs()[2], privateName, "/prod/status")
		if err != nil || got.status != tt.status || got.server != tt.server || got.errorType != "" {
			t.Errorf("%+v, %v; want %d of %s", got, err, tt.status, tt.server)
		}
		l.Heal()
	}
}

// Peers can misbehave behind a handshake that went well.
func TestMisbehaveInTLS(t *testing.T) {
	t.Parallel()
	l := start(t, MisbehaveInTLS(HalfAnswer))
	_, err := l.get(t, ENIs()[0], privateName, "/prod/status")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an answer cut short", err)
	}
	l.Break(MisbehaveInTLS(Slowloris))
	state, err, after := l.shake(t, ENIs()[0], &tls.Config{ServerName: privateName})
	if err != nil || !state.HandshakeComplete {
		t.Errorf("%v, %v: the handshake is to go well", err, after)
	}
}
