package probes

import (
	"net/netip"
	"time"
)

// An Observation records one network operation: one lookup, one connection,
// one handshake, one request. It is immutable once returned by a probe.
//
// The agent fills in Kind for all observations, and Via, Name and Addr for
// those of a lane that left them empty.
type Observation struct {
	Kind     string         // the kind that made it
	Via      Via            // the name form walked, if any
	Name     string         // the name acted upon, if any
	Addr     netip.AddrPort // the address acted upon, if any
	Resolver string         // for lookups: the resolver as configured ("system" or address:port)
	Start    time.Time      // when the operation began
	Phases   []Phase        // where the time went, in order
	Outcome  Outcome        // how it ended
	Err      error          // why, unless it ended well; scrubbed of secrets
	Values   []Value        // what was counted or read along the way

	// Detail is what the kind's own rules need: a pointer to a struct of the
	// kind's package, read through that package's typed accessors only. Its
	// JSON form is the observation's "detail", so its fields have json tags;
	// its String method, if any, is the line that people are shown. Foreign
	// text in it is scrubbed (see [Scrub]).
	Detail any
}

// The names of phases, in the order of a walk.
const (
	PhaseResolve     = "resolve"     // question sent until the answer arrived
	PhaseConnect     = "connect"     // SYN sent until SYN/ACK arrived
	PhaseCredentials = "credentials" // fetching AWS credentials
	PhaseTLS         = "tls"         // the TLS handshake
	PhaseProcessing  = "processing"  // request written until the first byte of the answer
	PhaseTransfer    = "transfer"    // the rest of the answer
)

// A Phase is a named stretch of an operation.
type Phase struct {
	Name string
	Took time.Duration
}

// Took is how long the operation lasted: the sum of its phases.
func (o Observation) Took() time.Duration {
	var d time.Duration
	for _, p := range o.Phases {
		d += p.Took
	}
	return d
}

// On reports whether the observation was made on the lane.
func (o Observation) On(lane Lane) bool { return o.Via == lane.Via && o.Addr == lane.Addr }

// Agrees reports whether two observations of the same thing ended alike.
func (o Observation) Agrees(p Observation) bool {
	return o.Kind == p.Kind && o.Via == p.Via && o.Name == p.Name && o.Addr == p.Addr &&
		o.Resolver == p.Resolver && o.Outcome == p.Outcome
}

// Skip returns an observation of something that could not be tried, because a
// lower layer gave nothing to work on.
func Skip(name string) []Observation {
	return []Observation{{Name: name, Start: time.Now(), Outcome: Skipped}}
}
