package identify

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"vpcprobe/probes"
)

// Files names what to judge. Only Certificate is required.
type Files struct {
	Certificate string // PEM: the client certificate, and whatever else the client sends
	Key         string // PEM: its private key; it may stand in Certificate instead
	Truststore  string // PEM: the domain's truststore bundle
	Chain       string // PEM: further certificates that the client sends
}

// A Report says what was found in the files. It is not changed once made.
type Report struct {
	// Accepted says whether API Gateway would accept the client by its
	// documented rules, as far as the files given tell: see Complete.
	Accepted bool `json:"accepted"`
	// Reason is what API Gateway would log, where that is known.
	Reason   string    `json:"reason,omitempty"`
	Problems []Problem `json:"problems,omitempty"` // the gravest first
	Notes    []string  `json:"notes,omitempty"`    // what is worth knowing besides

	Leaf       int      `json:"leaf"`                  // which of Client is the client certificate
	KeyMatches *bool    `json:"key_matches,omitempty"` // nil if there is no key
	Path       []string `json:"path,omitempty"`        // the subjects from the client certificate to the root

	Client     []Judged `json:"client,omitempty"`     // the certificates of the client's file, in order
	Truststore []Judged `json:"truststore,omitempty"` // those of the bundle, in order
	InBundle   int      `json:"in_bundle,omitempty"`  // how many the bundle holds

	client []*x509.Certificate // what Client describes
}

// About reports whether the report is on the certificates that a client showed:
// the same ones, in the same order. Files are replaced under a running agent.
func (r *Report) About(shown [][]byte) bool {
	return slices.EqualFunc(r.client, shown, func(c *x509.Certificate, raw []byte) bool { return bytes.Equal(c.Raw, raw) })
}

// A Judged certificate is one of a file.
type Judged struct {
	Index int `json:"index"` // from 0, in the file's order
	Certificate
	Problem string `json:"problem,omitempty"`
}

// A Problem is one cause for which the client is refused, or will be.
type Problem struct {
	Finding string `json:"finding"` // the finding's id
	Refuses bool   `json:"refuses"` // false for a warning
	Text    string `json:"text"`
	// Rule is the documented rule of API Gateway, where openssl verify does
	// not know of it and so may accept what is refused here.
	Rule string `json:"rule,omitempty"`

	sure probes.Certainty
}

// What API Gateway writes to the execution log when it denies a request for
// its client certificate (AWS re:Post Knowledge Center,
// api-gateway-mutual-tls-403-errors).
const (
	reasonNoIssuer   = "Access denied. Reason: Could not find issuer for certificate"
	reasonWeak       = "Access denied. Reason: Client cert using an insecure Signature Algorithm"
	reasonSelfSigned = "Access denied. Reason: self signed certificate"
)

