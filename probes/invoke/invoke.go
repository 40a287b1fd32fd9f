// Package invoke sends the request that the API's callers send and reads the
// answer. It replaces curl.
//
// It sends nothing to a server that was not verified, it keeps no connection
// beyond its round, and it never guesses: an answer that several causes share
// is reported with all of them. Package followup asks further.
package invoke

import (
	"context"
	"runtime/debug"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
)

const name = "invoke"

// Kind invokes the API.
var Kind = probes.Kind{
	Name:    name,
	Doc:     "sends the signed request and reads the answer (replaces curl)",
	Per:     probes.PerLane,
	Metrics: []*probes.Metric{statusCode, responses, clockSkew, credentialsExpiry},
	Rules:   Rules,
	New:     New(Version()),
}

// New returns the kind's constructor for an agent of that version, which the
// User-Agent header tells.
func New(version string) func(probes.System) probes.Constructor {
	return func(sys probes.System) probes.Constructor {
		client := Clients(sys, "vpcprobe/"+version, false)
		return func(t *probes.Target) (probes.Probe, error) {
			c, err := client(t)
			if err != nil {
				return nil, err
			}
			return &probe{c}, nil
		}
	}
}

// Version is the agent's version as the build recorded it.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

type probe struct{ *Client }

// Probe implements [probes.Probe].
func (p *probe) Probe(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
	if !handshake.OK(seen, line.Lane) {
		return probes.Skip(line.ServerName)
	}
	asked := handshake.Asked(seen, line.Lane)
	if line.Conn == nil {
		conn, o := p.Open(ctx, line.Lane, handshake.Variant{})
		if conn == nil {
			return []probes.Observation{o.Observation}
		}
		line.Conn = conn
		asked = o.asked()
	}
	return []probes.Observation{p.Do(ctx, line.Conn, line.Lane, asked, Request{})}
}
