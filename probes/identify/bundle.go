package identify

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"vpcprobe/probes"
)

// The limits of a truststore (API Gateway Developer Guide,
// rest-api-mutual-tls).
const (
	maxBundle      = 1 << 20 // bytes
	maxBundleCerts = 1000
	maxPath        = 4 // authorities from the client certificate's issuer to the root
)

// A bundle is a truststore.
type bundle struct {
	size      int // bytes
	certs     []*x509.Certificate
	index     []int // of each certificate among the file's blocks
	described []Certificate
	broken    []string // what cannot be read, or is no certificate
	bySubject map[string][]int
}

// parseBundle reads a truststore. It never fails: what cannot be read is what
// there is to say about it.
func parseBundle(text []byte) *bundle {
	b := &bundle{size: len(text), bySubject: map[string][]int{}}
	found, err := blocks(text)
	if err != nil {
		b.broken = append(b.broken, err.Error())
	}
	for i, block := range found {
		c, err := parseBlock(block)
		if err != nil {
			b.broken = append(b.broken, fmt.Sprintf("block %d: %v", i+1, err))
			continue
		}
		b.bySubject[string(c.RawSubject)] = append(b.bySubject[string(c.RawSubject)], len(b.certs))
		b.certs = append(b.certs, c)
		b.index = append(b.index, i)
		b.described = append(b.described, Describe(c))
	}
	return b
}

// judge judges the bundle, and the leaf by it. sent is what the client sends
// beside the leaf.
func (b *bundle) judge(r *Report, leaf *x509.Certificate, sent []*x509.Certificate, at time.Time) {
	r.InBundle = len(b.certs)
	for i, d := range b.described {
		r.Truststore = append(r.Truststore, Judged{Index: b.index[i], Certificate: d})
	}
	b.judgeWhole(r)
	var best *path
	if selfSigned(leaf) {
		b.judgeSelfSigned(r, leaf)
	} else {
		best = b.judgeIssued(r, leaf, sent, at)
	}
	b.judgeEach(r, leaf, best, at)
	if n := b.authorities(); n > 1 {
		r.Notes = append(r.Notes, fmt.Sprintf("API Gateway accepts clients of any of the %d authorities in the bundle, root or intermediate; "+
			"to accept those of one only, look at the issuer in a Lambda authorizer", n))
	}
}

// judgeWhole judges what makes API Gateway refuse the bundle as a whole.
func (b *bundle) judgeWhole(r *Report) {
	if len(b.broken) > 0 {
		r.refuse(-1, Problem{Finding: bundleInvalid.ID, Text: strings.Join(b.broken[:min(len(b.broken), 5)], "; "), sure: probes.Certain,
			Rule: "a truststore holds PEM certificates and nothing else; openssl verify passes over other blocks"})
	}
	const limits = "a truststore has at most 1,000 certificates and 1 MB (API Gateway Developer Guide, rest-api-mutual-tls); openssl verify has no such limit"
	if b.size > maxBundle {
		r.refuse(-1, Problem{Finding: bundleTooLarge.ID, Text: fmt.Sprintf("the bundle has %d bytes, more than 1 MB", b.size), sure: probes.Certain, Rule: limits})
	} else if len(b.certs) > maxBundleCerts {
		r.refuse(-1, Problem{Finding: bundleTooLarge.ID, Text: fmt.Sprintf("the bundle has %d certificates, more than 1,000", len(b.certs)), sure: probes.Certain, Rule: limits})
	}
	if i, j := b.conflict(); j > 0 {
		r.refuse(-1, Problem{Finding: bundleConflict.ID, sure: probes.Certain,
			Text: fmt.Sprintf("certificates %d and %d have the same subject, %s, but different issuers: %s and %s",
				b.index[i]+1, b.index[j]+1, b.described[i].Subject, b.described[i].Issuer, b.described[j].Issuer),
			Rule: "a subject has one issuer: \"The certificate subject <subject> conflicts with an existing certificate from a different issuer.\" " +
				"(API Gateway Developer Guide, rest-api-mutual-tls); openssl verify takes any that fits"})
	}
}

// conflict returns the first two certificates with the same subject and
// different issuers, or zeros.
func (b *bundle) conflict() (i, j int) {
	for j, c := range b.certs {
		for _, i := range b.bySubject[string(c.RawSubject)] {
			if i < j && !bytes.Equal(b.certs[i].RawIssuer, c.RawIssuer) {
				return i, j
			}
		}
	}
	return 0, 0
}

