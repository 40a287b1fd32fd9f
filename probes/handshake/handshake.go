// Package handshake completes a TLS handshake on every lane and reads what
// the server shows, what it asks for and what it thinks of the client
// certificate. It replaces openssl s_client.
//
// It judges the server's certificate by itself, with the library's own
// verification switched off, so that everything seen is known even if the
// verdict is bad. It never hands on a connection to a server that it did not
// verify, never shows such a server the client certificate, and never resumes
// a session: every handshake is a full one, as a new caller's would be.
package handshake

import (
	"context"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/identify"
)

const name = "handshake"

// Kind shakes hands.
var Kind = probes.Kind{
	Name:    name,
	Doc:     "completes TLS with the client certificate and reads the server's verdict on it (replaces openssl s_client)",
	Per:     probes.PerLane,
	Metrics: []*probes.Metric{identify.NotAfter, certRequested, tlsInfo},
	Rules:   Rules,
	Refine:  Refine,
	New:     newKind,
}

var (
	certRequested = &probes.Metric{
		Name:   "tls_client_cert_requested",
		Help:   "Whether the server asked for a client certificate in the latest handshake (1) or not (0).",
		Labels: []string{"via", "address"},
	}
	tlsInfo = &probes.Metric{
		Name:   "tls_info",
		Help:   "What the latest handshake agreed on; the value is always 1.",
		Labels: []string{"via", "address", "version", "cipher", "group", "alpn"},
	}
)

func newKind(sys probes.System) probes.Constructor {
	client := Clients(sys)
	return func(t *probes.Target) (probes.Probe, error) {
		c, err := client(t)
		if err != nil {
			return nil, err
		}
		return probe{c}, nil
	}
}

type probe struct{ client *Client }

// Probe implements [probes.Probe].
func (p probe) Probe(ctx context.Context, seen probes.Evidence, line *probes.Line) []probes.Observation {
	var dial []probes.Phase
	if line.Conn == nil {
		if !connect.OK(seen, line.Lane) {
			return probes.Skip(line.ServerName)
		}
		conn, o := connect.Dial(ctx, p.client.sys.Network, line.Lane)
		if conn == nil {
			o.Kind, o.Via, o.Name, o.Addr, o.Detail, o.Values = name, line.Via, line.ServerName, line.Addr, nil, nil
			return []probes.Observation{o}
		}
		line.Conn, dial = conn, o.Phases
	}
	conn, o := p.client.Shake(ctx, line.Conn, line.Lane, Variant{})
	line.Conn = conn
	if conn != nil && !line.More {
		o = Verdict(ctx, conn, o)
		if o.Outcome != probes.OK {
			line.Close()
		}
	}
	if d := Of(o); isCut(o) && d.BytesRead == 0 {
		heard := *d
		heard.Unprompted = p.unprompted(ctx, line.Lane)
		o.Detail = &heard
	}
	for i := len(dial) - 1; i >= 0; i-- {
		o.Start = o.Start.Add(-dial[i].Took)
	}
	o.Phases = append(dial, o.Phases...)
	return []probes.Observation{o}
}

// unprompted reports whether the peer cuts a connection on which nothing is
// said: then it is not what we say that it dislikes.
func (p probe) unprompted(ctx context.Context, lane probes.Lane) bool {
	conn, o := connect.Dial(ctx, p.client.sys.Network, lane)
	if conn == nil {
		return o.Outcome == probes.Reset
	}
	line := probes.Line{Conn: conn}
	defer line.Close()
	outcome := probes.Classify(connect.Listen(ctx, conn, patience(o)))
	return outcome == probes.Reset || outcome == probes.Closed
}

// OK reports whether the latest handshake on the lane ended well.
func OK(seen probes.Evidence, lane probes.Lane) bool {
	o, ok := seen.On(name, lane)
	return ok && o.Outcome == probes.OK
}

// On returns what the latest handshake on the lane showed, or nil.
func On(seen probes.Evidence, lane probes.Lane) *Detail {
	o, _ := seen.On(name, lane)
	return Of(o)
}

// Asked reports whether the server asked for a client certificate in the
// latest handshake on the lane.
func Asked(seen probes.Evidence, lane probes.Lane) bool {
	d := On(seen, lane)
	return d != nil && d.Asked
}

// Sent reports whether the client certificate was sent in the latest handshake
// on the lane.
func Sent(seen probes.Evidence, lane probes.Lane) bool {
	d := On(seen, lane)
	return d != nil && d.Sent
}

// values are the metrics of one handshake.
func values(d *Detail) []probes.Value {
	if d.Version == "" {
		return nil
	}
	vs := []probes.Value{tlsInfo.Is(1, d.Version, d.Cipher, d.Group, d.ALPN)}
	if len(d.Chain) > 0 {
		vs = append(vs, certRequested.If(d.Asked), identify.NotAfter.Is(float64(d.NotAfter.Unix()), "server"))
	}
	return vs
}

// since is the phase of an operation that began at start.
func since(start time.Time) []probes.Phase {
	return []probes.Phase{{Name: probes.PhaseTLS, Took: time.Since(start)}}
}
