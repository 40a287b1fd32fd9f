package web

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/bcrypt"
)

// A document is the file as it is written. See the exporter-toolkit's
// docs/web-configuration.md.
type document struct {
	TLS struct {
		Cert         string `yaml:"cert"`
		Key          string `yaml:"key"`
		ClientCA     string `yaml:"client_ca"`
		CertFile     string `yaml:"cert_file"`
		KeyFile      string `yaml:"key_file"`
		ClientCAFile string `yaml:"client_ca_file"`

		ClientAuth        authType  `yaml:"client_auth_type"`
		ClientAllowedSANs []string  `yaml:"client_allowed_sans"`
		MinVersion        tlsNumber `yaml:"min_version"`
		MaxVersion        tlsNumber `yaml:"max_version"`
		CipherSuites      []cipher  `yaml:"cipher_suites"`
		Curves            []curve   `yaml:"curve_preferences"`
		PreferServer      bool      `yaml:"prefer_server_cipher_suites"` // has had no effect since Go 1.17
	} `yaml:"tls_server_config"`
	HTTP struct {
		HTTP2   bool              `yaml:"http2"`
		Headers map[string]string `yaml:"headers"`
	} `yaml:"http_server_config"`
	RateLimit struct {
		Burst    int      `yaml:"burst"`
		Interval interval `yaml:"interval"`
	} `yaml:"rate_limit"`
	Users map[string]string `yaml:"basic_auth_users"`
}

// readDocument reads and checks the file, but not those that it names.
func readDocument(path string, read func(string) ([]byte, error)) (*document, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	d := &document{}
	d.TLS.MinVersion, d.TLS.MaxVersion = tls.VersionTLS12, tls.VersionTLS13
	d.HTTP.HTTP2 = true
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(d); err != nil && err != io.EOF {
		return nil, located(path, err)
	}
	if err := decoder.Decode(&yaml.Node{}); err != io.EOF {
		return nil, fmt.Errorf("%s: only one YAML document is read", path)
	}
	dir := filepath.Dir(path)
	for _, file := range []*string{&d.TLS.CertFile, &d.TLS.KeyFile, &d.TLS.ClientCAFile} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	if err := errors.Join(d.checkTLS(), d.checkHeaders(), d.checkUsers(), d.checkRate()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

var (
	yamlLine    = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknownKey  = regexp.MustCompile(`^field (.*) not found in type .*$`)
	quotedValue = regexp.MustCompile("`[^`]*`? ?|(into) .*$")
)

// located says what is wrong with the file and where, one mistake a line. It
// leaves out values, which may be secrets, and names of Go types.
func located(path string, err error) error {
	mistakes := []string{err.Error()}
	if list, ok := errors.AsType[*yaml.TypeError](err); ok {
		mistakes = list.Errors
	}
	var errs []error
	for _, text := range mistakes {
		line := ""
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			line, text = ":"+m[1], m[2]
		}
		if m := unknownKey.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("unknown key %q", m[1])
		} else if strings.HasPrefix(text, "cannot unmarshal") {
			text = "a value of the wrong shape (" + strings.TrimSpace(quotedValue.ReplaceAllString(strings.TrimPrefix(text, "cannot unmarshal "), "")) + ")"
		}
		errs = append(errs, fmt.Errorf("%s%s: %s", path, line, text))
	}
	return errors.Join(errs...)
}

// hasTLS reports whether the file asks for TLS.
func (d *document) hasTLS() bool {
	t := &d.TLS
	return t.Cert != "" || t.CertFile != "" || t.Key != "" || t.KeyFile != "" ||
		t.ClientCA != "" || t.ClientCAFile != "" || t.ClientAuth.given
}

func (d *document) checkTLS() error {
	t := &d.TLS
	switch {
	case !d.hasTLS():
	case t.Cert == "" && t.CertFile == "":
		return errors.New("tls_server_config: cert_file or cert is missing")
	case t.Key == "" && t.KeyFile == "":
		return errors.New("tls_server_config: key_file or key is missing")
	case t.MinVersion > t.MaxVersion:
		return errors.New("tls_server_config: min_version is above max_version")
	case (t.ClientCA != "" || t.ClientCAFile != "") && t.ClientAuth.is == tls.NoClientCert:
		return errors.New("tls_server_config: client_ca_file without a client_auth_type that asks for a certificate")
	case len(t.ClientAllowedSANs) > 0 && t.ClientAuth.is == tls.NoClientCert:
		return errors.New("tls_server_config: client_allowed_sans without a client_auth_type that asks for a certificate")
	case d.HTTP.HTTP2 && len(t.CipherSuites) > 0 && t.MinVersion < tls.VersionTLS13 &&
		!slices.Contains(t.CipherSuites, cipher(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)) &&
		!slices.Contains(t.CipherSuites, cipher(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)):
		return errors.New("tls_server_config: cipher_suites lacks TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or its ECDSA sibling, which HTTP/2 requires; add it, or set http_server_config.http2 to false")
	}
	return nil
}

