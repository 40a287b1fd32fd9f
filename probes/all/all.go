// Package all lists the kinds of probe, lowest layer first. Each sees what
// those before it saw. To add a kind is to add a folder and a line here.
package all

import (
	"vpcprobe/probes"
	"vpcprobe/probes/connect"
	"vpcprobe/probes/followup"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/invoke"
	"vpcprobe/probes/resolve"
	"vpcprobe/probes/trace"
)

// Kinds are all the kinds there are.
var Kinds = []probes.Kind{
	resolve.Kind,
	connect.Kind,
	trace.Kind,
	identify.Kind,
	handshake.Kind,
	invoke.Kind,
	followup.Kind,
}
