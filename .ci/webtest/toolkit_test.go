// Package webtest holds what vpcprobe does by itself, because the official
// libraries would make its binary too large, against those libraries: the web
// configuration format against the exporter-toolkit, and the OTLP exporter
// against OpenTelemetry's.
//
// It is a module of its own, so that the project does not depend on them.
package webtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/crypto/bcrypt"

	"vpcprobe/agent/web"
)

// A stack is one of the two readers of the format.
type stack struct {
	name   string
	accept func(path string) error
	serve  func(t *testing.T, path string, h http.Handler) (addr string, err error)
}

var stacks = []stack{
	{"the toolkit", acceptToolkit, serveToolkit},
	{"vpcprobe", func(path string) error { _, err := web.Load(path); return err }, serveOurs},
}

// acceptToolkit serves with a file for a moment: some mistakes show only then.
func acceptToolkit(path string) error {
	if err := toolkit.Validate(path); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.Close()
	err = toolkit.Serve(l, &http.Server{}, &toolkit.FlagConfig{WebConfigFile: &path}, slog.New(slog.DiscardHandler))
	if errors.Is(err, net.ErrClosed) {
		return nil // it came as far as serving
	}
	return err
}

func serveToolkit(t *testing.T, path string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go toolkit.Serve(l, s, &toolkit.FlagConfig{WebConfigFile: &path}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { s.Close(); l.Close() })
	return l.Addr().String(), nil
}

func serveOurs(t *testing.T, path string, h http.Handler) (string, error) {
	c, err := web.Load(path)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	secured, err := c.Secure(s, l)
	if err != nil {
		return "", err
	}
	go s.Serve(secured)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String(), nil
}

// The toolkit's own test files are accepted and refused alike.
func TestToolkitsOwnFiles(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/exporter-toolkit").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "web", "testdata", "*.y*ml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files found: %v", len(files), err)
	}
	good, bad := 0, 0
	for _, path := range files {
		theirs, ours := stacks[0].accept(path), stacks[1].accept(path)
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%s: the toolkit says %v, vpcprobe says %v", filepath.Base(path), theirs, ours)
		}
		if theirs == nil {
			good++
		} else {
			bad++
		}
	}
	if good < 10 || bad < 10 {
		t.Errorf("only %d good and %d bad files were compared", good, bad)
	}
}

const tlsPart = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"

