package web

//lint:file-ignore SA1019 as in web.go

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// serve serves "hello" as a file asks and returns the address.
func serve(t testing.TB, c *Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello over ", r.Proto) }),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
	}
	secured, err := c.Secure(s, l)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(secured)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func load(t testing.TB, path string) *Config {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get asks for / and returns the status and the body, or how it failed.
func get(t testing.TB, url string, conf *tls.Config, user, password string) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: conf.Clone(), DisableKeepAlives: true}
	if err := http2.ConfigureTransport(transport); err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		return refusal(t, r.URL.Host, conf)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

// refusal returns the alert that ends a connection on which nothing is said.
// Once something is said, the alert may be lost to a reset.
func refusal(t testing.TB, addr string, conf *tls.Config) string {
	t.Helper()
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", addr, conf)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	return fmt.Sprint(err)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	path := fixture(t, server)
	ca := readPool(t, path)
	addr := serve(t, load(t, path))
	if got := get(t, "https://"+addr, &tls.Config{RootCAs: ca}, "", ""); got != "200 hello over HTTP/2.0" {
		t.Errorf("over TLS: %s", got)
	}
	if got := get(t, "https://"+addr, &tls.Config{RootCAs: ca, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, "", ""); !strings.Contains(got, "protocol version") {
		t.Errorf("over TLS 1.1: %s", got)
	}
	if got := get(t, "http://"+addr, nil, "", ""); !strings.Contains(got, "400 Client sent an HTTP request to an HTTPS server.") {
		t.Errorf("in the clear: %s", got)
	}
}

func TestNoTLS(t *testing.T) {
	t.Parallel()
	addr := serve(t, load(t, fixture(t, "")))
	if got := get(t, "http://"+addr, nil, "", ""); got != "200 hello over HTTP/1.1" {
		t.Errorf("in the clear: %s", got)
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := issue(t, "ca", nil), issue(t, "stranger", nil)
	serving, allowed, other := issue(t, "server", ca), issue(t, "scraper", ca), issue(t, "other", ca)
	const sans = "  client_allowed_sans: [scraper]\n"
	const verify = "  client_ca_file: ca.crt\n  client_auth_type: "
	tests := []struct {
		name, text string
		client     *issued
		want       string
	}{
		{"required, none", verify + "RequireAndVerifyClientCert\n", nil, "certificate required"},
		{"required, good", verify + "RequireAndVerifyClientCert\n", other, "200"},
		{"required, a stranger's", verify + "RequireAndVerifyClientCert\n", stranger, "unknown certificate authority"},
		{"required of a name, another's", verify + "RequireAndVerifyClientCert\n" + sans, other, "bad certificate"},
		{"required of a name, good", verify + "RequireAndVerifyClientCert\n" + sans, allowed, "200"},
		{"if given, of a name, none", verify + "VerifyClientCertIfGiven\n" + sans, nil, "bad certificate"},
		{"if given, none", verify + "VerifyClientCertIfGiven\n", nil, "200"},
		{"if given, a stranger's", verify + "VerifyClientCertIfGiven\n", stranger, "unknown certificate authority"},
		{"any, none", "  client_auth_type: RequireAnyClientCert\n", nil, "certificate required"},
		{"any, a stranger's", "  client_auth_type: RequireAnyClientCert\n", stranger, "200"},
		{"requested, none", "  client_auth_type: RequestClientCert\n", nil, "200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, "server.crt", string(serving.certPEM), "server.key", string(serving.keyPEM), "ca.crt", string(ca.certPEM), "web.yaml", server+tt.text)
			addr := serve(t, load(t, filepath.Join(dir, "web.yaml")))
			conf := &tls.Config{RootCAs: ca.pool()}
			if tt.client != nil {
				pair := tt.client.pair(t)
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			if got := get(t, "https://"+addr, conf, "", ""); !strings.Contains(got, tt.want) {
				t.Errorf("the answer is %q, want %q", got, tt.want)
			}
		})
	}
}

// A client whose name is taken out cannot come back with a ticket that it was
// given before.
func TestAllowedNamesApplyToTickets(t *testing.T) {
	t.Parallel()
	ca := issue(t, "ca", nil)
	serving, client := issue(t, "server", ca), issue(t, "scraper", ca).pair(t)
	text := server + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: "
	dir := write(t, "server.crt", string(serving.certPEM), "server.key", string(serving.keyPEM), "ca.crt", string(ca.certPEM), "web.yaml", text+"[scraper]\n")
	addr := serve(t, load(t, filepath.Join(dir, "web.yaml")))
	conf := &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{client}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if got := get(t, "https://"+addr, conf, "", ""); got != "200 hello over HTTP/2.0" {
		t.Fatal(got)
	}
	put(t, filepath.Join(dir, "web.yaml"), text+"[another]\n")
	if got := get(t, "https://"+addr, conf, "", ""); !strings.Contains(got, "bad certificate") {
		t.Errorf("after the name was taken out: %s", got)
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	c := load(t, fixture(t, "basic_auth_users:\n  alice: "+hash+"\n"))
	checks := count(c)
	addr := serve(t, c)
	tests := []struct {
		user, password, want string
		checks               int64 // in all, until then
	}{
		{"", "", "401 Unauthorized", 0},
		{"alice", "secret", "200 hello over HTTP/1.1", 1},
		{"alice", "secret", "200 hello over HTTP/1.1", 1}, // remembered
		{"alice", "wrong", "401 Unauthorized", 2},
		{"alice", "wrong", "401 Unauthorized", 2},
		{"alice", "", "401 Unauthorized", 3},
		{"mallory", "secret", "401 Unauthorized", 4}, // takes a check, as if she existed
		{"mallory", "fakepassword", "401 Unauthorized", 5},
		{"alic", "esecret", "401 Unauthorized", 6},
	}
	for _, tt := range tests {
		if got := get(t, "http://"+addr, nil, tt.user, tt.password); got != tt.want {
			t.Errorf("%s:%s: the answer is %q, want %q", tt.user, tt.password, got, tt.want)
		}
		if got := checks.Load(); got != tt.checks {
			t.Errorf("%s:%s: %d checks until then, want %d", tt.user, tt.password, got, tt.checks)
		}
	}
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if got := resp.Header.Get("WWW-Authenticate"); got != "Basic" {
		t.Errorf("WWW-Authenticate is %q", got)
	}
}

// count counts the checks of passwords against hashes.
func count(c *Config) *atomic.Int64 {
	var n atomic.Int64
	compare := c.passwords.compare
	c.passwords.compare = func(hash, password []byte) error {
		n.Add(1)
		return compare(hash, password)
	}
	return &n
}

// A user that does not exist costs as much as some user that does, and always
// the same: otherwise the time would tell the names.
func TestDecoysCostAsUsersDo(t *testing.T) {
	t.Parallel()
	p := newPasswords()
	seen := map[string]bool{}
	for i := range 200 {
		name := fmt.Sprint("user", i)
		h := p.decoy(name, []int{4, 12})
		if h != p.decoy(name, []int{4, 12}) {
			t.Fatalf("%s has two decoys", name)
		}
		seen[h[:7]] = true
	}
	if len(seen) != 2 || !seen["$2y$04$"] || !seen["$2y$12$"] {
		t.Errorf("the decoys' costs are %v", seen)
	}
}

// Guessing neither grows the memory nor pushes out a good password.
func TestRememberedPasswordsAreBounded(t *testing.T) {
	t.Parallel()
	p := newPasswords()
	good := p.key("alice", "hash", "secret")
	p.remember(good, true)
	for i := range 10 * maxKnown {
		p.remember(p.key("alice", "hash", fmt.Sprint(i)), false)
	}
	if len(p.bad) != maxKnown || len(p.good) != 1 {
		t.Errorf("%d bad and %d good ones are remembered", len(p.bad), len(p.good))
	}
	if right, checked := p.recall(good); !right || !checked {
		t.Error("the good one was pushed out")
	}
	for i := range 10 * maxKnown {
		p.remember(p.key("alice", fmt.Sprint(i)), true)
	}
	if len(p.good) != maxKnown {
		t.Errorf("%d good ones are remembered", len(p.good))
	}
}

// One check runs at a time, and nobody waits for it longer than the client.
func TestChecksTakeTurns(t *testing.T) {
	t.Parallel()
	p := newPasswords()
	s := &settings{users: map[string]string{"alice": hash}, costs: []int{4}}
	p.turn <- struct{}{} // a check that lasts
	r := httptest.NewRequest("GET", "/", nil)
	r.SetBasicAuth("alice", "secret")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p.ok(r.WithContext(ctx), s) {
		t.Error("it was let in unchecked")
	}
	<-p.turn
	if !p.ok(r, s) {
		t.Error("after that, the right password was refused")
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c := load(t, fixture(t, "basic_auth_users:\n  alice: "+hash+"\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"))
	resp, err := http.Get("http://" + serve(t, c))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if got := resp.Header.Get("X-Frame-Options"); resp.StatusCode != 401 || got != "deny" {
		t.Errorf("status %d, X-Frame-Options %q", resp.StatusCode, got)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimit(2, time.Second)
		want := func(passes bool) {
			t.Helper()
			if got := l.allow(); got != passes {
				t.Errorf("it passes: %v, want %v", got, passes)
			}
		}
		want(true)
		want(true)
		want(false)
		time.Sleep(time.Second)
		want(true)
		want(false)
		time.Sleep(time.Hour) // no more than burst is saved up
		want(true)
		want(true)
		want(false)
	})
	if newLimit(0, time.Second).allow() {
		t.Error("a burst of 0 lets something pass")
	}
	if !newLimit(0, 0).allow() {
		t.Error("no limit lets nothing pass")
	}
	large := newLimit(1<<62, time.Hour) // their product is no duration
	for range 2 {
		if !large.allow() {
			t.Error("a large burst is none")
		}
	}
}

func TestRateLimitIsServed(t *testing.T) {
	t.Parallel()
	addr := serve(t, load(t, fixture(t, "rate_limit: {interval: 1h, burst: 1}\n")))
	if got := get(t, "http://"+addr, nil, "", ""); got != "200 hello over HTTP/1.1" {
		t.Errorf("first: %s", got)
	}
	if got := get(t, "http://"+addr, nil, "", ""); got != "429 Too Many Requests" {
		t.Errorf("second: %s", got)
	}
}

// Reading the file again must not fill up the burst.
func TestRateLimitSurvivesAReload(t *testing.T) {
	t.Parallel()
	path := fixture(t, "rate_limit: {interval: 1h, burst: 1}\n")
	addr := serve(t, load(t, path))
	get(t, "http://"+addr, nil, "", "")
	put(t, path, "rate_limit: {interval: 1h, burst: 1} # no news\n")
	if got := get(t, "http://"+addr, nil, "", ""); got != "429 Too Many Requests" {
		t.Errorf("after the reload: %s", got)
	}
	put(t, path, "rate_limit: {interval: 1h, burst: 2}\n")
	if got := get(t, "http://"+addr, nil, "", ""); got != "200 hello over HTTP/1.1" {
		t.Errorf("with another limit: %s", got)
	}
}

// Users that change in the file change at once; nonsense changes nothing, and
// is told once.
func TestFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := fixture(t, "basic_auth_users:\n  alice: "+hash+"\n")
	c := load(t, path)
	var logged bytes.Buffer
	c.Log = slog.New(slog.NewTextHandler(&logged, nil))
	h := c.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	status := func(user string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, "secret")
		h.ServeHTTP(w, r)
		return w.Code
	}
	want := func(what string, alice, bob int) {
		t.Helper()
		if a, b := status("alice"), status("bob"); a != alice || b != bob {
			t.Errorf("%s: alice gets %d and bob %d, want %d and %d", what, a, b, alice, bob)
		}
	}
	want("at first", 200, 401)
	put(t, path, "basic_auth_users:\n  bob: "+hash+"\n")
	want("another user", 401, 200)
	put(t, path, "basic_auth_users:\n  bob: "+strings.Repeat("x", 30)+"\n")
	want("nonsense", 401, 200)
	if err := c.Err(); err == nil || err.Error() != path+`: basic_auth_users: what is given for "bob" is not a bcrypt hash` {
		t.Errorf("the error is %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("removed", 401, 200)
	put(t, path, server)
	want("TLS switched on", 401, 200)
	put(t, path, "basic_auth_users:\n  alice: "+hash+"\n")
	want("good again", 200, 401)
	if err := c.Err(); err != nil {
		t.Errorf("the error stays: %v", err)
	}
	for _, line := range []string{"is not a bcrypt hash", "no such file", "TLS cannot be switched on or off without a restart", "good again"} {
		if n := strings.Count(logged.String(), line); n != 1 {
			t.Errorf("the log says %q %d times:\n%s", line, n, &logged)
		}
	}
}

// A ConfigMap swaps a symbolic link; the next connection has the new
// certificate. Half a rotation keeps the old one.
func TestCertificateRotation(t *testing.T) {
	t.Parallel()
	ca := issue(t, "ca", nil)
	one, two := issue(t, "server", ca), issue(t, "server", ca)
	dir := write(t, "web.yaml", "tls_server_config:\n  cert_file: data/tls.crt\n  key_file: data/tls.key\n")
	first := write(t, "tls.crt", string(one.certPEM), "tls.key", string(one.keyPEM))
	second := write(t, "tls.crt", string(two.certPEM), "tls.key", string(two.keyPEM))
	broken := write(t, "tls.crt", string(two.certPEM), "tls.key", string(one.keyPEM))
	link := func(to string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := errors.Join(os.Symlink(to, next), os.Rename(next, filepath.Join(dir, "data"))); err != nil {
			t.Fatal(err)
		}
	}
	link(first)
	c := load(t, filepath.Join(dir, "web.yaml"))
	addr := serve(t, c)
	serial := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.pool(), ServerName: "server"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	want := func(what string, is *issued, bad bool) {
		t.Helper()
		if got := serial(); got != is.cert.SerialNumber.String() {
			t.Errorf("%s: the certificate is not the right one", what)
		}
		if err := c.Err(); (err != nil) != bad {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	want("at first", one, false)
	link(broken)
	want("a key that does not match", one, true)
	link(second)
	want("rotated", two, false)
	put(t, filepath.Join(second, "tls.crt"), "") // an editor at work
	want("empty for a moment", two, true)
	put(t, filepath.Join(second, "tls.crt"), string(one.certPEM))
	put(t, filepath.Join(second, "tls.key"), string(one.keyPEM))
	want("written in place", one, false)
}

// As long as nothing changes, TLS tickets stay good: the configuration that
// they belong to is the same.
func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	t.Parallel()
	path := fixture(t, server)
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"web.yaml", "server.crt", "server.key"} {
		if err := os.Chtimes(filepath.Join(filepath.Dir(path), name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	c := load(t, path)
	if a, b := c.current(), c.current(); a != b {
		t.Error("the file was read twice")
	}
	if err := os.Chtimes(filepath.Join(filepath.Dir(path), "server.key"), old, old.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if before := c.now; before == c.current() {
		t.Error("a change went unseen")
	}
}

// What could not be read is tried again, though nothing about the file shows that
// it can be by now: there may have been no descriptor left, or no permission.
func TestWhatCouldNotBeReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir() // it is there, and cannot be read as a file
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(folder, old, old); err != nil {
		t.Fatal(err)
	}
	f := files{}
	if _, err := f.read(folder); err == nil {
		t.Fatal("a folder was read")
	}
	if !f.changed() {
		t.Error("it is not tried again")
	}
	if _, err := f.read(filepath.Join(folder, "missing")); err == nil {
		t.Fatal("what is missing was read")
	}
	delete(f, folder)
	if f.changed() {
		t.Error("what is missing is read again and again")
	}
}

// Nothing secret shows when a Config is printed.
func TestStringTellsNoSecret(t *testing.T) {
	t.Parallel()
	path := fixture(t, "basic_auth_users:\n  alice: "+hash+"\n")
	c := load(t, path)
	if got := fmt.Sprintf("%v %+v %s", c, c, c); strings.Contains(got, hash) || got == "" {
		t.Errorf("it prints %s", got)
	}
}

func readPool(t testing.TB, path string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}
