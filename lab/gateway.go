package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpcprobe/lab/apigateway"
)

// sourceIP is the caller's address as API Gateway sees it.
const sourceIP = "10.0.5.20"

// A side is how the TLS of a group of addresses behaves: that of the VPC
// endpoints, or that of the Regional custom domain.
type side struct {
	issuer   issuer
	expires  time.Duration // of the server certificate, from now
	name     string        // what it is for, if not for the name asked for
	min, max uint16        // TLS versions
	mutual   mutual
	caNames  bool     // name the acceptable authorities when asking for a client certificate
	alpn     []string // protocols offered
	refuses  bool     // the handshake, whoever asks
	altered  bool     // on the way to the client

	talk func(net.Conn) // who talks after the handshake, if not HTTP
	page http.Handler   // who answers HTTP, if not API Gateway
}

// mutual is what a server does about client certificates.
type mutual int

const (
	notAsked    mutual = iota
	asApigw            // no certificate: cut inside the handshake; untrusted: HTTP says so (FACTS.md 3.2)
	asVerifier         // alert, whether there is none or it is untrusted
	asBalancer         // reset, whether there is none or it is untrusted
	asksForLess        // asks, and takes what it gets, even nothing
)

// gateway talks TLS and HTTP at an address.
func (l *Lab) gateway(addr netip.Addr) func(net.Conn) {
	return func(conn net.Conn) {
		if peer := l.peer(addr); peer != nil {
			peer(conn)
			return
		}
		s := l.side(addr)
		facts := apigateway.Conn{SourceIP: sourceIP}
		facts.EndpointID, facts.VPC = endpointAt(addr)
		c := newCall(conn, nil)
		if s.altered {
			c.Conn = &alteringConn{Conn: conn}
		}
		t := tls.Server(c, &tls.Config{
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				facts.ServerName = hello.ServerName
				return l.configFor(addr, s, hello.ServerName, conn)
			},
		})
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			linger(conn)
			return
		}
		facts.MutualTLS = s.mutual != notAsked && strings.EqualFold(facts.ServerName, PartnersDomain)
		if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
			facts.ClientCertificate = certs[0]
		}
		if s.talk != nil {
			s.talk(t)
			return
		}
		c.handler = l.answering(addr, s, facts)
		if addr == controlSite() {
			c.handler = l.visits.note(c.handler, facts.ClientCertificate != nil)
		}
		l.web.serve(t, c)
	}
}

// linger finishes a connection in a way that lets the client read the alert,
// even if it is still writing.
func linger(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(time.Second))
	drain(conn)
}

// answering is the handler for the requests of one connection.
func (l *Lab) answering(addr netip.Addr, s side, facts apigateway.Conn) http.Handler {
	if s.page != nil {
		return s.page
	}
	if addr == controlSite() {
		return http.HandlerFunc(publicPage)
	}
	apis := l.apis
	if addr == farENI() {
		apis = l.far
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		apis.ServeHTTP(w, r.WithContext(apigateway.WithConn(r.Context(), facts)))
	})
}

// endpointAt returns the endpoint whose interface has the address, and its
// VPC; both are empty at a public address.
func endpointAt(addr netip.Addr) (id, vpc string) {
	switch addr {
	case partnersENI(), publicStub():
		return "", ""
	case otherENI():
		return OtherEndpointID, "vpc-0f9e8d7c6b5a43210"
	case farENI():
		return FarEndpointID, "vpc-01234567890abcdef"
	}
	return EndpointID, VPC
}

// configFor is the TLS configuration for a client that asks for name.
func (l *Lab) configFor(addr netip.Addr, s side, name string, conn net.Conn) (*tls.Config, error) {
	if s.refuses {
		return nil, errRefused
	}
	domain := addr == partnersENI() && strings.EqualFold(name, PartnersDomain)
	want := certificate{issuer: s.issuer, name: certificateName(addr, name), expires: s.expires}
	if s.name != "" {
		want.name = s.name
	}
	cert, err := l.issuers.get(want)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{*cert},
		MinVersion:   s.min,
		MaxVersion:   s.max,
		NextProtos:   s.alpn,
	}
	if domain {
		l.demand(config, s, conn)
	}
	return config, nil
}

