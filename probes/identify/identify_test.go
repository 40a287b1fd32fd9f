package identify

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/probes"
	"vpcprobe/probes/identify/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A case is what lies in the files, and what must be said of it.
type situation struct {
	name   string
	client []byte // certificate file
	key    []byte // or none
	bundle []byte // or none
	chain  []byte // or none

	findings []string // all of them, the gravest first
	reason   string
	openssl  string // what openssl verify says: OK, refused, or "" where it is not asked
}

// situations are all that can be wrong, each once.
func situations(t testing.TB) []situation {
	now := time.Now()
	day := 24 * time.Hour
	past := certtest.Valid(now.Add(-90*day), now.Add(-2*day))
	future := certtest.Valid(now.Add(2*day), now.Add(90*day))
	rsa2048, rsa1024 := certtest.RSA(t, 2048), certtest.RSA(t, 1024)

	root := certtest.Root(t, "Root")
	inter := root.Issue(t, "Intermediate", certtest.CA())
	other := certtest.Root(t, "Other Root")
	direct, below := root.Issue(t, "direct"), inter.Issue(t, "below")
	selfie := certtest.SelfSigned(t, "selfie")
	again := certtest.SelfSigned(t, "selfie", certtest.Key(selfie.Key))
	namesake := certtest.SelfSigned(t, "selfie")

	levels := []*certtest.Pair{root}
	for i := range 4 {
		levels = append(levels, levels[i].Issue(t, fmt.Sprintf("Level %d", i+1), certtest.CA()))
	}
	rsaRoot := certtest.Root(t, "RSA Root", certtest.Key(rsa2048))
	shaInter := rsaRoot.Issue(t, "SHA-1 Intermediate", certtest.CA(), certtest.SHA1())
	smallRoot := certtest.Root(t, "Small Root", certtest.Key(rsa1024))
	shaRoot := certtest.Root(t, "SHA-1 Root", certtest.Key(rsa2048), certtest.SHA1())
	oldRoot := certtest.Root(t, "Old Root", past)
	lateInter := root.Issue(t, "Late Intermediate", certtest.CA(), future)
	expiredInter := root.Issue(t, "Expired Intermediate", certtest.CA(), past)
	cross := other.Issue(t, "Intermediate", certtest.CA(), certtest.Key(inter.Key))
	twin := root.Issue(t, "Intermediate", certtest.CA(), certtest.Key(inter.Key))
	impostor := certtest.Root(t, "Root")
	noCA := root.Issue(t, "No Authority")
	noSign := root.Issue(t, "No Signer", certtest.CA(), certtest.With(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }))
	short := certtest.Root(t, "Short Root", certtest.With(func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }))
	shortInter := short.Issue(t, "Too Low", certtest.CA())
	narrow := certtest.Root(t, "Narrow Root", certtest.With(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"good.example"}, true
	}))
	staff := certtest.Root(t, "Staff Root", subjectLimits(t, "Staff", ""))
	noGuests := certtest.Root(t, "House Root", subjectLimits(t, "", "Guests"))
	org := func(o string) certtest.Option {
		return certtest.With(func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{o}, CommonName: "x"} })
	}
	serverOnly := certtest.With(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	noUsage := certtest.With(func(c *x509.Certificate) { c.ExtKeyUsage = nil })
	many := make([]*certtest.Pair, 0, 1001)
	for range 1001 {
		many = append(many, root)
	}
	key := func(p *certtest.Pair) []byte { return p.KeyPEM(t) }
	pems := func(p ...*certtest.Pair) []byte { return certtest.Bundle(p...) }
	damaged := bytes.Replace(pems(inter), []byte("-----END CERTIFICATE-----"), []byte("-----END CERT-----"), 1)
	notDER := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not DER")})

	return []situation{
		{"issued by the root", pems(direct), key(direct), pems(root), nil, nil, "", "OK"},
		{"issued by an intermediate", pems(below), key(below), pems(root, inter), nil, nil, "", "OK"},
		{"any order in the bundle", pems(below), key(below), pems(inter, other, root), nil, nil, "", "OK"},
		{"self-signed, with its copy", pems(selfie), key(selfie), pems(root, selfie), nil, nil, "", "OK"},
		{"no truststore", pems(below), key(below), nil, nil, nil, "", ""},
		{"text between the blocks", pems(direct), key(direct), append([]byte("Certificate:\n  Data: x\n"), pems(root)...), nil, nil, "", "OK"},
		{"two certificates of one authority", pems(below), key(below), pems(root, inter, twin), nil, nil, "", "OK"},
		{"key in the certificate's file", append(pems(direct), key(direct)...), nil, pems(root), nil, nil, "", "OK"},
		{"intermediate in the client's file", pems(below, inter), key(below), pems(root, inter), nil, nil, "", "OK"},
		{"no usages named", pems(root.Issue(t, "any", noUsage)), nil, pems(root), nil, nil, "", "OK"},
		{"RSA and PSS", pems(rsaRoot.Issue(t, "pss", certtest.With(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA256WithRSAPSS }))),
			nil, pems(rsaRoot), nil, nil, "", "OK"},
		{"P-384", pems(root.Issue(t, "p384", certtest.Key(certtest.EC(t, elliptic.P384())))), nil, pems(root), nil, nil, "", "OK"},
		{"four authorities", pems(levels[3].Issue(t, "leaf")), nil, pems(levels[:4]...), nil, nil, "", "OK"},

		{"another's key", pems(direct), key(below), pems(root), nil, []string{"client-cert-key-mismatch"}, "", ""},
		{"wrong order", pems(inter, below), key(below), pems(root, inter), nil, []string{"client-cert-key-mismatch"}, "", ""},
		{"expired", pems(root.Issue(t, "old", past)), nil, pems(root), nil, []string{"client-cert-expired"}, "", "refused"},
		{"not yet valid", pems(root.Issue(t, "new", future)), nil, pems(root), nil, []string{"client-cert-expired"}, "", "refused"},
		{"expiring", pems(root.Issue(t, "soon", certtest.Valid(now.Add(-91*day), now.Add(29*day)))), nil, pems(root), nil,
			[]string{"client-cert-expiring"}, "", "OK"},
		{"of one day, most of it left", pems(root.Issue(t, "short", certtest.Valid(now.Add(-day/4), now.Add(3*day/4)))), nil, pems(root), nil, nil, "", "OK"},
		{"of 90 days, about to be renewed", pems(root.Issue(t, "acme", certtest.Valid(now.Add(-61*day), now.Add(29*day)))), nil, pems(root), nil, nil, "", "OK"},
		{"of one day, hardly renewed in time", pems(root.Issue(t, "short", certtest.Valid(now.Add(-4*day/5), now.Add(day/5)))), nil, pems(root), nil,
			[]string{"client-cert-expiring"}, "", "OK"},
		{"expires in 31 days", pems(root.Issue(t, "later", certtest.Valid(now.Add(-day), now.Add(31*day)))), nil, pems(root), nil, nil, "", "OK"},
		{"not for clients", pems(root.Issue(t, "server", serverOnly)), nil, pems(root), nil, []string{"client-cert-no-client-auth"}, "", "OK"},
		{"signed with SHA-1", pems(rsaRoot.Issue(t, "sha1", certtest.SHA1())), nil, pems(rsaRoot), nil, []string{"client-cert-weak"}, reasonWeak, "OK"},
		{"RSA of 1024 bits", pems(root.Issue(t, "small", certtest.Key(rsa1024))), nil, pems(root), nil, []string{"client-cert-weak"}, reasonWeak, "OK"},
		{"P-521", pems(root.Issue(t, "p521", certtest.Key(certtest.EC(t, elliptic.P521())))), nil, pems(root), nil, []string{"client-cert-weak"}, reasonWeak, "OK"},
		{"P-224", pems(root.Issue(t, "p224", certtest.Key(certtest.EC(t, elliptic.P224())))), nil, pems(root), nil, []string{"client-cert-weak"}, reasonWeak, "OK"},
		{"weak and self-signed, with its copy", pems(shaRoot), nil, pems(shaRoot), nil, []string{"client-cert-weak"}, reasonWeak, "OK"},
		{"self-signed", pems(selfie), key(selfie), pems(root), nil, []string{"client-cert-self-signed"}, reasonSelfSigned, "refused"},
		{"self-signed, issued anew", pems(again), key(again), pems(root, selfie), nil, []string{"client-cert-altered"}, reasonSelfSigned, ""},
		{"self-signed, with another key", pems(namesake), nil, pems(selfie), nil, []string{"client-cert-altered"}, reasonSelfSigned, "refused"},
		{"unknown issuer", pems(other.Issue(t, "x")), nil, pems(root, inter), nil, []string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"issuer of the same name with another key", pems(impostor.Issue(t, "x")), nil, pems(root), nil, []string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"path too long for an authority", pems(shortInter.Issue(t, "x")), nil, pems(short, shortInter), nil, []string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"a name that the authority may not issue", pems(narrow.Issue(t, "x", certtest.Names("bad.example"))), nil, pems(narrow), nil,
			[]string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"a name that it may", pems(narrow.Issue(t, "x", certtest.Names("a.good.example"))), nil, pems(narrow), nil, nil, "", "OK"},
		{"a subject that it may not", pems(staff.Issue(t, "x", org("Guests"))), nil, pems(staff), nil, []string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"a subject that it may", pems(staff.Issue(t, "x", org("staff"))), nil, pems(staff), nil, nil, "", "OK"},
		{"an excluded subject", pems(noGuests.Issue(t, "x", org("Guests"))), nil, pems(noGuests), nil, []string{"client-cert-untrusted"}, reasonNoIssuer, "refused"},
		{"a subject not excluded", pems(noGuests.Issue(t, "x", org("Staff"))), nil, pems(noGuests), nil, nil, "", "OK"},
		{"intermediate without its root", pems(below), key(below), pems(inter), nil, []string{"truststore-chain-incomplete"}, reasonNoIssuer, "refused"},
		{"intermediate sent by the client only", pems(below), key(below), pems(root), pems(inter), []string{"truststore-chain-incomplete"}, reasonNoIssuer, "OK"},
		{"intermediate in the client's file only", pems(below, inter), key(below), pems(root), nil, []string{"truststore-chain-incomplete"}, reasonNoIssuer, ""},
		{"root sent by the client only", pems(below), key(below), pems(inter), pems(root), []string{"truststore-chain-incomplete"}, reasonNoIssuer, "refused"},
		{"five authorities", pems(levels[4].Issue(t, "leaf")), nil, pems(levels...), nil, []string{"truststore-chain-too-long"}, reasonNoIssuer, "OK"},
		{"a block is damaged", pems(below), nil, append(pems(root), damaged...), nil, []string{"truststore-invalid-cert"}, "", ""},
		{"a block is no certificate", pems(direct), nil, append(pems(root), notDER...), nil, []string{"truststore-invalid-cert"}, "", ""},
		{"a private key in the bundle", pems(direct), nil, append(pems(root), key(root)...), nil, []string{"truststore-invalid-cert"}, "", "OK"},
		{"no PEM", pems(direct), nil, []byte("hello"), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"the root has expired", pems(oldRoot.Issue(t, "x")), nil, pems(oldRoot), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"an intermediate has expired", pems(expiredInter.Issue(t, "x")), nil, pems(root, expiredInter), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"an intermediate is not yet valid", pems(lateInter.Issue(t, "x")), nil, pems(root, lateInter), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"the issuer is no authority", pems(noCA.Issue(t, "x")), nil, pems(root, noCA), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"the issuer may not sign", pems(noSign.Issue(t, "x")), nil, pems(root, noSign), nil, []string{"truststore-invalid-cert"}, "", "refused"},
		{"an expired authority of others", pems(direct), nil, pems(root, oldRoot), nil, []string{"truststore-warnings"}, "", "OK"},
		{"a weak authority of others", pems(direct), nil, pems(root, smallRoot), nil, []string{"truststore-warnings"}, "", "OK"},
		{"one subject, two issuers", pems(below), nil, pems(root, other, inter, cross), nil, []string{"truststore-subject-conflict"}, "", "OK"},
		{"the intermediate is signed with SHA-1", pems(shaInter.Issue(t, "x")), nil, pems(rsaRoot, shaInter), nil, []string{"truststore-weak-cert"}, reasonWeak, "OK"},
		{"the root has 1024 bits", pems(smallRoot.Issue(t, "x")), nil, pems(smallRoot), nil, []string{"truststore-weak-cert"}, reasonWeak, "OK"},
		{"too many certificates", pems(direct), nil, pems(many...), nil, []string{"truststore-too-large"}, "", "OK"},
		{"too many bytes", pems(direct), nil, append(pems(root), bytes.Repeat([]byte("# comment\n"), 110_000)...), nil, []string{"truststore-too-large"}, "", "OK"},
		{"three things at once", pems(other.Issue(t, "x", past, serverOnly)), nil, pems(root), nil,
			[]string{"client-cert-untrusted", "client-cert-expired", "client-cert-no-client-auth"}, reasonNoIssuer, "refused"},
	}
}

