package followup

import (
	"slices"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

// A Detail says what was asked and how the answer reads.
type Detail struct {
	Probe   string         `json:"probe"`   // P0 to P14
	Asked   string         `json:"asked"`   // how the request departs from the target's own
	Reading Reading        `json:"reading"` // what the answer shows
	About   invoke.Family  `json:"about"`   // the answer that is being explained
	Answer  *invoke.Answer `json:"answer,omitempty"`
}

// Of returns the detail of a follow-up, or nil if o is none.
func Of(o probes.Observation) *Detail {
	d, _ := o.Detail.(*Detail)
	return d
}

// InvokeAnswer returns the answer, for [invoke.Of].
func (d *Detail) InvokeAnswer() *invoke.Answer { return d.Answer }

// PastCertificate is that of the answer, unless another certificate was shown,
// or the answer is somebody else's.
func (d *Detail) PastCertificate() bool {
	return d.Answer != nil && !slices.Contains([]string{"P10-none", "P10-control", "P14"}, d.Probe) && d.Answer.PastCertificate()
}

// String is the follow-up in a line.
func (d *Detail) String() string { return d.Probe + ", " + d.Asked + ": " + string(d.Reading) }

// A Reading is what the answer to a follow-up shows: how far the request came.
type Reading string

// The readings. The order of API Gateway's checks is assumed from its
// documents: name and stage, client certificate, endpoint policy, firewall,
// resource policy and authorizer, method, API key, integration.
const (
	Passed    Reading = "passed"            // a status below 400
	Backend   Reading = "backend"           // what is behind the API answered
	Beyond    Reading = "past the method"   // throttled, refused by an authorizer or validator, a failing integration
	NoMethod  Reading = "no such method"    // Missing Authentication Token: as far as the search for the method
	Malformed Reading = "malformed"         // an Authorization header that is no signature
	Denied    Reading = "denied"            // by a policy: the API, and the stage, were found
	Forbidden Reading = "forbidden"         // without a reason
	Cut       Reading = "cut"               // the connection was ended without an answer
	Silent    Reading = "no answer in time" // nothing came
	NoName    Reading = "no such name"      // the name does not resolve
	Other     Reading = "other"             // something else, such as a proxy's answer
	Alike     Reading = "the same answer"   // of the control: what the target's own request got, word for word
	Proxied   Reading = "a proxy's answer"  // of the control: not the known one, and marked as a forward proxy's
)

// found are the readings of requests for which API Gateway found the API and
// its stage.
var found = []Reading{Passed, Backend, Beyond, NoMethod, Malformed, Denied}

// read reads one answer.
func read(o probes.Observation) Reading {
	a := invoke.Of(o)
	switch {
	case o.Outcome == probes.NoSuchName:
		return NoName
	case o.Outcome == probes.Timeout:
		return Silent
	case o.Outcome == probes.Reset || o.Outcome == probes.Closed || o.Outcome == probes.Rejected:
		return Cut
	case a == nil || a.Status == 0:
		return Other
	case a.Family == invoke.Forbidden:
		return Forbidden
	case a.Family == invoke.Stranger:
		return Other
	case a.WAFAction != "": // a challenge, whatever its status: nothing was let through
		return Other
	case a.Status < 400 && a.ErrorType == "": // a gateway response may have its status customized
		return Passed
	}
	return readDenial(a)
}

func readDenial(a *invoke.Answer) Reading {
	switch {
	case a.Family == invoke.MissingToken:
		return NoMethod
	case a.Family == invoke.Malformed:
		return Malformed
	case a.Family != "" || strings.HasPrefix(a.Denial, "A"):
		return Denied
	case a.Who == invoke.Backend:
		return Backend
	case a.Denial == "F1" || a.Who == invoke.RESTAPI || a.Who == invoke.HTTPAPI:
		return Beyond
	}
	return Other
}
