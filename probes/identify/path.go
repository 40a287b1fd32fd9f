package identify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpcprobe/probes"
)

// A path leads from the client certificate to an authority of the bundle.
type path struct {
	certs    []*x509.Certificate // the client certificate first
	problems []Problem
}

// The bounds of the search: a bundle is a foreign file, and one of equal names
// could make it endless.
const (
	maxDepth  = 16
	maxChecks = 400 // signatures
)

func (p *path) subjects() []string {
	var all []string
	for _, c := range p.certs {
		all = append(all, scrub(c.Subject.String()))
	}
	return all
}

func (p *path) has(c *x509.Certificate) bool {
	return slices.ContainsFunc(p.certs, func(d *x509.Certificate) bool { return d.Equal(c) })
}

// bestPath returns the path to a root with the fewest problems, the shortest
// of those, or nil if there is none.
func (b *bundle) bestPath(leaf *x509.Certificate, at time.Time) *path {
	var best *path
	b.walk(leaf, nil, func(certs []*x509.Certificate, root bool) {
		if !root {
			return
		}
		p := &path{certs: slices.Clone(certs)}
		p.judge(at)
		if best == nil || len(p.problems) < len(best.problems) ||
			len(p.problems) == len(best.problems) && len(p.certs) < len(best.certs) {
			best = p
		}
	})
	return best
}

// deepest returns the longest path that stays short of a root, or nil if not
// even the issuer is there. more are certificates beside those of the bundle.
func (b *bundle) deepest(leaf *x509.Certificate, more []*x509.Certificate) *path {
	var deepest *path
	b.walk(leaf, more, func(certs []*x509.Certificate, _ bool) {
		if len(certs) > 1 && (deepest == nil || len(certs) > len(deepest.certs)) {
			deepest = &path{certs: slices.Clone(certs)}
		}
	})
	return deepest
}

// withSent returns a path to a root of the bundle by way of what the client
// sends, or nil.
func (b *bundle) withSent(leaf *x509.Certificate, sent []*x509.Certificate) *path {
	var found *path
	b.walk(leaf, sent, func(certs []*x509.Certificate, root bool) {
		if root && found == nil && b.find(certs[len(certs)-1]) >= 0 {
			found = &path{certs: slices.Clone(certs)}
		}
	})
	return found
}

// walk visits every path of valid signatures that leads up from leaf, and says
// of each whether it ends at a root. The path is the visitor's until it
// returns.
func (b *bundle) walk(leaf *x509.Certificate, more []*x509.Certificate, visit func(certs []*x509.Certificate, root bool)) {
	checks := 0
	var up func(certs []*x509.Certificate)
	up = func(certs []*x509.Certificate) {
		last := certs[len(certs)-1]
		for _, issuer := range b.issuers(last, more) {
			if checks++; checks > maxChecks || len(certs) > maxDepth {
				return
			}
			if (&path{certs: certs}).has(issuer) || !signed(last, issuer) {
				continue
			}
			longer := append(slices.Clip(certs), issuer)
			root := selfSigned(issuer)
			visit(longer, root)
			if !root {
				up(longer)
			}
		}
	}
	up([]*x509.Certificate{leaf})
}

// issuers returns the certificates whose subject is the issuer of c.
func (b *bundle) issuers(c *x509.Certificate, more []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, i := range b.bySubject[string(c.RawIssuer)] {
		found = append(found, b.certs[i])
	}
	for _, m := range more {
		if string(m.RawSubject) == string(c.RawIssuer) {
			found = append(found, m)
		}
	}
	return found
}

// judge notes what is wrong with the authorities on a path to a root.
func (p *path) judge(at time.Time) {
	add := func(finding, text, rule string, sure probes.Certainty) {
		p.problems = append(p.problems, Problem{Finding: finding, Text: text, Rule: rule, sure: sure})
	}
	for _, c := range p.certs[1:] {
		who := scrub(c.Subject.String())
		if !mayIssue(c) || c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			add(bundleInvalid.ID, who+" issued a certificate, but is not an authority that may (basicConstraints, keyUsage)", "", probes.Certain)
		}
		if text := outdated(c, at); text != "" {
			add(bundleInvalid.ID, who+": "+text, "", probes.Likely)
		}
		if text := weakness(c); text != "" {
			add(bundleWeak.ID, who+": "+text, algorithmsRule, probes.Certain)
		}
	}
	if n := len(p.certs) - 1; n > maxPath {
		add(chainTooLong.ID, fmt.Sprintf("%d authorities lead from the client certificate to the root, more than 4", n),
			"a chain has at most four certificates (API Gateway Developer Guide, rest-api-mutual-tls; the client's own is not counted: "+
				"root and three intermediates were seen to pass, one more to be refused); openssl verify allows 100", probes.Likely)
	}
	if len(p.problems) == 0 {
		if text := p.constraint(); text != "" {
			add(clientUntrusted.ID, text, "", probes.Certain)
		}
	}
}

// constraint says which limit that an authority set on those below it the path
// breaks: a path length, a name constraint. Time and algorithms are judged
// elsewhere.
func (p *path) constraint() string {
	chain, text := withoutNameLimits(p.certs)
	if text != "" {
		return text
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1 : len(chain)-1] {
		between.AddCert(c)
	}
	for _, at := range p.times() {
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		invalid, broken := errors.AsType[x509.CertificateInvalidError](err)
		_, unknown := errors.AsType[x509.UnhandledCriticalExtension](err)
		switch {
		case broken && invalid.Reason == x509.Expired:
			continue
		case unknown:
			return "a certificate of the chain has a critical extension that is not understood"
		case broken:
			return scrub("a limit that an authority sets on those below it is broken: " + err.Error())
		}
		return ""
	}
	return ""
}

// times are those at which all of the path may be valid.
func (p *path) times() []time.Time {
	var all []time.Time
	for _, c := range p.certs {
		all = append(all, c.NotBefore, c.NotAfter)
	}
	return all
}