// subjectLimits makes an authority issue only to, or not to, subjects of an
// organization. The library cannot make such certificates.
func subjectLimits(t testing.TB, permitted, excluded string) certtest.Option {
	subtree := func(tag int, organization string) []byte {
		if organization == "" {
			return nil
		}
		raw := func(class, tag int, content []byte) []byte {
			der, err := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content})
			if err != nil {
				t.Fatal(err)
			}
			return der
		}
		dn, err := asn1.Marshal(pkix.Name{Organization: []string{organization}}.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		return raw(asn1.ClassContextSpecific, tag, raw(asn1.ClassUniversal, asn1.TagSequence, raw(asn1.ClassContextSpecific, tagDirectoryName, dn)))
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append(subtree(0, permitted), subtree(1, excluded)...)})
	if err != nil {
		t.Fatal(err)
	}
	return certtest.With(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidNameConstraints, Critical: true, Value: value})
	})
}

// write puts the situation into files.
func (s situation) write(t testing.TB) Files {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, content []byte) string {
		if content == nil {
			return ""
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return Files{put("client.pem", s.client), put("client.key", s.key), put("bundle.pem", s.bundle), put("chain.pem", s.chain)}
}

func findingsOf(r *Report) []string {
	var ids []string
	for _, p := range r.Problems {
		ids = append(ids, p.Finding)
	}
	return ids
}

func TestJudge(t *testing.T) {
	for _, s := range situations(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r, err := Judge(s.write(t), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := findingsOf(r); !slices.Equal(got, s.findings) || r.Reason != s.reason {
				t.Errorf("findings %q, reason %q\nwant     %q,        %q\n%s", got, r.Reason, s.findings, s.reason, r)
			}
			refused := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Refuses })
			if r.Accepted == refused {
				t.Errorf("accepted %v with problems %v", r.Accepted, r.Problems)
			}
		})
	}
}

