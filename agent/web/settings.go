package web

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// settings are what a file says, ready for use. They are immutable but for
// the limit's count.
type settings struct {
	tls     *tls.Config // nil if no TLS is asked for
	headers map[string]string
	users   map[string]string // hashes by user
	costs   []int             // what checking each user's password costs
	limit   *limit
}

// settings makes the file ready for use and reads the files that it names.
func (d *document) settings(path string, read func(string) ([]byte, error)) (*settings, error) {
	s := &settings{
		headers: d.HTTP.Headers, users: d.Users, costs: costs(d.Users),
		limit: newLimit(d.RateLimit.Burst, time.Duration(d.RateLimit.Interval)),
	}
	if !d.hasTLS() {
		return s, nil
	}
	t, err := d.tlsConfig(read)
	if err != nil {
		return nil, fmt.Errorf("%s: tls_server_config: %w", path, err)
	}
	s.tls = t
	return s, nil
}

func (d *document) tlsConfig(read func(string) ([]byte, error)) (*tls.Config, error) {
	pair, err := d.pair(read)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   uint16(d.TLS.MinVersion), MaxVersion: uint16(d.TLS.MaxVersion),
		ClientAuth: d.TLS.ClientAuth.is,
		NextProtos: []string{"http/1.1"},
	}
	if d.HTTP.HTTP2 {
		t.NextProtos = []string{"h2", "http/1.1"}
	}
	for _, c := range d.TLS.CipherSuites {
		t.CipherSuites = append(t.CipherSuites, uint16(c))
	}
	for _, c := range d.TLS.Curves {
		t.CurvePreferences = append(t.CurvePreferences, tls.CurveID(c))
	}
	if d.TLS.ClientAllowedSANs != nil && t.ClientAuth != tls.NoClientCert {
		t.VerifyConnection = allow(d.TLS.ClientAllowedSANs)
	}
	t.ClientCAs, err = d.clientCAs(read)
	return t, err
}

// either returns the content of a file, or the text given instead of one.
func either(file, text string, read func(string) ([]byte, error)) ([]byte, error) {
	if file == "" {
		return []byte(text), nil
	}
	return read(file)
}

func (d *document) pair(read func(string) ([]byte, error)) (tls.Certificate, error) {
	cert, err := either(d.TLS.CertFile, d.TLS.Cert, read)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	key, err := either(d.TLS.KeyFile, d.TLS.Key, read)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate and key: %w", err)
	}
	return pair, nil
}

// clientCAs returns the authorities that may have signed clients'
// certificates, nil for those of the system.
func (d *document) clientCAs(read func(string) ([]byte, error)) (*x509.CertPool, error) {
	if d.TLS.ClientCAFile == "" && d.TLS.ClientCA == "" {
		return nil, nil
	}
	text, err := either(d.TLS.ClientCAFile, d.TLS.ClientCA, read)
	if err != nil {
		return nil, fmt.Errorf("client_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("client_ca_file: there is no certificate in it, so no client could ever be let in")
	}
	return pool, nil
}

// allow accepts clients that have one of the names in their certificate. In
// contrast to VerifyPeerCertificate, it is asked on resumed connections too.
func allow(names []string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the client has no certificate, and so none of the names in client_allowed_sans")
		}
		cert := state.PeerCertificates[0]
		given := slices.Concat(cert.DNSNames, cert.EmailAddresses)
		for _, ip := range cert.IPAddresses {
			given = append(given, ip.String())
		}
		for _, uri := range cert.URIs {
			given = append(given, uri.String())
		}
		if slices.ContainsFunc(given, func(name string) bool { return slices.Contains(names, name) }) {
			return nil
		}
		return fmt.Errorf("the client's certificate is for %q, which client_allowed_sans does not name", given)
	}
}