func TestFilesAreAcceptedAlike(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{
		"", "# nothing\n", "null\n", "{}\n", "[]\n", "x\n", "tls_server_config:\n", "tls_server_config: {}\n", "basic_auth_users:\n",
		tlsPart, tlsPart + "  client_ca: x\n", tlsPart + "  client_ca_file: ca.crt\n", tlsPart + "  client_auth_type: \"\"\n",
		tlsPart + "  client_ca_file: ca.crt\n  client_auth_type: RequestClientCert\n",
		tlsPart + "  client_ca_file: none.crt\n  client_auth_type: RequireAndVerifyClientCert\n",
		tlsPart + "  client_auth_type: requireandverifyclientcert\n", tlsPart + "  client_auth_type: RequireClientCert\n",
		tlsPart + "  client_allowed_sans: []\n", tlsPart + "  client_allowed_sans: scraper\n",
		tlsPart + "  min_version: TLS10\n", tlsPart + "  min_version: 1.2\n", tlsPart + "  max_version: SSL30\n",
		tlsPart + "  cipher_suites: []\n", tlsPart + "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n", tlsPart + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
		tlsPart + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n  min_version: TLS13\n",
		tlsPart + "  curve_preferences: [X25519, CurveP521]\n", tlsPart + "  curve_preferences: [X25519MLKEM768]\n",
		tlsPart + "  prefer_server_cipher_suites: maybe\n", tlsPart + "  cert_file: server.crt\n",
		tlsPart + "http_server_config:\n  http2: off\n", tlsPart + "http_server_config:\n  http3: true\n",
		"tls_server_config:\n  cert_file: server.crt\n", "tls_server_config:\n  key_file: server.key\n", "tls_server_config:\n  min_version: TLS13\n",
		"tls_server_config:\n  cert_file: server.key\n  key_file: server.crt\n", "tls_server_config:\n  client_allowed_sans: [a]\n",
		"http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n", "http_server_config:\n  headers:\n    X-Frame-Options: SAMEORIGIN\n",
		"http_server_config:\n  headers:\n    x-frame-options: deny\n", "http_server_config:\n  headers:\n    Strict-Transport-Security: \"\"\n",
		"http_server_config:\n  headers: {}\n", "http_server_config:\n  headers: [a]\n",
		"basic_auth_users:\n  alice: " + w.hash + "\n", "basic_auth_users:\n  alice: \n", "basic_auth_users:\n  alice: 5\n", "basic_auth_users:\n  \"\": " + w.hash + "\n",
		"basic_auth_users: [alice]\n", "basic_auth_users:\n  alice: " + w.hash + "\n  alice: " + w.hash + "\n",
		"rate_limit: {interval: 1s, burst: 5}\n", "rate_limit: {interval: 1}\n  burst: 5\n", "rate_limit: {burst: many}\n", "rate_limit: {interval: soon}\n", "rate_limit: {rate: 5}\n",
	} {
		path := w.file(t, text)
		theirs, ours := stacks[0].accept(path), stacks[1].accept(path)
		if (theirs == nil) != (ours == nil) {
			t.Errorf("%q: the toolkit says %v, vpcprobe says %v", text, theirs, ours)
		}
	}
}

// What vpcprobe refuses on purpose though the toolkit accepts it: it could
// never work, or it does not mean what it seems to.
func TestDeliberateStrictness(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{
		"rate_limit: {interval: 5}\n",                                                            // 5 ns
		"rate_limit: {interval: -1s}\n",                                                          // no limit
		"rate_limit: {}\n---\nrate_limit: {x: 1}\n",                                              // the second document is not read
		tlsPart + "  client_allowed_sans: [scraper]\n",                                           // nobody is asked for a certificate, so everybody is let in
		tlsPart + "  client_ca_file: web.yaml\n  client_auth_type: RequireAndVerifyClientCert\n", // no certificate: nobody is let in
		tlsPart + "  min_version: TLS13\n  max_version: TLS12\n",                                 // no handshake can succeed
	} {
		path := w.file(t, text)
		theirs, ours := stacks[0].accept(path), stacks[1].accept(path)
		if theirs != nil || ours == nil {
			t.Errorf("%q: the toolkit says %v, vpcprobe says %v", text, theirs, ours)
		}
	}
}