// Every rule is reached, and by the agent's probe just as by Judge; the rules
// name exactly what the report names.
func TestRules(t *testing.T) {
	reached := map[string]bool{}
	for _, s := range situations(t) {
		if s.chain != nil {
			continue // not part of a target
		}
		f := s.write(t)
		target := &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: f.Certificate, Key: f.Key, Truststore: f.Truststore}}}
		got := diagnose(t, target, reached)
		want := slices.Clone(s.findings)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", s.name, got, want)
		}
	}
	expired(t, reached)
	for _, tt := range unreadables(t) {
		if got := diagnose(t, tt.target, reached); !slices.Equal(got, []string{tt.finding}) {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.finding)
		}
	}
	for _, r := range Rules {
		if !reached[r.ID] {
			t.Errorf("nothing leads to %s", r.ID)
		}
	}
}

// expired tells what an expired certificate means by how the request fares.
func expired(t *testing.T, reached map[string]bool) {
	t.Helper()
	root := certtest.Root(t, "Root")
	old := root.Issue(t, "old", certtest.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)))
	f := situation{client: old.PEM(), key: old.KeyPEM(t), bundle: root.PEM()}.write(t)
	o := probe1(t, &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: f.Certificate, Key: f.Key, Truststore: f.Truststore}}})
	for outcome, want := range map[probes.Outcome]string{
		probes.OK: "client-cert-expired-accepted", probes.ServerError: "client-cert-expired-accepted", probes.NotFound: "client-cert-expired-accepted",
		probes.Denied: "client-cert-expired", probes.Rejected: "client-cert-expired", probes.Skipped: "client-cert-expired",
		probes.ClientError: "client-cert-expired", probes.Unexpected: "client-cert-expired", // as nginx says 400, or redirects
	} {
		seen := probes.Evidence{}.With(name, []probes.Observation{o}).With("invoke", []probes.Observation{{Outcome: outcome}})
		found := probes.Diagnose(Rules, seen)
		sure := probes.Likely
		if outcome == probes.Denied {
			sure = probes.Possible // API Gateway answers so for many reasons, and for this one nobody knows
		}
		if len(found) != 1 || found[0].Rule.ID != want || found[0].Certainty != sure {
			t.Errorf("expired, and the request ended as %s: found %v, want %s", outcome, found, want)
			continue
		}
		reached[want] = true
		if severe := found[0].Rule.Severity == probes.Error; severe != (want == "client-cert-expired") {
			t.Errorf("%s is %s", want, found[0].Rule.Severity)
		}
	}
	for _, kind := range []string{"invoke", "followup"} {
		denied := probes.Evidence{}.With(name, []probes.Observation{o}).With("invoke", []probes.Observation{{Outcome: probes.Denied, Detail: taken(false)}})
		if passed(denied) {
			t.Errorf("%s: a denial that any certificate gets shows that it was taken", kind)
		}
		if !passed(denied.With(kind, []probes.Observation{{Outcome: probes.Denied, Detail: taken(true)}})) {
			t.Errorf("%s: a denial behind the judgement of the certificate does not show that it was taken", kind)
		}
	}
}

