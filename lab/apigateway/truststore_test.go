package apigateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// An authority is a certificate with its key.
type authority struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate; a nil issuer makes it self-signed.
func issue(t testing.TB, name string, issuer *authority, change func(*x509.Certificate), key crypto.Signer) *authority {
	t.Helper()
	if key == nil {
		generated, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = generated
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	parent := &authority{template, key}
	if issuer != nil {
		parent = issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

func leaf(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestMutualTLS is row F5: the caller is told nothing, the log the reason.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	root := issue(t, "root", nil, nil, nil)
	one := issue(t, "one", root, nil, nil)
	two := issue(t, "two", one, nil, nil)
	three := issue(t, "three", two, nil, nil)
	four := issue(t, "four", three, nil, nil)
	stranger := issue(t, "stranger", nil, nil, nil)
	lone := issue(t, "lone", nil, leaf, nil)
	double := issue(t, "lone", nil, leaf, nil)
	short := issue(t, "short", root, func(c *x509.Certificate) { c.MaxPathLenZero = true }, nil)
	below := issue(t, "below", short, nil, nil)
	narrow := issue(t, "narrow", root, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"a.example"} }, nil)
	rsa2048 := rsaKey(t, 2048)
	weakKey := issue(t, "weak key", nil, nil, rsaKey(t, 1024))
	bad := func(change func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) { leaf(c); change(c) }
	}
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }
	oldRoot := issue(t, "old root", nil, nil, rsa2048)
	expired := bad(func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Minute) })
	early := bad(func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Minute) })
	bundle := func(from ...*authority) []*x509.Certificate {
		certs := []*x509.Certificate{}
		for _, a := range from {
			certs = append(certs, a.Certificate)
		}
		return certs
	}
	all := bundle(root, one, two, three, four)
	for _, tt := range []struct {
		name   string
		client *authority
		bundle []*x509.Certificate
		change func(*Domain)
		reason string // "" is trusted
	}{
		{name: "issued by the root", client: issue(t, "c", root, leaf, nil), bundle: bundle(root)},
		{name: "issued by an intermediate", client: issue(t, "c", one, leaf, nil), bundle: all},
		{name: "four authorities", client: issue(t, "c", three, leaf, nil), bundle: all},
		{name: "five authorities", client: issue(t, "c", four, leaf, nil), bundle: all, reason: logNoIssuer},
		{name: "another root", client: issue(t, "c", stranger, leaf, nil), bundle: all, reason: logNoIssuer},
		{name: "root of the same name and another key", client: issue(t, "c", issue(t, "root", nil, nil, nil), leaf, nil), bundle: all, reason: logNoIssuer},
		{name: "intermediate is missing", client: issue(t, "c", one, leaf, nil), bundle: bundle(root), reason: logNoIssuer},
		{name: "root is missing", client: issue(t, "c", one, leaf, nil), bundle: bundle(one), reason: logNoIssuer},
		{name: "empty bundle", client: issue(t, "c", root, leaf, nil), bundle: bundle(), reason: logNoIssuer},
		{name: "self-signed, in the bundle", client: lone, bundle: bundle(root, lone)},
		{name: "self-signed, not in the bundle", client: lone, bundle: bundle(root), reason: logSelfSigned},
		{name: "self-signed, another of the same name", client: lone, bundle: bundle(double), reason: logSelfSigned},
		{name: "issuer is no authority", client: issue(t, "c", lone, leaf, nil), bundle: bundle(lone), reason: logNoIssuer},
		{name: "path length exceeded", client: issue(t, "c", below, leaf, nil), bundle: bundle(root, short, below), reason: logNoIssuer},
		{name: "name constraints broken", client: issue(t, "c", narrow, bad(func(c *x509.Certificate) { c.DNSNames = []string{"b.example"} }), nil), bundle: bundle(root, narrow), reason: logNoIssuer},
		{name: "name constraints kept", client: issue(t, "c", narrow, bad(func(c *x509.Certificate) { c.DNSNames = []string{"x.a.example"} }), nil), bundle: bundle(root, narrow)},
		{name: "RSA 2048", client: issue(t, "c", root, leaf, rsa2048), bundle: bundle(root)},
		{name: "P-384", client: issue(t, "c", root, leaf, ecKey(t, elliptic.P384())), bundle: bundle(root)},
		{name: "RSA 1024", client: issue(t, "c", root, leaf, rsaKey(t, 1024)), bundle: bundle(root), reason: logInsecure},
		{name: "P-521", client: issue(t, "c", root, leaf, ecKey(t, elliptic.P521())), bundle: bundle(root), reason: logInsecure},
		{name: "SHA-1", client: issue(t, "c", oldRoot, bad(sha1), nil), bundle: bundle(oldRoot), reason: logInsecure},
		{name: "issued by a weak authority", client: issue(t, "c", weakKey, leaf, nil), bundle: bundle(weakKey), reason: logNoIssuer},
		{name: "expired", client: issue(t, "c", root, expired, nil), bundle: bundle(root), reason: logNoIssuer},
		{name: "not valid yet", client: issue(t, "c", root, early, nil), bundle: bundle(root), reason: logNoIssuer},
		{name: "expired, but nobody looks", client: issue(t, "c", root, expired, nil), bundle: bundle(root), change: func(d *Domain) { d.IgnoreExpiry = true }},
		{name: "not valid yet, but nobody looks", client: issue(t, "c", root, early, nil), bundle: bundle(root), change: func(d *Domain) { d.IgnoreExpiry = true }},
		{name: "expired, self-signed, in the bundle", client: issue(t, "c", nil, expired, nil), bundle: nil, reason: logSelfSigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.bundle == nil {
				tt.bundle = bundle(tt.client)
			}
			conn := fromInternet(PublicDomain)
			conn.MutualTLS, conn.ClientCertificate = true, tt.client.Certificate
			checkMutualTLS(t, tt.bundle, tt.change, conn, tt.reason)
		})
	}
	for name, conn := range map[string]*Conn{
		"no certificate": {ServerName: PublicDomain, MutualTLS: true},
		"never asked":    {ServerName: "other.example", ClientCertificate: issue(t, "c", root, leaf, nil).Certificate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkMutualTLS(t, all, nil, conn, "nothing")
		})
	}
}

// checkMutualTLS expects the reason in the log, "nothing" for a refusal that
// leaves none, "" for an answer of the API.
func checkMutualTLS(t *testing.T, bundle []*x509.Certificate, change func(*Domain), conn *Conn, reason string) {
	t.Helper()
	g := model(func(s *State) {
		d := s.Domains[PublicDomain]
		d.Truststore = bundle
		if change != nil {
			change(d)
		}
	})
	a := send(t, g, sent{host: PublicDomain, path: "/health", conn: conn})
	status, body, row := 403, forbiddenBody, "F5"
	switch reason {
	case "":
		status, body, row = 200, `{"status":"ok"}`, ""
	case "nothing":
		reason = ""
	}
	if a.status != status || a.body != body {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if r := g.Requests()[0]; r.Reason != reason || r.Row != row {
		t.Errorf("row %q, log %q, want row %q, log %q", r.Row, r.Reason, row, reason)
	}
	if errorType := a.header.Get("X-Amzn-Errortype"); (errorType == "ForbiddenException") != (status == 403) {
		t.Errorf("error type %q", errorType)
	}
	if status == 403 && a.header.Get("Content-Length") != "23" {
		t.Errorf("content-length %q", a.header.Get("Content-Length"))
	}
}
