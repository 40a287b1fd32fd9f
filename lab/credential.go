package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A credential is what the client of the mutual TLS domain has on disk, as
// PEM, and the certificates that the domain really trusts.
type credential struct {
	certificate, key, truststore []byte

	trusts []*x509.Certificate // by the server; what truststore holds, where that is valid
}

// partner is the organization whose clients call the mutual TLS domain: a
// root, an intermediate that signs clients, and whatever else has ever signed
// a client.
type partner struct {
	root, issuing *authority
	key           *ecdsa.PrivateKey
}

func newPartner() (*partner, error) {
	root, err := newRoot("Partner Root CA")
	if err != nil {
		return nil, err
	}
	issuing, err := root.intermediate("Partner Issuing CA")
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &partner{root, issuing, key}, err
}

// clientTemplate is a client certificate as it should be.
func clientTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "orders-client", Organization: []string{"Partner"}},
		NotBefore:   time.Now().Add(-day),
		NotAfter:    time.Now().Add(400 * day),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// put is a credential of a certificate with its key, and a truststore.
func put(leaf *x509.Certificate, key crypto.Signer, bundle ...*x509.Certificate) (credential, error) {
	text, err := pemOfKey(key)
	return credential{certificate: pemOf(leaf), key: text, truststore: pemOf(bundle...), trusts: bundle}, err
}

// issued is a credential whose certificate issuer signs from the template.
func (p *partner) issued(issuer *authority, template *x509.Certificate, bundle ...*x509.Certificate) (credential, error) {
	leaf, err := issuer.issue(template, p.key)
	if err != nil {
		return credential{}, err
	}
	return put(leaf, p.key, bundle...)
}

// bundle is the truststore as it should be.
func (p *partner) bundle() []*x509.Certificate {
	return []*x509.Certificate{p.root.cert, p.issuing.cert}
}

// A credentialMaker makes one kind of credential.
type credentialMaker func(*partner) (credential, error)

func goodCredential(p *partner) (credential, error) {
	return p.issued(p.issuing, clientTemplate(), p.bundle()...)
}

// foreignKey: the key on disk belongs to another certificate. A good
// certificate is beside it.
func foreignKey(p *partner) (credential, error) {
	c, err := goodCredential(p)
	if err != nil {
		return c, err
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	c.key, err = pemOfKey(other)
	return c, err
}

func validUntil(end time.Duration) credentialMaker {
	return func(p *partner) (credential, error) {
		t := clientTemplate()
		t.NotBefore, t.NotAfter = time.Now().Add(min(0, end)-30*day), time.Now().Add(end)
		return p.issued(p.issuing, t, p.bundle()...)
	}
}

func sha1Signed(p *partner) (credential, error) {
	t := clientTemplate()
	t.SignatureAlgorithm = x509.ECDSAWithSHA1
	return p.issued(p.issuing, t, p.bundle()...)
}

func shortKey(p *partner) (credential, error) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return credential{}, err
	}
	leaf, err := p.issuing.issue(clientTemplate(), key)
	if err != nil {
		return credential{}, err
	}
	return put(leaf, key, p.bundle()...)
}

// selfSigned: nobody but itself vouches for it, and the truststore lacks it.
func selfSigned(p *partner) (credential, error) {
	leaf, err := p.ownSigned(clientTemplate())
	if err != nil {
		return credential{}, err
	}
	return put(leaf, p.key, p.bundle()...)
}

// altered: the truststore holds a self-signed certificate, and the client
// shows another one of the same name and key.
func altered(p *partner) (credential, error) {
	first, err := p.ownSigned(clientTemplate())
	if err != nil {
		return credential{}, err
	}
	t := clientTemplate()
	t.NotAfter = t.NotAfter.Add(365 * day)
	second, err := p.ownSigned(t)
	if err != nil {
		return credential{}, err
	}
	return put(second, p.key, first)
}

func (p *partner) ownSigned(t *x509.Certificate) (*x509.Certificate, error) {
	return sign(t, t, p.key.Public(), p.key)
}

// untrusted: an authority signed it that the truststore has never heard of.
func untrusted(p *partner) (credential, error) {
	elsewhere, err := newRoot("Former Partner Root CA")
	if err != nil {
		return credential{}, err
	}
	return p.issued(elsewhere, clientTemplate(), p.bundle()...)
}

