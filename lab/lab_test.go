package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
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

// an answer is what a client reads of one.
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
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return l.System().Network.DialContext(ctx, network, l.at(addr).String())
		},
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

func TestSmoke(t *testing.T) {
	l := start(t)
	a, err := l.get(t, ENIs()[0], privateName, "/prod/status")
	t.Log(a, err)
	a, err = l.get(t, partnersENI(), PartnersDomain, "/status", func(r *http.Request, c *tls.Config) {
		pair, err := tls.LoadX509KeyPair(l.file(certificateFile), l.file(keyFile))
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	})
	t.Log(a, err)
	m, err := l.lookup(t, 0, "udp", privateName, dns.TypeA)
	t.Log(m, err)
	l.Break(SecurityGroup)
	a, err = l.get(t, ENIs()[0], privateName, "/prod/status")
	t.Log(a, err)
	l.Heal()
	a, err = l.get(t, ENIs()[0], privateName, "/prod/status")
	t.Log(a, err)
	l.Break(Refused)
	a, err = l.get(t, ENIs()[0], privateName, "/prod/status")
	t.Log(a, err)
	l.Heal()
	a, err = l.get(t, ENIs()[0], privateName, "/prod/status")
	t.Log(a, err)
}
