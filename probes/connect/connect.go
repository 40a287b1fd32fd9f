// Package connect opens a TCP connection to every address of the target.
package connect

import (
	"context"
	"net"

	"vpcprobe/probes"
)

const name = "connect"

// Kind connects to every address.
var Kind = probes.Kind{
	Name:  name,
	Doc:   "opens a TCP connection to every address of the endpoint (replaces telnet)",
	Per:   probes.PerLane,
	Rules: Rules,
	New: func(sys probes.System) probes.Constructor {
		return func(t *probes.Target) (probes.Probe, error) { return nil, nil }
	},
}

// Rules are the root causes that connecting shows.
var Rules = []*probes.Rule{}

// Detail is what the kernel says of a connection.
type Detail struct{}

// Of returns the detail of a connection, or nil if o is none.
func Of(o probes.Observation) *Detail { d, _ := o.Detail.(*Detail); return d }

// OK reports whether the latest connection on the lane went well.
func OK(seen probes.Evidence, lane probes.Lane) bool {
	o, ok := seen.On(name, lane)
	return ok && o.Outcome == probes.OK
}

// Dial connects to the lane's address; ctx bounds it.
func Dial(ctx context.Context, network probes.Network, lane probes.Lane) (net.Conn, probes.Observation) {
	conn, err := network.DialContext(ctx, "tcp", lane.Addr.String())
	return conn, probes.Observation{Addr: lane.Addr, Via: lane.Via, Name: lane.ServerName, Outcome: probes.Classify(err), Err: err}
}