// headers are those that may be set, and their values where they are few.
func headers() map[string][]string {
	return map[string][]string{
		"Strict-Transport-Security": nil,
		"X-Content-Type-Options":    {"nosniff"},
		"X-Frame-Options":           {"deny", "sameorigin"},
		"X-XSS-Protection":          nil,
		"Content-Security-Policy":   nil,
	}
}

func (d *document) checkHeaders() error {
	var errs []error
	for name, value := range d.HTTP.Headers {
		values, ok := headers()[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("http_server_config: the header %q cannot be set", name))
		case strings.ContainsAny(value, "\r\n\x00"):
			errs = append(errs, fmt.Errorf("http_server_config: the value of the header %s is more than a line", name))
		case len(values) > 0 && !slices.Contains(values, value):
			errs = append(errs, fmt.Errorf("http_server_config: the header %s can be %s only", name, strings.Join(values, " or ")))
		}
	}
	return errors.Join(errs...)
}

func (d *document) checkUsers() error {
	var errs []error
	for user, hash := range d.Users {
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			errs = append(errs, fmt.Errorf("basic_auth_users: what is given for %q is not a bcrypt hash", user))
		}
	}
	return errors.Join(errs...)
}

func (d *document) checkRate() error {
	if d.RateLimit.Interval < 0 || d.RateLimit.Burst < 0 {
		return errors.New("rate_limit: interval and burst cannot be negative")
	}
	return nil
}

// mistake is an error at a place in the file, as the decoder collects them.
func mistake(n *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", n.Line) + fmt.Sprintf(format, args...)}}
}

// word returns the scalar that stands at a place in the file.
func word(n *yaml.Node) string {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

type tlsNumber uint16

func (v *tlsNumber) UnmarshalYAML(n *yaml.Node) error {
	versions := map[string]tlsNumber{"TLS10": tls.VersionTLS10, "TLS11": tls.VersionTLS11, "TLS12": tls.VersionTLS12, "TLS13": tls.VersionTLS13}
	is, ok := versions[word(n)]
	if !ok {
		return mistake(n, "%q is no TLS version: TLS10, TLS11, TLS12 and TLS13 are", word(n))
	}
	*v = is
	return nil
}

type cipher uint16

func (c *cipher) UnmarshalYAML(n *yaml.Node) error {
	for _, suite := range tls.CipherSuites() {
		if suite.Name == word(n) {
			*c = cipher(suite.ID)
			return nil
		}
	}
	return mistake(n, "%q is no cipher suite, or not a secure one", word(n))
}

type curve tls.CurveID

func (c *curve) UnmarshalYAML(n *yaml.Node) error {
	curves := map[string]tls.CurveID{"CurveP256": tls.CurveP256, "CurveP384": tls.CurveP384, "CurveP521": tls.CurveP521, "X25519": tls.X25519}
	id, ok := curves[word(n)]
	if !ok {
		return mistake(n, "%q is no curve: CurveP256, CurveP384, CurveP521 and X25519 are", word(n))
	}
	*c = curve(id)
	return nil
}

// An authType is what is asked of clients, and whether the file says so.
type authType struct {
	is    tls.ClientAuthType
	given bool
}

func (a *authType) UnmarshalYAML(n *yaml.Node) error {
	types := map[string]tls.ClientAuthType{
		"": tls.NoClientCert, "NoClientCert": tls.NoClientCert, "RequestClientCert": tls.RequestClientCert,
		"RequireAnyClientCert": tls.RequireAnyClientCert, "RequireClientCert": tls.RequireAnyClientCert, // an old name of it
		"VerifyClientCertIfGiven": tls.VerifyClientCertIfGiven, "RequireAndVerifyClientCert": tls.RequireAndVerifyClientCert,
	}
	is, ok := types[word(n)]
	if !ok {
		return mistake(n, "%q is no client_auth_type: NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven and RequireAndVerifyClientCert are", word(n))
	}
	*a = authType{is, word(n) != ""}
	return nil
}

// An interval is a duration with a unit, or 0.
type interval time.Duration

func (i *interval) UnmarshalYAML(n *yaml.Node) error {
	d, err := time.ParseDuration(word(n))
	if err != nil {
		return mistake(n, "%q is no duration such as 1s or 500ms", word(n))
	}
	*i = interval(d)
	return nil
}
