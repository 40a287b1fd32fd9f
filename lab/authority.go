package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"sync"
	"time"
)

const day = 24 * time.Hour

// An authority issues certificates: a root, or an intermediate that another
// authority vouches for.
type authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	issuer *authority // nil for a root
}

// newRoot makes an authority that vouches for itself.
func newRoot(name string) (*authority, error) {
	a := new(authority)
	return a, a.establish(authorityTemplate(name))
}

// intermediate makes an authority that a vouches for.
func (a *authority) intermediate(name string) (*authority, error) {
	sub := &authority{issuer: a}
	return sub, sub.establish(authorityTemplate(name))
}

func (a *authority) establish(template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	a.key = key
	parent, signer := template, crypto.Signer(key)
	if a.issuer != nil {
		parent, signer = a.issuer.cert, a.issuer.key
	}
	a.cert, err = sign(template, parent, key.Public(), signer)
	return err
}

// chain returns the authorities between a and its root, the root excluded.
func (a *authority) chain() []*x509.Certificate {
	var chain []*x509.Certificate
	for ; a.issuer != nil; a = a.issuer {
		chain = append(chain, a.cert)
	}
	return chain
}

// root returns the authority at the top.
func (a *authority) root() *authority {
	for a.issuer != nil {
		a = a.issuer
	}
	return a
}

// issue signs a certificate for a key.
func (a *authority) issue(template *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	return sign(template, a.cert, key.Public(), a.key)
}

func authorityTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"vpcprobe lab"}},
		NotBefore:             time.Now().Add(-365 * day),
		NotAfter:              time.Now().Add(3650 * day),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign makes a certificate, with a random serial number unless the template
// has one.
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			return nil, err
		}
		template.SerialNumber = serial
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		return nil, fmt.Errorf("certificate of %v: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}

// pemOf writes certificates as PEM blocks.
func pemOf(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// pemOfKey writes a private key as a PKCS #8 PEM block.
func pemOfKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// A certificate says what kind of server certificate is to be shown.
type certificate struct {
	issuer  issuer
	name    string        // the DNS name it is for; may begin with a wildcard
	expires time.Duration // from now; negative if it has expired
}

// An issuer is one of the authorities that vouch for servers.
type issuer int

const (
	trusted  issuer = iota // an intermediate of the root that the targets trust
	stranger               // an authority that nobody trusts
	proxy                  // the authority of a proxy that intercepts TLS
)

// issuers are the authorities for server certificates, and the certificates
// that they have issued so far.
type issuers struct {
	authorities map[issuer]*authority
	key         crypto.Signer // of all servers: it is not what is tested

	mu     sync.Mutex
	issued map[certificate]*tls.Certificate
}

func newIssuers() (*issuers, error) {
	i := &issuers{authorities: map[issuer]*authority{}, issued: map[certificate]*tls.Certificate{}}
	for which, name := range map[issuer]string{trusted: "Lab Root CA 1", stranger: "Unknown Root CA", proxy: "Corporate Proxy Root CA"} {
		root, err := newRoot(name)
		if err != nil {
			return nil, err
		}
		if i.authorities[which], err = root.intermediate(name + " Servers"); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.key = key
	return i, err
}

// get returns the certificate with its chain and key, issuing it when it is
// first asked for.
func (i *issuers) get(want certificate) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if have, ok := i.issued[want]; ok {
		return have, nil
	}
	from := i.authorities[want.issuer]
	leaf, err := from.issue(serverTemplate(want), i.key)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: i.key, Leaf: leaf}
	for _, c := range from.chain() {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	i.issued[want] = cert
	return cert, nil
}

func serverTemplate(want certificate) *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: want.name},
		NotBefore:   time.Now().Add(min(0, want.expires) - 60*day),
		NotAfter:    time.Now().Add(want.expires),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if addr, err := netip.ParseAddr(want.name); err == nil {
		t.IPAddresses = append(t.IPAddresses, addr.AsSlice())
	} else {
		t.DNSNames = []string{want.name}
	}
	return t
}
