// Package certtest makes certificates for tests: authorities, the
// certificates that they issue, and everything that can be wrong with them. It
// is for tests only.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// A Pair is a certificate with its private key.
type Pair struct {
	*x509.Certificate
	Key crypto.Signer
}

// An Option changes a certificate before it is signed.
type Option func(*spec)

type spec struct {
	*x509.Certificate
	key crypto.Signer
}

// With changes the template.
func With(change func(*x509.Certificate)) Option { return func(s *spec) { change(s.Certificate) } }

// CA makes the certificate an authority's.
func CA() Option {
	return With(func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	})
}

// Names sets the subject alternative names.
func Names(names ...string) Option {
	return With(func(c *x509.Certificate) { c.DNSNames = names })
}

// Valid sets the time of validity.
func Valid(from, to time.Time) Option {
	return With(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to })
}

// SHA1 signs with SHA-1 and an RSA key of the issuer.
func SHA1() Option {
	return With(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
}

// Key gives the certificate this key instead of a new one.
func Key(k crypto.Signer) Option { return func(s *spec) { s.key = k } }

var (
	mu   sync.Mutex
	keys = map[int]*rsa.PrivateKey{}
)

// RSA returns an RSA key of a size in bits, always the same: making one takes
// long.
func RSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if keys[bits] == nil {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		keys[bits] = k
	}
	return keys[bits]
}

// EC returns a new key on a curve.
func EC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Root returns a self-signed authority.
func Root(t testing.TB, name string, options ...Option) *Pair {
	return issue(t, nil, name, append([]Option{CA()}, options...))
}

// SelfSigned returns a self-signed certificate that is no authority.
func SelfSigned(t testing.TB, name string, options ...Option) *Pair {
	return issue(t, nil, name, options)
}

// Issue returns a certificate signed by p: a client's and server's, unless the
// options say otherwise.
func (p *Pair) Issue(t testing.TB, name string, options ...Option) *Pair {
	return issue(t, p, name, options)
}

func issue(t testing.TB, parent *Pair, name string, options []Option) *Pair {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	s := &spec{Certificate: &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(365 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}}
	for _, o := range options {
		o(s)
	}
	if s.key == nil {
		s.key = EC(t, elliptic.P256())
	}
	signer, above := s.key, s.Certificate
	if parent != nil {
		signer, above = parent.Key, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, s.Certificate, above, s.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Pair{c, s.key}
}

// PEM returns the certificate as a PEM block.
func (p *Pair) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Raw})
}

// KeyPEM returns the private key as a PEM block in PKCS #8 form.
func (p *Pair) KeyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLS returns the certificate with its key and the rest of its chain, for
// servers and clients.
func (p *Pair) TLS(chain ...*Pair) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{p.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
	for _, above := range chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c
}

// Bundle returns the PEM blocks of several certificates.
func Bundle(pairs ...*Pair) []byte {
	var text []byte
	for _, p := range pairs {
		text = append(text, p.PEM()...)
	}
	return text
}

// Pool returns a pool of the certificates.
func Pool(pairs ...*Pair) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, p := range pairs {
		pool.AddCert(p.Certificate)
	}
	return pool
}
