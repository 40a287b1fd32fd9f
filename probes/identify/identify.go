// Package identify judges the files that a client proves its identity with:
// certificate, private key and, where a copy is at hand, the truststore bundle
// of the custom domain. It replaces what people do by hand with openssl
// verify, x509 -text, rsa -modulus and diff, and it says what API Gateway
// would log.
//
// It reads files only: it never opens a connection. It judges by the
// documented rules of API Gateway, which are stricter than those of openssl
// verify; where the two differ, the report names the rule.
package identify

import (
	"context"
	"errors"
	"slices"
	"time"

	"vpcprobe/probes"
)

const name = "identify"

// Kind judges the client certificate.
var Kind = probes.Kind{
	Name:    name,
	Doc:     "judges client certificate, key and truststore on disk (replaces openssl verify, x509, rsa -modulus and diff)",
	Per:     probes.PerTarget,
	Metrics: []*probes.Metric{NotAfter, keyMatch, accepted},
	Rules:   Rules,
	New:     newKind,
}

// NotAfter is when the first certificate of a chain or bundle expires. Its
// observations fill in via and address, where they have any.
var NotAfter = &probes.Metric{
	Name: "cert_not_after_timestamp_seconds",
	Help: "When the first certificate to expire does so, in Unix time: of the server's verified chain (role server), " +
		"the client certificate (client) or the truststore (truststore).",
	Labels: []string{"role", "via", "address"},
}

var (
	keyMatch = &probes.Metric{
		Name: "client_cert_key_match",
		Help: "Whether the private key belongs to the client certificate (1) or not (0).",
	}
	accepted = &probes.Metric{
		Name: "client_cert_accepted",
		Help: "Whether API Gateway would accept the client certificate, judged by the copy of its truststore (1) or not (0).",
	}
)

// Of returns the report that an observation of this kind carries, or nil.
func Of(o probes.Observation) *Report {
	r, _ := o.Detail.(*Report)
	return r
}

// Refused reports whether the files already explain why a server would refuse
// the client. That the certificate has expired does not: nobody has shown what
// API Gateway does then.
func Refused(seen probes.Evidence) bool {
	return slices.ContainsFunc(seen.Ended(name, probes.Invalid), func(o probes.Observation) bool {
		r := Of(o)
		return r != nil && slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Refuses && p.Finding != clientExpired.ID })
	})
}

// Passed returns what shows that the server took the client certificate:
// requests that ended in something that nobody says to a certificate, and
// answers that only those get whose certificate was taken, by their own
// account. API Gateway refuses a certificate with 403; others cut the
// connection, say 400 or redirect to a page about it.
func Passed(seen probes.Evidence) []probes.Observation {
	behind := func(o probes.Observation) bool {
		a, ok := o.Detail.(interface{ PastCertificate() bool })
		return ok && a.PastCertificate()
	}
	return slices.Concat(
		seen.Ended("invoke", probes.OK, probes.NotFound, probes.Throttled, probes.ServerError),
		probes.Filter(seen.Of("invoke"), behind),
		probes.Filter(seen.Of("followup"), behind),
	)
}

func newKind(probes.System) probes.Constructor {
	files := &reader{}
	return func(t *probes.Target) (probes.Probe, error) {
		c := t.ClientCertificate
		if c.Certificate == "" {
			return nil, nil
		}
		return &probe{files: files, of: Files{Certificate: c.Certificate, Key: c.Key, Truststore: c.Truststore}}, nil
	}
}

type probe struct {
	files *reader
	of    Files
	last  *judged
}

// judged is the latest report with what it was made from.
type judged struct {
	material
	report *Report
	at     time.Time
}

// fresh is how long a report on unchanged files is good: only time makes it
// worse, and nothing expires by the second.
const fresh = time.Minute

// Refutable are the findings that say that the truststore does not vouch for
// the client certificate: a server that asks for it and accepts it all the same
// goes by another truststore than the one at hand.
func Refutable() []*probes.Rule {
	return []*probes.Rule{clientWeak, clientSelfSigned, clientAltered, clientUntrusted, chainIncomplete, chainTooLong, bundleWeak}
}

// Probe implements [probes.Probe].
func (p *probe) Probe(context.Context, probes.Evidence, *probes.Line) []probes.Observation {
	o := probes.Observation{Kind: name, Start: time.Now()}
	m, err := p.files.read(p.of)
	if probes.Exhausted(err) {
		o.Outcome, o.Err = probes.Fault, errors.New(scrub(err.Error()))
		return []probes.Observation{o}
	}
	if err != nil {
		o.Outcome, o.Err, o.Detail = probes.Unreadable, errors.New(scrub(err.Error())), unreadable(err)
		return []probes.Observation{o}
	}
	if l := p.last; l == nil || !l.same(m) || o.Start.Before(l.at) || o.Start.Sub(l.at) > fresh {
		p.last = &judged{m, m.judge(o.Start).brief(), o.Start}
	}
	r := p.last.report
	o.Outcome, o.Detail, o.Values = probes.OK, r, m.values(r)
	if !r.Accepted {
		o.Outcome, o.Err = probes.Invalid, errors.New(r.Problems[0].Text)
	}
	return []probes.Observation{o}
}

// same reports whether the files held the same, which the caches tell by
// returning the very same values.
func (j *judged) same(m material) bool {
	return &j.client[0] == &m.client[0] && j.key == m.key && j.bundle == m.bundle
}

func (m material) values(r *Report) []probes.Value {
	vs := []probes.Value{NotAfter.Is(float64(m.client[r.Leaf].NotAfter.Unix()), "client")}
	if r.KeyMatches != nil {
		vs = append(vs, keyMatch.If(*r.KeyMatches))
	}
	if m.bundle == nil {
		return vs
	}
	vs = append(vs, accepted.If(r.Accepted))
	if first, ok := m.bundle.notAfter(); ok {
		vs = append(vs, NotAfter.Is(float64(first.Unix()), "truststore"))
	}
	return vs
}

// notAfter is when the first certificate of the bundle expires.
func (b *bundle) notAfter() (first time.Time, ok bool) {
	for _, c := range b.certs {
		if !ok || c.NotAfter.Before(first) {
			first, ok = c.NotAfter, true
		}
	}
	return first, ok
}

// maxListed bounds how many certificates of a bundle an observation carries;
// those with a problem go first.
const maxListed = 20

// brief returns the report cut to what is kept in evidence.
func (r *Report) brief() *Report {
	if len(r.Truststore) <= maxListed {
		return r
	}
	var bad, good []Judged
	for _, c := range r.Truststore {
		if c.Problem != "" {
			bad = append(bad, c)
		} else {
			good = append(good, c)
		}
	}
	short := *r
	short.Truststore = append(bad, good...)[:maxListed:maxListed]
	return &short
}

// unreadable is the report on files that cannot be read.
func unreadable(err error) *Report {
	p := Problem{Finding: clientUnreadable.ID, Refuses: true, Text: scrub(err.Error()), sure: probes.Certain}
	if f, ok := errors.AsType[*FileError](err); ok && f.Role == roleTruststore {
		p.Finding, p.Refuses = bundleUnreadable.ID, false
	}
	return &Report{Problems: []Problem{p}}
}