// incompleteChain: the truststore has the root, but not the intermediate that
// signed the client; the client sends it, which does not help.
func incompleteChain(p *partner) (credential, error) {
	c, err := p.issued(p.issuing, clientTemplate(), p.root.cert)
	c.certificate = append(c.certificate, pemOf(p.issuing.cert)...)
	return c, err
}

// longChain: five authorities from the client to the root, one more than API
// Gateway follows (FACTS.md 3.1).
func longChain(p *partner) (credential, error) {
	at := p.root
	bundle := []*x509.Certificate{at.cert}
	for i := range 4 {
		next, err := at.intermediate(fmt.Sprintf("Partner Sub CA %d", i+1))
		if err != nil {
			return credential{}, err
		}
		at = next
		bundle = append(bundle, at.cert)
	}
	return p.issued(at, clientTemplate(), bundle...)
}

// brokenBundle: one block of the truststore is no certificate.
func brokenBundle(p *partner) (credential, error) {
	c, err := goodCredential(p)
	broken := slices.Clone(p.root.cert.Raw)
	broken[4] ^= 0xff // the type of what should be the certificate's body
	c.truststore = append(c.truststore, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broken})...)
	return c, err
}

// conflict: two certificates of one subject by different issuers.
func conflict(p *partner) (credential, error) {
	other, err := newRoot("Other Partner Root CA")
	if err != nil {
		return credential{}, err
	}
	twin, err := other.intermediate(p.issuing.cert.Subject.CommonName)
	if err != nil {
		return credential{}, err
	}
	c, err := goodCredential(p)
	c.truststore = append(c.truststore, pemOf(other.cert, twin.cert)...)
	return c, err
}

// weakChain: the authority that signed the client has a SHA-1 signature itself.
func weakChain(p *partner) (credential, error) {
	t := authorityTemplate("Partner Legacy Issuing CA")
	t.SignatureAlgorithm = x509.ECDSAWithSHA1
	legacy := &authority{issuer: p.root}
	if err := legacy.establish(t); err != nil {
		return credential{}, err
	}
	return p.issued(legacy, clientTemplate(), p.root.cert, legacy.cert)
}

// forServers: the certificate may be used by servers only.
func forServers(p *partner) (credential, error) {
	t := clientTemplate()
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return p.issued(p.issuing, t, p.bundle()...)
}

// scrambled: the client's file is no certificate.
func scrambled(p *partner) (credential, error) {
	c, err := goodCredential(p)
	c.certificate = []byte("this is no certificate\n")
	return c, err
}

// scrambledBundle: the copy of the truststore is no bundle; the domain has the
// real one.
func scrambledBundle(p *partner) (credential, error) {
	c, err := goodCredential(p)
	c.truststore = []byte("this is no bundle\n") // what the server trusts stays
	return c, err
}

// outdatedBundle: the copy of the truststore is one of other times; the domain
// has the real one.
func outdatedBundle(p *partner) (credential, error) {
	elsewhere, err := newRoot("Former Partner Root CA")
	if err != nil {
		return credential{}, err
	}
	c, err := goodCredential(p)
	c.truststore = pemOf(elsewhere.cert)
	return c, err
}

// weakBundle: an authority in the truststore, not the client's own, has a
// signature that API Gateway does not accept.
func weakBundle(p *partner) (credential, error) {
	t := authorityTemplate("Legacy Partner CA")
	t.SignatureAlgorithm = x509.ECDSAWithSHA1
	weak, err := sign(t, p.root.cert, p.key.Public(), p.root.key)
	if err != nil {
		return credential{}, err
	}
	c, err := goodCredential(p)
	c.truststore = append(c.truststore, pemOf(weak)...)
	return c, err
}

// largeBundle: more than the 1,000 certificates that a truststore may hold.
func largeBundle(p *partner) (credential, error) {
	c, err := goodCredential(p)
	if err != nil {
		return c, err
	}
	var more strings.Builder
	for i := range 1000 {
		t := authorityTemplate(fmt.Sprintf("Partner Device CA %d", i))
		extra, err := sign(t, p.root.cert, p.key.Public(), p.root.key)
		if err != nil {
			return c, err
		}
		more.Write(pemOf(extra))
	}
	c.truststore = append(c.truststore, more.String()...)
	return c, nil
}