// taken is an answer that says whether it shows that the certificate was taken.
type taken bool

func (t taken) PastCertificate() bool { return bool(t) }

func diagnose(t *testing.T, target *probes.Target, reached map[string]bool) []string {
	t.Helper()
	o := probe1(t, target)
	var ids []string
	for _, f := range probes.Diagnose(Rules, probes.Evidence{Target: target}.With(name, []probes.Observation{o})) {
		ids = append(ids, f.Rule.ID)
		reached[f.Rule.ID] = true
		if len(f.Notes) == 0 || len(f.Because) != 1 {
			t.Errorf("%s has notes %q because of %d observations", f.Rule.ID, f.Notes, len(f.Because))
		}
	}
	slices.Sort(ids)
	return ids
}

func probe1(t *testing.T, target *probes.Target) probes.Observation {
	t.Helper()
	p, err := Kind.New(probes.Host())(target)
	if err != nil {
		t.Fatal(err)
	}
	obs := p.Probe(context.Background(), probes.Evidence{Target: target}, nil)
	if len(obs) != 1 {
		t.Fatalf("%d observations", len(obs))
	}
	return obs[0]
}

type unreadableCase struct {
	name    string
	target  *probes.Target
	finding string
	want    string
}

func unreadables(t *testing.T) []unreadableCase {
	root := certtest.Root(t, "Root")
	client := root.Issue(t, "client")
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "x"}, Bytes: []byte("x")})
	pkcs8 := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	good, key, none := file("client.pem", client.PEM()), file("client.key", client.KeyPEM(t)), filepath.Join(dir, "none")
	of := func(certificate, key, truststore string) *probes.Target {
		return &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: certificate, Key: key, Truststore: truststore}}}
	}
	return []unreadableCase{
		{"no certificate", of(none, key, ""), "client-cert-unreadable", "client certificate " + none + ": no such file"},
		{"an empty certificate", of(file("empty.pem", nil), key, ""), "client-cert-unreadable", "empty"},
		{"a damaged certificate", of(file("cut.pem", client.PEM()[:100]), key, ""), "client-cert-unreadable", "1 PEM blocks begin, but only 0 can be read"},
		{"no certificate in the file", of(key, key, ""), "client-cert-unreadable", "no certificate in it"},
		{"no key", of(good, none, ""), "client-cert-unreadable", "private key " + none + ": no such file"},
		{"a file without a key", of(good, good, ""), "client-cert-unreadable", "no private key in it"},
		{"an encrypted key, PKCS #8", of(good, file("p8.key", pkcs8), ""), "client-cert-unreadable", "the private key is encrypted"},
		{"an encrypted key, PKCS #1", of(good, file("p1.key", legacy), ""), "client-cert-unreadable", "the private key is encrypted"},
		{"a damaged key", of(good, file("bad.key", []byte("-----BEGIN PRIVATE KEY-----\neHh4\n-----END PRIVATE KEY-----\n")), ""), "client-cert-unreadable", "neither PKCS #1"},
		{"no truststore", of(good, key, none), "truststore-unreadable", "truststore " + none + ": no such file"},
		{"a truststore that is a folder", of(good, key, dir), "truststore-unreadable", "not a regular file"},
	}
}

