package identify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"vpcprobe/probes"
)

// A Certificate is what people want to know of a certificate, in words. Its
// text is foreign and has been scrubbed.
type Certificate struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Names       []string  `json:"names,omitempty"` // the subject alternative names, at most 100
	Serial      string    `json:"serial"`          // hexadecimal
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Key         string    `json:"key"`       // its type and size: RSA 2048, ECDSA P-256, Ed25519
	Signature   string    `json:"signature"` // its signature's algorithm: SHA256-RSA
	CA          bool      `json:"ca"`        // whether it may issue certificates
	Fingerprint string    `json:"fingerprint_sha256"`
}

// The bounds on foreign text.
const (
	maxName  = 256 // runes
	maxNames = 100
)

// Describe says in words what a certificate is.
func Describe(c *x509.Certificate) Certificate {
	return Certificate{
		Subject:     scrub(c.Subject.String()),
		Issuer:      scrub(c.Issuer.String()),
		Names:       names(c),
		Serial:      scrub(fmt.Sprintf("%x", c.SerialNumber)),
		NotBefore:   c.NotBefore.UTC(),
		NotAfter:    c.NotAfter.UTC(),
		Key:         keyWords(c.PublicKey),
		Signature:   c.SignatureAlgorithm.String(),
		CA:          mayIssue(c),
		Fingerprint: fingerprint(c),
	}
}

func scrub(text string) string { return probes.Scrub(text, maxName) }

func names(c *x509.Certificate) []string {
	var all []string
	all = append(all, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	all = append(all, c.EmailAddresses...)
	for _, u := range c.URIs {
		all = append(all, u.String())
	}
	all = all[:min(len(all), maxNames)]
	for i := range all {
		all[i] = scrub(all[i])
	}
	return all
}

func keyWords(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// mayIssue reports whether a certificate is that of an authority. One of
// version 1 cannot say so; as an anchor it is taken to be one, as OpenSSL does.
func mayIssue(c *x509.Certificate) bool {
	if c.Version < 3 {
		return selfIssued(c)
	}
	return c.BasicConstraintsValid && c.IsCA
}

func selfIssued(c *x509.Certificate) bool { return string(c.RawSubject) == string(c.RawIssuer) }

// ParseCertificates returns the certificates of a PEM file, in order. Whatever
// else is in the file is an error: text that is no PEM block is allowed
// between blocks, as openssl prints it there, but a broken block, a block of
// another type, or no block at all is not. Private keys are let pass, since
// many keep the key in the same file.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	blocks, err := blocks(text)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for i, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") || b.Type == "EC PARAMETERS" {
			continue
		}
		c, err := parseBlock(b)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", i+1, err)
		}
		certs = append(certs, c)
	}
	if certs == nil {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

// parseBlock returns the certificate that a PEM block holds.
func parseBlock(b *pem.Block) (*x509.Certificate, error) {
	if b.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("a %q instead of a CERTIFICATE", scrub(b.Type))
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %s", scrub(err.Error()))
	}
	return c, nil
}

// blocks returns the PEM blocks of a text. pem.Decode passes over a broken
// block in silence, so they are counted.
func blocks(text []byte) ([]*pem.Block, error) {
	begun := strings.Count("\n"+string(text), "\n-----BEGIN ")
	var found []*pem.Block
	for {
		var b *pem.Block
		b, text = pem.Decode(text)
		if b == nil {
			break
		}
		found = append(found, b)
	}
	switch {
	case begun == 0 && len(found) == 0:
		return nil, errors.New("not PEM: no block begins in it")
	case len(found) != begun:
		return found, fmt.Errorf("%d PEM blocks begin, but only %d can be read: one is broken", begun, len(found))
	}
	return found, nil
}

// ParseKey returns the private key of a PEM file in PKCS #1, PKCS #8 or SEC 1
// form. Its errors never hold any of the key.
func ParseKey(text []byte) (crypto.Signer, error) {
	for {
		var b *pem.Block
		b, text = pem.Decode(text)
		switch {
		case b == nil:
			return nil, errNoKey
		case b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("the private key is encrypted; decrypt it with: openssl pkey -in FILE -out PLAIN")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			return parseKey(b.Bytes)
		}
	}
}

var errNoKey = errors.New("no private key in it")

func parseKey(der []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is neither PKCS #1 nor PKCS #8 nor SEC 1, or it is broken")
	}
	if s, ok := k.(crypto.Signer); ok {
		return s, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign", k)
}

// Belongs reports whether the private key is that of the certificate.
func Belongs(key crypto.Signer, c *x509.Certificate) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}