// certificateName is what the certificate is for that is shown to a client
// that asks for name: an unknown or absent name gets the Region's wildcard
// (FACTS.md 2.3).
func certificateName(addr netip.Addr, name string) string {
	name = strings.ToLower(name)
	if addr == partnersENI() && name == PartnersDomain || addr == controlSite() && name == ControlDomain || addr != partnersENI() && name == CatalogDomain {
		return name
	}
	if _, zone, ok := strings.Cut(name, "."); ok && "."+zone == vpceZone {
		return "*" + vpceZone
	}
	if addr == farENI() {
		if strings.HasSuffix(name, ".vpce.amazonaws.com") {
			return "*.execute-api." + OtherRegion + ".vpce.amazonaws.com"
		}
		return "*" + farExecuteAPIZone
	}
	return "*" + executeAPIZone
}

// errRefused becomes the alert internal_error.
var errRefused = errors.New("every handshake is refused")

// An alteringConn flips a bit in what the server sends, well behind the first
// record's header.
type alteringConn struct {
	net.Conn
	sent int
}

// alterAt is behind the server hello, of about 100 bytes, and before the end
// of what follows it.
const alterAt = 300

// Write implements [net.Conn].
func (c *alteringConn) Write(b []byte) (int, error) {
	if at := alterAt - c.sent; at >= 0 && at < len(b) {
		b = slices.Clone(b)
		b[at] ^= 0x55
	}
	n, err := c.Conn.Write(b)
	c.sent += n
	return n, err
}

// errNoClientCertificate never reaches the client: the connection is cut
// before an alert could be written.
var errNoClientCertificate = errors.New("no acceptable client certificate")

// demand makes the configuration ask for a client certificate.
func (l *Lab) demand(config *tls.Config, s side, conn net.Conn) {
	pool := x509.NewCertPool()
	for _, c := range l.truststore() {
		pool.AddCert(c)
	}
	if s.caNames {
		config.ClientCAs = pool
	}
	switch s.mutual {
	case asksForLess:
		config.ClientAuth = tls.RequestClientCert
	case asVerifier:
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	case asApigw, asBalancer:
		config.ClientAuth = tls.RequestClientCert
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) > 0 && (s.mutual == asApigw || verifies(state.PeerCertificates, pool)) {
				return nil
			}
			cut(conn)
			return errNoClientCertificate
		}
	}
}

func verifies(chain []*x509.Certificate, roots *x509.CertPool) bool {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(options)
	return err == nil
}

// The answers of others than API Gateway.

// webServer answers as a web server that knows nothing of the API.
func webServer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Server", "nginx/1.24.0")
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusNotFound)
	w.Write([]byte("<html><head><title>404 Not Found</title></head><body><center><h1>404 Not Found</h1></center><hr><center>nginx/1.24.0</center></body></html>\n"))
}

// welcomePage answers everybody, and shows itself by nothing.
func welcomePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.Write([]byte("<html><body><h1>It works!</h1></body></html>\n"))
}

// denyingProxy answers as Squid does when its access list does not allow the
// destination.
func denyingProxy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Server", "squid/6.6")
	w.Header().Set("Via", "1.1 proxy.corp.example (squid/6.6)")
	w.Header().Set("X-Squid-Error", "ERR_ACCESS_DENIED 0")
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	w.Write([]byte("<!DOCTYPE html><html><head><title>ERROR: The requested URL could not be retrieved</title></head><body><p>Access Denied.</p></body></html>\n"))
}

// emptyBalancer answers as an Application Load Balancer that has no healthy
// target behind it.
func emptyBalancer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Server", "awselb/2.0")
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusServiceUnavailable)
	w.Write([]byte("<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n"))
}

// publicPage answers as a public web server does that tells callers their
// address.
func publicPage(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("203.0.113.20\n")) }

// blockPage answers as a firewall does that ends TLS and shows itself by
// nothing but its words.
func blockPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "<html><head><title>Blocked</title></head><body><h1>Access blocked</h1><p>Access to https://%s%s is not allowed by policy EGRESS-7 of your organization. "+
		"If you need it for your work, open a ticket with the network team and quote the policy, the time and the address of this page.</p>"+
		"<p>Your request was recorded. Requests for pages of this category are reviewed every week.</p></body></html>\n", r.Host, r.URL.Path)
}