func TestUnreadable(t *testing.T) {
	for _, tt := range unreadables(t) {
		t.Run(tt.name, func(t *testing.T) {
			o := probe1(t, tt.target)
			if o.Outcome != probes.Unreadable || !strings.Contains(o.Err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", o.Outcome, o.Err, tt.want)
			}
			c := tt.target.ClientCertificate
			if r, err := Judge(Files{Certificate: c.Certificate, Key: c.Key, Truststore: c.Truststore}, time.Now()); r != nil || err == nil {
				t.Errorf("report %v, error %v", r, err)
			}
		})
	}
}

func TestKeyForms(t *testing.T) {
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	rsaKey, ecKey := certtest.RSA(t, 2048), certtest.EC(t, elliptic.P256())
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	ec := block("EC PRIVATE KEY", sec1, err)
	root := certtest.Root(t, "Root")
	for name, tt := range map[string]struct {
		client *certtest.Pair
		key    []byte
	}{
		"PKCS #1":                  {root.Issue(t, "x", certtest.Key(rsaKey)), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)},
		"SEC 1":                    {root.Issue(t, "x", certtest.Key(ecKey)), ec},
		"SEC 1 behind parameters":  {root.Issue(t, "x", certtest.Key(ecKey)), append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), ec...)},
		"PKCS #8, elliptic curve":  {root.Issue(t, "x", certtest.Key(ecKey)), (&certtest.Pair{Key: ecKey}).KeyPEM(t)},
		"PKCS #8, RSA":             {root.Issue(t, "x", certtest.Key(rsaKey)), (&certtest.Pair{Key: rsaKey}).KeyPEM(t)},
		"behind the certificate's": {root.Issue(t, "x", certtest.Key(ecKey)), append(root.PEM(), ec...)},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Judge(situation{client: tt.client.PEM(), key: tt.key, bundle: root.PEM()}.write(t), time.Now())
			if err != nil || !r.Accepted || r.KeyMatches == nil || !*r.KeyMatches {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
}

