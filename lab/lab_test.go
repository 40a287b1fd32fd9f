package lab

//lint:file-ignore SA1019 as in web.go

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"golang.org/x/net/http2"

	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a lab with faults that stops with the test.
func start(t *testing.T, faults ...Fault) *Lab {
	t.Helper()
	l, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, f := range faults {
		l.Break(f)
	}
	return l
}

// lookup asks the i'th resolver over a transport.
func (l *Lab) lookup(t *testing.T, i int, transport, name string, qtype uint16) (*dns.Msg, error) {
	t.Helper()
	c := &dns.Client{Net: transport, Timeout: 300 * time.Millisecond}
	reply, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), l.at(Resolvers()[i]).String())
	return reply, err
}

// addresses reads the A records of a reply.
func addresses(m *dns.Msg) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// roots are the authorities that the lab's targets trust.
func (l *Lab) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(l.file(rootsFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no roots")
	}
	return pool
}

// An answer is what a client reads of one.
type answer struct {
	status    int
	errorType string
	body      string
	proto     string
	server    string
}

// get asks the server at addr for a path under a name.
func (l *Lab) get(t *testing.T, addr netip.Addr, name, path string, edit ...func(*http.Request, *tls.Config)) (answer, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "https://"+name+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: l.roots(t), ServerName: name}
	for _, e := range edit {
		e(r, config)
	}
	transport := &http.Transport{
		TLSClientConfig: config,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return l.System().Network.DialContext(ctx, network, l.at(addr).String())
		},
	}
	if err := http2.ConfigureTransport(transport); err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	response, err := transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	return answer{response.StatusCode, response.Header.Get("X-Amzn-Errortype"), strings.TrimSpace(string(body)), response.Proto, response.Header.Get("Server")}, err
}

// presenting makes a client send the certificate and key on disk, whatever the
// server says it accepts.
func (l *Lab) presenting(t *testing.T) func(*http.Request, *tls.Config) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(l.file(certificateFile), l.file(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *http.Request, c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
}

func withHeader(name, value string) func(*http.Request, *tls.Config) {
	return func(r *http.Request, _ *tls.Config) { r.Header.Set(name, value) }
}

// The healthy lab answers as API Gateway would, by every name form at every
// address.
func TestHealthyAnswers(t *testing.T) {
	t.Parallel()
	l := start(t)
	for _, tt := range []struct {
		name, path string
		addrs      []netip.Addr
		edit       func(*http.Request, *tls.Config)
		proto      string
	}{
		{privateName, "/prod/status", ENIs(), withHeader("X-Nothing", "1"), "HTTP/1.1"},
		{EndpointName, "/prod/status", ENIs(), withHeader("X-Apigw-Api-Id", API), "HTTP/1.1"},
		{zonalName(0), "/prod/status", ENIs()[:1], withHeader("X-Apigw-Api-Id", API), "HTTP/1.1"},
		{aliasName, "/prod/status", ENIs(), withHeader("X-Nothing", "1"), "HTTP/1.1"},
		{privateName, "/prod/invoices", ENIs(), withHeader("X-Api-Key", APIKey), "HTTP/1.1"},
		{CatalogDomain, "/status", ENIs(), withHeader("X-Nothing", "1"), "HTTP/1.1"},
		{PartnersDomain, "/status", []netip.Addr{partnersENI()}, l.presenting(t), "HTTP/2.0"},
	} {
		for _, addr := range tt.addrs {
			got, err := l.get(t, addr, tt.name, tt.path, tt.edit)
			if err != nil || got.status != 200 || got.proto != tt.proto || !strings.Contains(got.body, `"status":"ok"`) {
				t.Errorf("%s%s at %v: %+v, %v", tt.name, tt.path, addr, got, err)
			}
		}
	}
}

// Several labs run side by side, and a fault of one is none of the others'.
func TestSeveralLabs(t *testing.T) {
	t.Parallel()
	broken, whole := start(t, SecurityGroup, StageDeleted), start(t)
	if broken.Port() == whole.Port() {
		t.Fatalf("both are on port %d", whole.Port())
	}
	if got, err := whole.get(t, ENIs()[0], privateName, "/prod/status"); err != nil || got.status != 200 {
		t.Errorf("the whole one: %+v, %v", got, err)
	}
	if _, err := broken.get(t, ENIs()[0], privateName, "/prod/status"); err == nil {
		t.Error("the broken one answered")
	}
}

// Whoever dials through the lab's network finds the lab or nothing.
func TestNetworkLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	l := start(t)
	sys := l.System()
	for _, address := range []string{"192.0.2.1:443", "8.8.8.8:53", "[2001:db8::1]:443", "[::1]:443", "127.0.0.1:3128", "10.0.0.2:53", "169.254.169.254:443", "example.com:443", "0.0.0.0:443"} {
		conn, err := sys.Network.DialContext(t.Context(), "tcp", address)
		if !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%s: %v, %v; want EHOSTUNREACH", address, conn, err)
		}
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			continue
		}
		if to, ok := sys.Network.(probes.Translator).Translate(addr); ok {
			t.Errorf("%s leads to %v", address, to)
		}
	}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	l := start(t)
	translator := l.System().Network.(probes.Translator)
	for _, tt := range []struct{ from, to netip.AddrPort }{
		{l.at(ENIs()[0]), l.at(ENIs()[0])},
		{netip.AddrPortFrom(Resolvers()[0], 53), l.at(Resolvers()[0])},
		{netip.AddrPortFrom(PublicAddress(), l.Port()), l.at(publicStub())},
		{netip.MustParseAddrPort("169.254.169.254:80"), l.at(imdsStub())},
	} {
		if to, ok := translator.Translate(tt.from); !ok || to != tt.to {
			t.Errorf("%v leads to %v, %v; want %v", tt.from, to, ok, tt.to)
		}
	}
	l.Break(NoRoute)
	if to, ok := translator.Translate(l.at(ENIs()[0])); ok {
		t.Errorf("without a route, the endpoint is at %v", to)
	}
}

// Close may be called twice, and after it nothing is left.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	l := start(t, SecurityGroup)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if conn, err := net.Dial("tcp", l.at(partnersENI()).String()); err == nil {
		conn.Close()
		t.Error("somebody still listens")
	}
}