// A FileError says which file cannot be read or parsed.
type FileError struct {
	Role string // client certificate, private key, chain, truststore
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %v", e.Role, e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

const (
	roleCertificate = "client certificate"
	roleKey         = "private key"
	roleChain       = "chain"
	roleTruststore  = "truststore"
)

// Judge reads the files and judges them as API Gateway would at a time. Its
// error, a [*FileError], says which of them cannot be read.
func Judge(f Files, at time.Time) (*Report, error) {
	m, err := (&reader{}).read(f)
	if err != nil {
		return nil, err
	}
	return m.judge(at), nil
}

// material is what the files hold.
type material struct {
	client []*x509.Certificate
	key    crypto.Signer // nil if there is none
	chain  []*x509.Certificate
	bundle *bundle // nil if there is none
}

// A reader reads files and keeps what was in them until they change.
type reader struct {
	certs   Cache[[]*x509.Certificate]
	keys    Cache[crypto.Signer]
	bundles Cache[*bundle]
}

func (r *reader) read(f Files) (m material, err error) {
	one := func(text [][]byte) ([]*x509.Certificate, error) { return ParseCertificates(text[0]) }
	if m.client, err = r.certs.Get(one, f.Certificate); err != nil {
		return m, &FileError{roleCertificate, f.Certificate, cause(err)}
	}
	keyFile := f.Key
	if keyFile == "" {
		keyFile = f.Certificate
	}
	m.key, err = r.keys.Get(func(text [][]byte) (crypto.Signer, error) { return ParseKey(text[0]) }, keyFile)
	if err != nil && (f.Key != "" || !errors.Is(err, errNoKey)) {
		return m, &FileError{roleKey, keyFile, cause(err)}
	}
	if f.Chain != "" {
		if m.chain, err = r.certs.Get(one, f.Chain); err != nil {
			return m, &FileError{roleChain, f.Chain, cause(err)}
		}
	}
	if f.Truststore != "" {
		m.bundle, err = r.bundles.Get(func(text [][]byte) (*bundle, error) { return parseBundle(text[0]), nil }, f.Truststore)
		if err != nil {
			return m, &FileError{roleTruststore, f.Truststore, cause(err)}
		}
	}
	return m, nil
}

// judge is Judge without the reading.
func (m material) judge(at time.Time) *Report {
	r := &Report{client: m.client}
	for i, c := range m.client {
		r.Client = append(r.Client, Judged{Index: i, Certificate: Describe(c)})
	}
	m.judgeKey(r)
	leaf := m.client[r.Leaf]
	if why := weakness(leaf); why != "" {
		r.refuse(r.Leaf, Problem{Finding: clientWeak.ID, Text: why, sure: probes.Certain, Rule: algorithmsRule})
	}
	if m.bundle != nil {
		m.bundle.judge(r, leaf, m.sent(r.Leaf), at)
	}
	r.judgeUse(leaf, at)
	r.Accepted = true
	for _, p := range r.Problems {
		r.Accepted = r.Accepted && !p.Refuses
	}
	r.Reason = r.reason()
	return r
}

// sent is what the client sends beside its own certificate.
func (m material) sent(leaf int) []*x509.Certificate {
	var sent []*x509.Certificate
	for i, c := range m.client {
		if i != leaf {
			sent = append(sent, c)
		}
	}
	return append(sent, m.chain...)
}

// judgeKey finds the certificate that the key belongs to. It must be the
// file's first: that is the one that clients take.
func (m material) judgeKey(r *Report) {
	if m.key == nil {
		return
	}
	matches := Belongs(m.key, m.client[0])
	r.KeyMatches = &matches
	if matches {
		return
	}
	text := "the key belongs to none of the certificates in the file"
	for i, c := range m.client {
		if Belongs(m.key, c) {
			r.Leaf = i
			text = fmt.Sprintf("the key belongs to certificate %d of the file (%s), but clients take the first (%s): put the client's own certificate first",
				i+1, r.Client[i].Subject, r.Client[0].Subject)
			break
		}
	}
	r.refuse(r.Leaf, Problem{Finding: keyMismatch.ID, Text: text, sure: probes.Certain,
		Rule: "openssl verify does not look at the key: a client cannot prove that the certificate is its own"})
}

// judgeUse judges what a truststore has no part in: time and purpose.
func (r *Report) judgeUse(leaf *x509.Certificate, at time.Time) {
	switch {
	case at.After(leaf.NotAfter):
		r.refuse(r.Leaf, Problem{Finding: clientExpired.ID, sure: probes.Likely, Text: "it expired on " + date(leaf.NotAfter)})
	case at.Before(leaf.NotBefore):
		r.refuse(r.Leaf, Problem{Finding: clientExpired.ID, sure: probes.Likely,
			Text: fmt.Sprintf("it is not valid before %s; the time is %s", date(leaf.NotBefore), date(at))})
	case leaf.NotAfter.Sub(at) < Margin(leaf.NotBefore, leaf.NotAfter):
		r.warn(r.Leaf, Problem{Finding: clientExpiring.ID, sure: probes.Certain, Text: "it expires on " + date(leaf.NotAfter)})
	}
	if !forClients(leaf) {
		r.warn(r.Leaf, Problem{Finding: noClientAuth.ID, sure: probes.Certain, Text: "its extended key usage does not name clientAuth"})
	}
}

// soon is how long before its expiry a certificate is warned of at most.
const soon = 30 * 24 * time.Hour

// Margin is how long before its expiry to warn of a certificate: 30 days, but
// not more than a quarter of its life. ACME clients and cert-manager renew when
// a third of it is left, and that is no reason to warn.
func Margin(notBefore, notAfter time.Time) time.Duration {
	return min(soon, notAfter.Sub(notBefore)/4)
}

func date(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }

// forClients reports whether a certificate may be a client's. One that names
// no usages may be anything.
func forClients(c *x509.Certificate) bool {
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0
}

// refuse adds a cause for which the client is refused. index is that of the
// client's certificate concerned, or -1.
func (r *Report) refuse(index int, p Problem) {
	p.Refuses = true
	at := 0
	for at < len(r.Problems) && r.Problems[at].Refuses {
		at++
	}
	r.Problems = append(r.Problems[:at], append([]Problem{p}, r.Problems[at:]...)...)
	r.mark(index, p.Text)
}

// warn adds something that does not yet refuse the client.
func (r *Report) warn(index int, p Problem) {
	r.Problems = append(r.Problems, p)
	r.mark(index, p.Text)
}

func (r *Report) mark(index int, text string) {
	if index < 0 {
		return
	}
	if c := &r.Client[index]; c.Problem == "" {
		c.Problem = text
	} else {
		c.Problem += "; " + text
	}
}

// reason is what API Gateway would log: it knows three reasons, and says
// nothing of a truststore that it did not take in the first place.
func (r *Report) reason() string {
	for _, p := range r.Problems {
		switch p.Finding {
		case clientWeak.ID, bundleWeak.ID:
			return reasonWeak
		case clientSelfSigned.ID, clientAltered.ID:
			return reasonSelfSigned
		case clientUntrusted.ID, chainIncomplete.ID, chainTooLong.ID:
			return reasonNoIssuer
		}
	}
	return ""
}

// Complete reports whether there was a truststore to judge by. Without one,
// accepted means only that nothing speaks against the client.
func (r *Report) Complete() bool { return r.InBundle > 0 }

// String is the verdict in a line.
func (r *Report) String() string {
	verdict := "accepted"
	switch {
	case !r.Accepted:
		verdict = "refused"
	case !r.Complete():
		verdict = "nothing against it (no truststore to judge by)"
	}
	if len(r.Problems) > 0 {
		verdict += ": " + r.Problems[0].Text
	}
	if !r.Accepted && r.Reason != "" {
		verdict += "; API Gateway logs " + fmt.Sprintf("%q", r.Reason)
	}
	return verdict
}

// cause is an error without the path, which a FileError names already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