// openssl verify agrees, or the report names the documented rule that makes
// the difference.
func TestAgainstOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on this machine: the differential test needs it")
	}
	for _, s := range situations(t) {
		if s.bundle == nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f := s.write(t)
			r, err := Judge(f, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"verify", "-no-CApath", "-no-CAstore", "-CAfile", f.Truststore}
			if f.Chain != "" {
				args = append(args, "-untrusted", f.Chain)
			}
			out, failed := exec.Command(openssl, append(args, f.Certificate)...).CombinedOutput()
			says := "OK"
			if failed != nil {
				says = "refused"
			}
			if s.openssl != "" && says != s.openssl {
				t.Errorf("openssl says %s, want %s\n%s", says, s.openssl, out)
			}
			ruled := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Refuses && p.Rule != "" })
			switch {
			case r.Accepted && says != "OK":
				t.Errorf("accepted, but openssl refuses: %s", out)
			case !r.Accepted && says == "OK" && !ruled:
				t.Errorf("openssl accepts, and no rule says why we do not: %s", r)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	root := certtest.Root(t, "Root")
	client := root.Issue(t, "client")
	f := situation{client: client.PEM(), key: client.KeyPEM(t), bundle: root.PEM()}.write(t)
	target := &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: f.Certificate, Key: f.Key, Truststore: f.Truststore}}}
	var got []string
	for _, v := range probe1(t, target).Values {
		got = append(got, fmt.Sprintf("%s %v %.0f", v.Name, v.Labels, v.V))
	}
	want := []string{
		fmt.Sprintf("cert_not_after_timestamp_seconds [client] %d", client.NotAfter.Unix()),
		"client_cert_key_match [] 1", "client_cert_accepted [] 1",
		fmt.Sprintf("cert_not_after_timestamp_seconds [truststore] %d", root.NotAfter.Unix()),
	}
	if !slices.Equal(got, want) {
		t.Errorf("values %q\nwant   %q", got, want)
	}
}

