// Package identify judges the files that a client proves its identity with:
// certificate, private key and, where a copy is at hand, the truststore bundle
// of the custom domain. It replaces what people do by hand with openssl
// verify, x509 -text, rsa -modulus and diff, and it says what API Gateway
// would log.
//
// It reads files only: it never opens a connection.
package identify

import (
	"context"
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
	New:     func(probes.System) probes.Constructor { return newProbe },
}

// Rules are the root causes found in the files.
var Rules = []*probes.Rule{}

// NotAfter is when the first certificate of a chain or bundle expires.
var NotAfter = &probes.Metric{
	Name:   "cert_not_after_timestamp_seconds",
	Help:   "When the first certificate to expire does so, in Unix time: of the server's chain, the client's chain, or the truststore.",
	Labels: []string{"role", "via", "address"},
}

var keyMatch = &probes.Metric{
	Name: "client_cert_key_match",
	Help: "Whether the private key belongs to the client certificate (1) or not (0).",
}

var accepted = &probes.Metric{
	Name: "client_cert_accepted",
	Help: "Whether API Gateway would accept the client certificate, judged by the copy of the truststore (1) or not (0).",
}

// Files names what to judge. Certificate is required.
type Files struct {
	Certificate string // PEM: the client certificate, and what else the client sends
	Key         string // PEM: its private key
	Truststore  string // PEM: the domain's truststore bundle
	Chain       string // PEM: intermediates that the client would send
}

// A Report says what was found in the files.
type Report struct {
	Accepted bool `json:"accepted"`
}

// Judge reads the files and judges them as API Gateway would at that time. Its
// error says which file cannot be read.
func Judge(f Files, at time.Time) (*Report, error) { return &Report{Accepted: true}, nil }

// Of returns the report that an observation of this kind carries, or nil.
func Of(o probes.Observation) *Report {
	r, _ := o.Detail.(*Report)
	return r
}

func newProbe(t *probes.Target) (probes.Probe, error) { return nil, nil }

type probe struct{}

func (*probe) Probe(context.Context, probes.Evidence, *probes.Line) []probes.Observation { return nil }

// Refused reports whether the files already explain why a server would refuse
// the client.
func Refused(seen probes.Evidence) bool { return len(seen.Ended(name, probes.Invalid)) > 0 }
