package apigateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"time"
)

// What the execution log says of a refused client certificate (Knowledge
// Center, api-gateway-mutual-tls-403-errors). The caller sees none of it.
const (
	logNoIssuer   = "Access denied. Reason: Could not find issuer for certificate"
	logInsecure   = "Access denied. Reason: Client cert using an insecure Signature Algorithm"
	logSelfSigned = "Access denied. Reason: self signed certificate"
)

// maxAuthorities is the longest chain of a truststore, the leaf not counted.
const maxAuthorities = 4

// mutualTLS answers F5. Callers without a certificate are reset within the
// handshake; should the front let one through, it is refused here. The stage
// is known by then, since the verdict is written to the API's log.
func (c *call) mutualTLS() *answer {
	if c.domain == nil || c.domain.Truststore == nil {
		return nil
	}
	reason := ""
	if leaf := c.conn.ClientCertificate; leaf != nil && c.conn.MutualTLS {
		reason = judge(leaf, c.domain.Truststore, c.judgedAt(leaf))
		if reason == "" {
			return nil
		}
	}
	a := forbidden("F5")
	a.reason = reason
	return a
}

// judgedAt is now or, where expiry is ignored, the nearest time at which the
// leaf is valid.
func (c *call) judgedAt(leaf *x509.Certificate) time.Time {
	switch {
	case c.domain.IgnoreExpiry && c.now.After(leaf.NotAfter):
		return leaf.NotAfter
	case c.domain.IgnoreExpiry && c.now.Before(leaf.NotBefore):
		return leaf.NotBefore
	}
	return c.now
}

// judge applies FACTS.md 3.1: any authority in the bundle may have issued the
// leaf, the chain must be complete within the bundle and end in a root, no
// longer than four, of strong algorithms throughout; a self-signed leaf must
// itself be in the bundle. What the client sends beside its leaf is ignored.
// It returns what the log says, or "".
func judge(leaf *x509.Certificate, bundle []*x509.Certificate, now time.Time) string {
	if !strong(leaf) {
		return logInsecure
	}
	if selfSigned(leaf) {
		if slices.ContainsFunc(bundle, leaf.Equal) && !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter) {
			return ""
		}
		return logSelfSigned
	}
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, authority := range bundle {
		if selfSigned(authority) {
			options.Roots.AddCert(authority)
		} else {
			options.Intermediates.AddCert(authority)
		}
	}
	chains, err := leaf.Verify(options)
	if err != nil || !slices.ContainsFunc(chains, acceptable) {
		return logNoIssuer // also for expiry and chains too long, whose log lines nobody has shown
	}
	return ""
}

// acceptable judges a verified chain, leaf first.
func acceptable(chain []*x509.Certificate) bool {
	authorities := chain[1:]
	return len(authorities) <= maxAuthorities &&
		!slices.ContainsFunc(authorities, func(a *x509.Certificate) bool { return !strong(a) })
}

// selfSigned does not use CheckSignatureFrom, which wants an authority.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) &&
		c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// strong: SHA-256 or more, RSA of 2048 bits or more, ECDSA on P-256 or P-384.
func strong(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	default:
		return false
	}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384()
	}
	return false
}
