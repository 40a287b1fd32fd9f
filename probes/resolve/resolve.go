// Package resolve asks every resolver for every name of the target and
// compares the answers with the addresses of the VPC endpoint.
package resolve

import (
	"net/netip"

	"vpcprobe/probes"
)

const name = "resolve"

// Kind resolves the target's names.
var Kind = probes.Kind{
	Name:  name,
	Doc:   "asks every resolver for every name of the target and compares the answers with the endpoint's addresses (replaces nslookup)",
	Per:   probes.PerTarget,
	Rules: Rules,
	Lanes: Lanes,
	New: func(sys probes.System) probes.Constructor {
		return func(t *probes.Target) (probes.Probe, error) { return nil, nil }
	},
}

// Rules are the root causes that lookups alone show.
var Rules = []*probes.Rule{}

// Detail is what a lookup learned.
type Detail struct{}

// Of returns the detail of a lookup, or nil if o is none.
func Of(o probes.Observation) *Detail { d, _ := o.Detail.(*Detail); return d }

// Lanes returns the lanes that the latest lookups open.
func Lanes(seen probes.Evidence) []probes.Lane { return nil }

// Expected returns the endpoint's addresses; nil if unknown.
func Expected(seen probes.Evidence) []netip.Addr { return nil }

// Inside reports whether addr belongs to the endpoint.
func Inside(seen probes.Evidence, addr netip.Addr) bool { return false }

// Answers returns the addresses that any resolver answered for a name.
func Answers(seen probes.Evidence, name string) []netip.Addr { return nil }