// judgeEach says what is wrong with single certificates that do not concern
// this client, but will concern others.
func (b *bundle) judgeEach(r *Report, leaf *x509.Certificate, best *path, at time.Time) {
	var odd []string
	for i, c := range b.certs {
		text := weakness(c)
		if outdated := outdated(c, at); outdated != "" {
			text = outdated
		}
		if text == "" || c.Equal(leaf) {
			continue
		}
		r.Truststore[i].Problem = text
		if best == nil || !best.has(c) {
			odd = append(odd, fmt.Sprintf("certificate %d (%s): %s", b.index[i]+1, b.described[i].Subject, text))
		}
	}
	if len(odd) > 0 {
		r.warn(-1, Problem{Finding: bundleWarnings.ID, Text: strings.Join(odd[:min(len(odd), 5)], "; "), sure: probes.Certain})
	}
}

func outdated(c *x509.Certificate, at time.Time) string {
	switch {
	case at.After(c.NotAfter):
		return "it expired on " + date(c.NotAfter)
	case at.Before(c.NotBefore):
		return "it is not valid before " + date(c.NotBefore)
	}
	return ""
}

// find returns where the bundle holds an exact copy of a certificate, or -1.
func (b *bundle) find(c *x509.Certificate) int {
	for _, i := range b.bySubject[string(c.RawSubject)] {
		if b.certs[i].Equal(c) {
			return i
		}
	}
	return -1
}

func (b *bundle) authorities() (n int) {
	for _, c := range b.certs {
		if mayIssue(c) {
			n++
		}
	}
	return n
}

// judgeIssued judges a certificate that an authority issued, by the best path
// to a root of the bundle, which it returns; nil if there is none.
func (b *bundle) judgeIssued(r *Report, leaf *x509.Certificate, sent []*x509.Certificate, at time.Time) *path {
	best := b.bestPath(leaf, at)
	switch {
	case best != nil:
		r.Path = best.subjects()
		for _, p := range best.problems {
			r.refuse(-1, p)
		}
	case len(b.broken) == 0: // else what is missing may be in what cannot be read
		b.explain(r, leaf, sent)
	}
	return best
}

// explain says why no path leads from the leaf to a root of the bundle.
func (b *bundle) explain(r *Report, leaf *x509.Certificate, sent []*x509.Certificate) {
	issuer := scrub(leaf.Issuer.String())
	rule := ""
	if b.withSent(leaf, sent) != nil {
		rule = "the bundle must hold the whole chain from the client certificate's issuer up to the root (API Gateway Developer Guide, " +
			"rest-api-mutual-tls); openssl verify -untrusted takes intermediates from the client"
	}
	switch {
	case b.deepest(leaf, nil) != nil:
		last := b.deepest(leaf, nil)
		r.Path = last.subjects()
		top := last.certs[len(last.certs)-1]
		r.refuse(-1, Problem{Finding: chainIncomplete.ID, Rule: rule, sure: probes.Certain, Text: fmt.Sprintf(
			"the chain ends at %s: its issuer, %s, is not in the bundle", scrub(top.Subject.String()), scrub(top.Issuer.String()))})
	case rule != "":
		r.refuse(-1, Problem{Finding: chainIncomplete.ID, sure: probes.Likely,
			Text: fmt.Sprintf("the issuer, %s, is not in the bundle; that the client sends it does not help", issuer), Rule: rule})
	default:
		text := fmt.Sprintf("the issuer, %s, is not in the bundle", issuer)
		if same := b.bySubject[string(leaf.RawIssuer)]; len(same) > 0 {
			text = fmt.Sprintf("the bundle holds an authority named %s, but with another key: it did not sign this certificate", issuer)
		}
		r.refuse(-1, Problem{Finding: clientUntrusted.ID, Text: text, sure: probes.Certain})
	}
}

// judgeSelfSigned judges a certificate that only itself vouches for: the
// bundle must hold an exact copy.
func (b *bundle) judgeSelfSigned(r *Report, leaf *x509.Certificate) {
	if b.find(leaf) >= 0 {
		r.Path = []string{scrub(leaf.Subject.String())}
		return
	}
	if len(b.broken) > 0 {
		return // the copy may be in what cannot be read
	}
	for i, c := range b.certs {
		sameKey := bytes.Equal(c.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo)
		sameName := bytes.Equal(c.RawSubject, leaf.RawSubject)
		if !sameKey && !sameName {
			continue
		}
		differs := "the key is the same, the content is not"
		if !sameKey {
			differs = "the keys differ (openssl x509 -noout -modulus)"
		}
		r.refuse(-1, Problem{Finding: clientAltered.ID, sure: probes.Certain, Text: fmt.Sprintf(
			"it is self-signed, and certificate %d of the bundle, %s, is not an exact copy of it: %s", b.index[i]+1, b.described[i].Subject, differs),
			Rule: "a self-signed certificate is accepted only as an exact copy of one in the bundle (AWS re:Post Knowledge Center, api-gateway-mutual-tls-403-errors)"})
		return
	}
	r.refuse(-1, Problem{Finding: clientSelfSigned.ID, Text: "it is self-signed, and the bundle holds no copy of it", sure: probes.Certain})
}