// Both answer the same request in the same way.
func TestRequestsAreAnsweredAlike(t *testing.T) {
	w := newWorld(t)
	users := "basic_auth_users:\n  alice: " + w.hash + "\n"
	const verify = "  client_ca_file: ca.crt\n  client_auth_type: "
	mtls := tlsPart + verify + "RequireAndVerifyClientCert\n"
	tests := []struct {
		name, text string
		r          request
		want       string
	}{
		{"in the clear", "", request{}, "200 HTTP/1.1"},
		{"good password", users, request{user: "alice", password: "secret"}, "200 HTTP/1.1"},
		{"bad password", users, request{user: "alice", password: "Secret"}, "401 HTTP/1.1 Basic"},
		{"no password", users, request{user: "alice"}, "401 HTTP/1.1 Basic"},
		{"nobody", users, request{}, "401 HTTP/1.1 Basic"},
		{"unknown user", users, request{user: "bob", password: "secret"}, "401 HTTP/1.1 Basic"},
		{"the toolkit's decoy", users, request{user: "bob", password: "fakepassword"}, "401 HTTP/1.1 Basic"},
		{"password of 72 bytes and more", users, request{user: "alice", password: "secret" + strings.Repeat("x", 80)}, "401 HTTP/1.1 Basic"},
		{"headers", users + "http_server_config:\n  headers:\n    X-Frame-Options: deny\n", request{}, "401 HTTP/1.1 Basic deny"},
		{"rate", "rate_limit: {interval: 1h, burst: 0}\n" + users, request{user: "alice", password: "secret"}, "429 HTTP/1.1"},
		{"TLS", tlsPart, request{tls: true}, "200 HTTP/2.0"},
		{"TLS without HTTP/2", tlsPart + "http_server_config:\n  http2: false\n", request{tls: true}, "200 HTTP/1.1"},
		{"TLS asked in the clear", tlsPart, request{}, "400 HTTP/1.0"},
		{"TLS and password", tlsPart + users, request{tls: true, user: "alice", password: "secret"}, "200 HTTP/2.0"},
		{"TLS and bad password", tlsPart + users, request{tls: true, user: "alice", password: "x"}, "401 HTTP/2.0 Basic"},
		{"TLS 1.1 by default", tlsPart, request{tls: true, max: tls.VersionTLS11}, "remote error: tls: protocol version not supported"},
		{"TLS 1.1 allowed", tlsPart + "  min_version: TLS11\nhttp_server_config: {http2: false}\n", request{tls: true, max: tls.VersionTLS11}, "200 HTTP/1.1"},
		{"TLS 1.2 forbidden", tlsPart + "  min_version: TLS13\n", request{tls: true, max: tls.VersionTLS12}, "remote error: tls: protocol version not supported"},
		{"certificate required, none", mtls, request{tls: true}, "remote error: tls: certificate required"},
		{"certificate required, good", mtls, request{tls: true, client: w.client}, "200 HTTP/2.0"},
		{"certificate required, a stranger's", mtls, request{tls: true, client: w.stranger}, "remote error: tls: unknown certificate authority"},
		{"certificate and password", mtls + users, request{tls: true, client: w.client}, "401 HTTP/2.0 Basic"},
		{"name allowed", mtls + "  client_allowed_sans: [other, scraper]\n", request{tls: true, client: w.client}, "200 HTTP/2.0"},
		{"name not allowed", mtls + "  client_allowed_sans: [other]\n", request{tls: true, client: w.client}, "remote error: tls: bad certificate"},
		{"no name allowed", mtls + "  client_allowed_sans: []\n", request{tls: true, client: w.client}, "remote error: tls: bad certificate"},
		{"any certificate, a stranger's", tlsPart + "  client_auth_type: RequireAnyClientCert\n", request{tls: true, client: w.stranger}, "200 HTTP/2.0"},
		{"if given, none", tlsPart + verify + "VerifyClientCertIfGiven\n", request{tls: true}, "200 HTTP/2.0"},
		{"if given, a stranger's", tlsPart + verify + "VerifyClientCertIfGiven\n", request{tls: true, client: w.stranger}, "remote error: tls: unknown certificate authority"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := w.file(t, tt.text)
			for _, s := range stacks {
				addr, err := s.serve(t, path, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				if err != nil {
					t.Fatal(err)
				}
				if got := tt.r.send(t, w, addr); got != tt.want {
					t.Errorf("%s answers %q, want %q", s.name, got, tt.want)
				}
			}
		})
	}
}

