package web

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
)

// hash is of "secret", at the lowest cost.
const hash = "$2a$04$3WglqRsK61IvKZFHmPD4jOn/eoq/Mns0Fs81yDcW0lQumwZZli5gy"

// fixture is a directory with a certificate, a key and the given web.yaml.
func fixture(t testing.TB, text string) string {
	t.Helper()
	ca := issue(t, "ca", nil)
	server := issue(t, "server", ca)
	dir := write(t,
		"server.crt", string(server.certPEM), "server.key", string(server.keyPEM), "other.key", string(issue(t, "x", nil).keyPEM),
		"ca.crt", string(ca.certPEM), "empty", "", "web.yaml", text)
	return filepath.Join(dir, "web.yaml")
}

const server = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"

func TestGoodFiles(t *testing.T) {
	tests := []struct {
		name, text string
		tls        bool
		check      func(*settings) bool
	}{
		{"empty", "", false, func(s *settings) bool { return s.users == nil && s.limit == nil }},
		{"only a comment", "# nothing yet\n", false, nil},
		{"nothing", "null\n", false, nil},
		{"a certificate", server, true, func(s *settings) bool {
			return s.tls.MinVersion == tls.VersionTLS12 && s.tls.MaxVersion == tls.VersionTLS13 &&
				strings.Join(s.tls.NextProtos, " ") == "h2 http/1.1" && s.tls.ClientAuth == tls.NoClientCert
		}},
		{"without HTTP/2", server + "http_server_config:\n  http2: false\n", true, func(s *settings) bool {
			return strings.Join(s.tls.NextProtos, " ") == "http/1.1"
		}},
		{"yes and no", server + "http_server_config:\n  http2: no\n", true, func(s *settings) bool { return len(s.tls.NextProtos) == 1 }},
		{"client certificates", server + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [a, b]\n", true, func(s *settings) bool {
			return s.tls.ClientAuth == tls.RequireAndVerifyClientCert && s.tls.ClientCAs != nil && s.tls.VerifyConnection != nil
		}},
		{"the old name of RequireAnyClientCert", server + "  client_auth_type: RequireClientCert\n", true, func(s *settings) bool {
			return s.tls.ClientAuth == tls.RequireAnyClientCert
		}},
		{"versions", server + "  min_version: TLS11\n  max_version: TLS12\n", true, func(s *settings) bool {
			return s.tls.MinVersion == tls.VersionTLS11 && s.tls.MaxVersion == tls.VersionTLS12
		}},
		{"suites and curves", server + "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n  curve_preferences: [X25519, CurveP384]\n  prefer_server_cipher_suites: false\n", true, func(s *settings) bool {
			return len(s.tls.CipherSuites) == 2 && s.tls.CipherSuites[0] == tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 &&
				len(s.tls.CurvePreferences) == 2 && s.tls.CurvePreferences[1] == tls.CurveP384
		}},
		{"a suite that HTTP/2 forbids, without it", server + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\nhttp_server_config: {http2: false}\n", true, nil},
		{"versions without a certificate ask for no TLS", "tls_server_config:\n  min_version: TLS13\n", false, nil},
		{"users", "basic_auth_users:\n  alice: " + hash + "\n", false, func(s *settings) bool { return s.users["alice"] == hash && s.costs[0] == 4 }},
		{"headers", "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n", false, func(s *settings) bool {
			return s.headers["X-Frame-Options"] == "deny" && s.headers["X-XSS-Protection"] == "1"
		}},
		{"a rate", "rate_limit: {interval: 1s, burst: 20}\n", false, func(s *settings) bool { return s.limit.burst == 20 }},
		{"no rate", "rate_limit: {interval: 0, burst: 0}\n", false, func(s *settings) bool { return s.limit == nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Load(fixture(t, tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := c.TLSConfig() != nil; got != tt.tls {
				t.Errorf("it asks for TLS: %v, want %v", got, tt.tls)
			}
			if tt.check != nil && !tt.check(c.current()) {
				t.Errorf("the settings are not as written: %+v", c.current())
			}
		})
	}
}

func TestInlineCertificateAndKey(t *testing.T) {
	t.Parallel()
	indent := func(pem []byte) string {
		return "    " + strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n    ")
	}
	ca := issue(t, "ca", nil)
	dir := write(t, "web.yaml", "tls_server_config:\n  cert: |\n"+indent(ca.certPEM)+"\n  key: |\n"+indent(ca.keyPEM)+
		"\n  client_ca: |\n"+indent(ca.certPEM)+"\n  client_auth_type: RequireAndVerifyClientCert\n")
	c, err := Load(filepath.Join(dir, "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.TLSConfig(); got.ClientCAs == nil || len(got.Certificates) != 1 {
		t.Errorf("the inline material is not used: %+v", got)
	}
}

// Every mistake is told with its line; none tells the content of a secret.
func TestBadFiles(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"an unknown section", "tls_config:\n  cert_file: x\n", `web.yaml:1: unknown key "tls_config"`},
		{"an unknown key", "tls_server_config:\n  cert_filse: server.crt\n", `web.yaml:2: unknown key "cert_filse"`},
		{"several", "tls_server_config:\n  cert_filse: a\n  min_version: TLS14\n  curve_preferences: [X25519, P257]\n",
			"web.yaml:2: unknown key \"cert_filse\"\nweb.yaml:3: \"TLS14\" is no TLS version: TLS10, TLS11, TLS12 and TLS13 are\nweb.yaml:4: \"P257\" is no curve: CurveP256, CurveP384, CurveP521 and X25519 are"},
		{"twice the same", "http_server_config:\n  http2: true\n  http2: false\n", `web.yaml:3: mapping key "http2" already defined at line 2`},
		{"not YAML", "basic_auth_users: {\n", `web.yaml:1: did not find expected node content`},
		{"not a map", "TuEjdwNS8A2vYdFbiKqr", `web.yaml:1: a value of the wrong shape (!!str)`},
		{"a secret at the wrong place", "basic_auth_users: hunter2\n", `web.yaml:1: a value of the wrong shape (!!str)`},
		{"a list for a string", "basic_auth_users:\n  alice: [hunter2]\n", `web.yaml:2: a value of the wrong shape (!!seq)`},
		{"two documents", "rate_limit: {burst: 1}\n---\nbasic_auth_users: {}\n", `web.yaml: only one YAML document is read`},
		{"no key", "tls_server_config:\n  cert_file: server.crt\n", `web.yaml: tls_server_config: key_file or key is missing`},
		{"no certificate", "tls_server_config:\n  key_file: server.key\n", `web.yaml: tls_server_config: cert_file or cert is missing`},
		{"no such certificate", "tls_server_config:\n  cert_file: none\n  key_file: server.key\n", `web.yaml: tls_server_config: certificate: open DIR/none: no such file or directory`},
		{"another's key", "tls_server_config:\n  cert_file: server.crt\n  key_file: other.key\n", `web.yaml: tls_server_config: certificate and key: tls: private key does not match public key`},
		{"a key that is none", "tls_server_config:\n  cert_file: server.crt\n  key: hunter2\n", `web.yaml: tls_server_config: certificate and key: tls: failed to find any PEM data in key input`},
		{"authorities nobody uses", server + "  client_ca_file: ca.crt\n", `web.yaml: tls_server_config: client_ca_file without a client_auth_type that asks for a certificate`},
		{"names nobody is asked for", server + "  client_allowed_sans: [scraper]\n", `web.yaml: tls_server_config: client_allowed_sans without a client_auth_type that asks for a certificate`},
		{"no authority in it", server + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: empty\n", `web.yaml: tls_server_config: client_ca_file: there is no certificate in it, so no client could ever be let in`},
		{"an unknown policy", server + "  client_auth_type: Require\n", `web.yaml:4: "Require" is no client_auth_type: NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven and RequireAndVerifyClientCert are`},
		{"an insecure suite", server + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", `web.yaml:4: "TLS_RSA_WITH_RC4_128_SHA" is no cipher suite, or not a secure one`},
		{"no suite for HTTP/2", server + "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n", `web.yaml: tls_server_config: cipher_suites lacks TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or its ECDSA sibling, which HTTP/2 requires; add it, or set http_server_config.http2 to false`},
		{"versions the wrong way round", server + "  min_version: TLS13\n  max_version: TLS12\n", `web.yaml: tls_server_config: min_version is above max_version`},
		{"no hash", "basic_auth_users:\n  alice: hunter2\n", `web.yaml: basic_auth_users: what is given for "alice" is not a bcrypt hash`},
		{"a header that is ours", "http_server_config:\n  headers:\n    Content-Type: x\n", `web.yaml: http_server_config: the header "Content-Type" cannot be set`},
		{"a header's value", "http_server_config:\n  headers:\n    X-Frame-Options: maybe\n", `web.yaml: http_server_config: the header X-Frame-Options can be deny or sameorigin only`},
		{"a header of two lines", "http_server_config:\n  headers:\n    Content-Security-Policy: \"a\\r\\nSet-Cookie: b\"\n", `web.yaml: http_server_config: the value of the header Content-Security-Policy is more than a line`},
		{"a rate without unit", "rate_limit: {interval: 5}\n", `web.yaml:1: "5" is no duration such as 1s or 500ms`},
		{"a negative rate", "rate_limit: {interval: -5s}\n", `web.yaml: rate_limit: interval and burst cannot be negative`},
		{"too long", strings.Repeat("#", maxFile+1), `DIR/web.yaml is longer than 1048576 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := fixture(t, tt.text)
			_, err := Load(path)
			if err == nil {
				t.Fatal("it was accepted")
			}
			got := strings.ReplaceAll(err.Error(), filepath.Dir(path), "DIR")
			if got = strings.ReplaceAll(got, "DIR/web.yaml:", "web.yaml:"); got != tt.want {
				t.Errorf("the error is\n%s\nwant\n%s", got, tt.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("the error tells the secret: %s", got)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.HasSuffix(err.Error(), "none.yaml: no such file or directory") {
		t.Errorf("the error is %v", err)
	}
}

// Whatever a file says, reading it neither panics nor tells a secret twice.
func FuzzReadDocument(f *testing.F) {
	for _, text := range []string{"", server, "basic_auth_users:\n  alice: " + hash + "\n", "rate_limit: {interval: 1s, burst: 1}\n",
		"http_server_config: {http2: false, headers: {X-Frame-Options: deny}}\n", "a: &a [*a]\n", "tls_server_config: !!binary x\n", "---\n---\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDocument("web.yaml", func(string) ([]byte, error) { return []byte(text), nil })
		if err == nil && d.hasTLS() && d.TLS.MinVersion > d.TLS.MaxVersion {
			t.Errorf("accepted versions from %x to %x", d.TLS.MinVersion, d.TLS.MaxVersion)
		}
		if err != nil && !strings.Contains(err.Error(), "web.yaml") {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}