func TestNothingToDoWithoutACertificate(t *testing.T) {
	if p, err := Kind.New(probes.Host())(&probes.Target{Settings: &probes.Settings{}}); p != nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
}

// The files are read again when they change, and only then.
func TestChangedFiles(t *testing.T) {
	root, other := certtest.Root(t, "Root"), certtest.Root(t, "Other")
	client := root.Issue(t, "client")
	f := situation{client: client.PEM(), key: client.KeyPEM(t), bundle: other.PEM()}.write(t)
	target := &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: f.Certificate, Key: f.Key, Truststore: f.Truststore}}}
	p, err := Kind.New(probes.Host())(target)
	if err != nil {
		t.Fatal(err)
	}
	once := func() probes.Observation { return p.Probe(context.Background(), probes.Evidence{}, nil)[0] }
	first := once()
	if first.Outcome != probes.Invalid {
		t.Errorf("outcome %s", first.Outcome)
	}
	if second := once(); Of(second) != Of(first) {
		t.Error("judged again, though nothing changed")
	}
	if err := os.WriteFile(f.Truststore, certtest.Bundle(root, other), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := once(); o.Outcome != probes.OK {
		t.Errorf("outcome %s (%v) after the bundle was corrected", o.Outcome, o.Err)
	}
	if err := os.Remove(f.Key); err != nil {
		t.Fatal(err)
	}
	if o := once(); o.Outcome != probes.Unreadable {
		t.Errorf("outcome %s after the key was removed", o.Outcome)
	}
}

// Without file descriptors no file can be read, whatever is in it.
func TestNoFileDescriptors(t *testing.T) {
	client := certtest.Root(t, "Root").Issue(t, "client")
	f := situation{client: client.PEM(), key: client.KeyPEM(t)}.write(t)
	target := &probes.Target{Settings: &probes.Settings{ClientCertificate: probes.ClientCertificate{Certificate: f.Certificate, Key: f.Key}}}
	p, err := Kind.New(probes.Host())(target)
	if err != nil {
		t.Fatal(err)
	}
	once := func() probes.Observation { return p.Probe(context.Background(), probes.Evidence{}, nil)[0] }
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	o := once()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	found := probes.Diagnose(Rules, probes.Evidence{Target: target}.With(name, []probes.Observation{o}))
	if o.Outcome != probes.Fault || len(found) > 0 {
		t.Errorf("%s (%v), %d findings", o.Outcome, o.Err, len(found))
	}
	if o := once(); o.Outcome != probes.OK {
		t.Errorf("%s (%v) after that", o.Outcome, o.Err)
	}
}

// A report says what people ask openssl for, and no secret.
func TestReport(t *testing.T) {
	root := certtest.Root(t, "Root")
	inter := root.Issue(t, "Intermediate", certtest.CA())
	u, _ := url.Parse("spiffe://x/y")
	client := inter.Issue(t, "client", certtest.Names("a.example"), certtest.With(func(c *x509.Certificate) { c.URIs = []*url.URL{u} }))
	f := situation{client: client.PEM(), key: client.KeyPEM(t), bundle: certtest.Bundle(root, inter)}.write(t)
	r, err := Judge(f, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"CN=client", "CN=Intermediate", "CN=Root"}; !slices.Equal(r.Path, want) {
		t.Errorf("path %q", r.Path)
	}
	if c := r.Client[0]; c.Subject != "CN=client" || c.Issuer != "CN=Intermediate" || !slices.Equal(c.Names, []string{"a.example", "spiffe://x/y"}) ||
		c.Key != "ECDSA P-256" || c.Signature != "ECDSA-SHA256" || c.CA || len(c.Fingerprint) != 64 {
		t.Errorf("client %+v", c)
	}
	if len(r.Truststore) != 2 || !r.Truststore[0].CA || r.Truststore[1].Index != 1 || r.InBundle != 2 {
		t.Errorf("truststore %+v", r.Truststore)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "any of the 2 authorities") {
		t.Errorf("notes %q", r.Notes)
	}
	text, err := json.Marshal(r)
	if err != nil || !bytes.Contains(text, []byte(`"accepted":true`)) || bytes.Contains(text, []byte("PRIVATE")) {
		t.Errorf("%s, %v", text, err)
	}
	if r.String() != "accepted" {
		t.Errorf("line %q", r)
	}
	if later, _ := Judge(f, time.Now().Add(400*24*time.Hour)); later.Accepted || !slices.Contains(findingsOf(later), "client-cert-expired") {
		t.Errorf("in 400 days: %v", later)
	}
}