// Where names are asked for but a certificate is not required, a client
// without one is let in by neither: the toolkit panics on it, which ends the
// connection.
func TestNobodyWithoutACertificateHasAName(t *testing.T) {
	w := newWorld(t)
	path := w.file(t, tlsPart+"  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  client_allowed_sans: [scraper]\n")
	for _, s := range stacks {
		addr, err := s.serve(t, path, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if err != nil {
			t.Fatal(err)
		}
		if got := (request{tls: true}).send(t, w, addr); strings.HasPrefix(got, "200") {
			t.Errorf("%s answers %q", s.name, got)
		}
		if got := (request{tls: true, client: w.client}).send(t, w, addr); got != "200 HTTP/2.0" {
			t.Errorf("%s answers %q to a client that has the name", s.name, got)
		}
	}
}

// Both notice new users and new certificates without a restart.
func TestChangesApplyAlike(t *testing.T) {
	w := newWorld(t)
	for _, s := range stacks {
		path := w.file(t, tlsPart+"basic_auth_users:\n  alice: "+w.hash+"\n")
		addr, err := s.serve(t, path, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if err != nil {
			t.Fatal(err)
		}
		alice, bob := request{tls: true, user: "alice", password: "secret"}, request{tls: true, user: "bob", password: "secret"}
		before := alice.send(t, w, addr) + ", " + bob.send(t, w, addr)
		w.write(t, filepath.Dir(path), "server", w.server)
		put(t, path, tlsPart+"basic_auth_users:\n  bob: "+w.hash+"\n")
		after := alice.send(t, w, addr) + ", " + bob.send(t, w, addr)
		if before != "200 HTTP/2.0, 401 HTTP/2.0 Basic" || after != "401 HTTP/2.0 Basic, 200 HTTP/2.0" {
			t.Errorf("%s: before %q, after %q", s.name, before, after)
		}
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: w.roots, ServerName: "server"})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(w.server.cert.SerialNumber) != 0 {
			t.Errorf("%s: the certificate is not the new one", s.name)
		}
		conn.Close()
	}
}

// A request is what a client asks.
type request struct {
	tls            bool
	max            uint16 // the highest version, 0 for all
	client         *issued
	user, password string
}

// send sends it and returns what comes back, in short.
func (r request) send(t *testing.T, w *world, addr string) string {
	t.Helper()
	conf := &tls.Config{RootCAs: w.roots, ServerName: "server", MinVersion: tls.VersionTLS10, MaxVersion: r.max}
	if r.client != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &r.client.pair, nil }
	}
	scheme := "http://"
	if r.tls {
		scheme = "https://"
	}
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest("GET", scheme+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.user != "" {
		req.SetBasicAuth(r.user, r.password)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return refusal(addr, conf)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Proto, strings.TrimSpace(resp.Header.Get("WWW-Authenticate")+" "+resp.Header.Get("X-Frame-Options"))))
}

// refusal returns the alert that ends a connection on which nothing is said.
func refusal(addr string, conf *tls.Config) string {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", addr, conf)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return fmt.Sprint(err)
}

// A world has certificates, and a password hash.
type world struct {
	ca, server, client, stranger *issued
	roots                        *x509.CertPool
	hash                         string // of "secret"
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{roots: x509.NewCertPool()}
	w.ca = issue(t, "ca", nil)
	w.server, w.client = issue(t, "server", w.ca), issue(t, "scraper", w.ca)
	w.stranger = issue(t, "scraper", issue(t, "another ca", nil))
	w.roots.AddCert(w.ca.cert)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	w.hash = string(hash)
	return w
}

// file writes a web configuration file beside certificates that it may name.
func (w *world) file(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	w.write(t, dir, "server", issue(t, "server", w.ca))
	w.write(t, dir, "ca", w.ca)
	path := filepath.Join(dir, "web.yaml")
	put(t, path, text)
	return path
}

func (w *world) write(t *testing.T, dir, name string, i *issued) {
	t.Helper()
	put(t, filepath.Join(dir, name+".crt"), string(i.certPEM))
	put(t, filepath.Join(dir, name+".key"), string(i.keyPEM))
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// An issued certificate and its key.
type issued struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	pair            tls.Certificate
	certPEM, keyPEM []byte
}

// issue makes a certificate for a name, signed by an authority or by itself.
func issue(t *testing.T, name string, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: by == nil, BasicConstraintsValid: true,
	}
	if by == nil {
		by = &issued{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	i := &issued{key: key, certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	i.keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	i.cert, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	i.pair, err = tls.X509KeyPair(i.certPEM, i.keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