func TestBriefKeepsWhatIsWrong(t *testing.T) {
	r := &Report{}
	for i := range 100 {
		r.Truststore = append(r.Truststore, Judged{Index: i})
	}
	r.Truststore[70].Problem = "x"
	if short := r.brief(); len(short.Truststore) != maxListed || short.Truststore[0].Index != 70 || len(r.Truststore) != 100 {
		t.Errorf("%+v", short.Truststore)
	}
}

// A bundle of many authorities of one name does not keep the agent busy.
func TestBundleOfNamesakes(t *testing.T) {
	key := certtest.EC(t, elliptic.P256())
	var all []*certtest.Pair
	root := certtest.Root(t, "Same", certtest.Key(key))
	for range 60 {
		all = append(all, root.Issue(t, "Same", certtest.CA(), certtest.Key(key)))
	}
	client := root.Issue(t, "client")
	b := parseBundle(certtest.Bundle(all...))
	signatures := 0
	b.walk(client.Certificate, nil, func([]*x509.Certificate, bool) { signatures++ })
	if signatures == 0 || signatures > maxChecks {
		t.Errorf("%d paths", signatures)
	}
}

func FuzzJudge(f *testing.F) {
	root := certtest.Root(f, "Root")
	inter := root.Issue(f, "Intermediate", certtest.CA())
	client := inter.Issue(f, "client")
	f.Add(client.PEM(), client.KeyPEM(f), certtest.Bundle(root, inter))
	f.Add(certtest.Bundle(client, inter), []byte(nil), root.PEM())
	f.Add(root.PEM(), root.KeyPEM(f), []byte("-----BEGIN CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("x"), []byte("x"))
	limited := certtest.Root(f, "Limited", subjectLimits(f, "Staff", "Guests"))
	f.Add(limited.Issue(f, "x").PEM(), []byte(nil), limited.PEM())
	at := time.Now()
	f.Fuzz(func(t *testing.T, certificate, key, truststore []byte) {
		certs, err := ParseCertificates(certificate)
		if err != nil {
			return
		}
		m := material{client: certs, bundle: parseBundle(truststore)}
		if k, err := ParseKey(key); err == nil {
			m.key = k
		}
		r := m.judge(at)
		if r.Accepted && len(m.bundle.certs) == 0 {
			t.Error("accepted by an empty truststore")
		}
		if r.Accepted && len(r.Path) == 0 {
			t.Error("accepted without a path to a root")
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}

// A file that takes for ever, as on a mount that hangs, keeps no other from
// being read.
func TestCacheReadsFilesSideBySide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	slow, quick := filepath.Join(dir, "slow"), filepath.Join(dir, "quick")
	for _, path := range []string{slow, quick} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var c Cache[string]
	reading, released := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(released)
	wg.Go(func() {
		c.Get(func([][]byte) (string, error) { close(reading); <-released; return "", nil }, slow)
	})
	<-reading
	got := make(chan string)
	go func() {
		text, _ := c.Get(func(text [][]byte) (string, error) { return string(text[0]), nil }, quick)
		got <- text
	}()
	select {
	case text := <-got:
		if text != "x" {
			t.Errorf("%q", text)
		}
	case <-time.After(10 * time.Second):
		t.Error("one file waits for another")
	}
}
