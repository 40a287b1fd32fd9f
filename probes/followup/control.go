package followup

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/invoke"
	"vpcprobe/probes/resolve"
)

// A control is a page of somebody else. It is asked for as a target of its own
// that has neither signature nor key, header, body or client certificate, so
// that none of the target's can go there.
type control struct {
	client *invoke.Client
	lookup probes.Probe
}

// newControl returns the target's control, or nil if it has none.
func newControl(sys probes.System, clients func(*probes.Target) (*invoke.Client, error), t *probes.Target) (*control, error) {
	if !t.Control.Given() {
		return nil, nil
	}
	stranger, err := strangerOf(t)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	c := &control{}
	if c.client, err = clients(stranger); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if c.lookup, err = resolve.Kind.New(sys)(stranger); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return c, nil
}

// strangerOf is the control as a target: of the target itself it has what the
// way out is made of, its resolvers, address family, trust and time.
func strangerOf(t *probes.Target) (*probes.Target, error) {
	u, err := url.Parse(t.Control.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("%q is not the https URL of a page", u.Redacted())
	}
	port := uint64(443)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return nil, err
		}
	}
	return &probes.Target{
		Name:   t.Name,
		Kind:   probes.CustomDomain,
		Domain: strings.ToLower(u.Hostname()),
		Path:   u.RequestURI(),
		Settings: &probes.Settings{
			Via:         []probes.Via{probes.ViaDomain},
			Port:        uint16(port),
			Method:      http.MethodGet,
			Expect:      probes.Expect{Status: t.Control.Status, Body: t.Control.Body},
			Resolvers:   t.Resolvers,
			IPFamily:    t.IPFamily,
			Trust:       t.Trust,
			KeyExchange: t.KeyExchange,
			Timeout:     t.Timeout,
		},
	}, nil
}

// askControl asks for the control (P14).
func (q *inquiry) askControl() {
	const id, asked = "P14", "a page of somebody else (control)"
	if q.control == nil || q.spent() {
		return
	}
	lane, o, ok := q.control.lane(q.ctx, q.lane)
	if !ok {
		q.learn(id, asked, o, read(o))
		return
	}
	o = q.call(q.control.client, lane, invoke.Request{Handshake: handshake.Variant{Certificate: handshake.None}})
	o.Via = "" // no name form of the target
	q.learn(id, asked, o, readControl(o, q.about))
}

// lane is where the control is: if it can be, at an address of the family that
// the target's own lane has. Without any, it returns the lookup.
func (c *control) lane(ctx context.Context, own probes.Lane) (probes.Lane, probes.Observation, bool) {
	target := c.client.Target()
	seen := probes.Evidence{Target: target}
	answers := c.lookup.Probe(ctx, seen, nil)
	lanes := resolve.Lanes(seen.With("resolve", answers))
	if len(lanes) == 0 {
		o := probes.Observation{Name: target.Domain, Outcome: probes.Fault}
		if len(answers) > 0 {
			o = answers[0]
		}
		o.Via, o.Values, o.Detail = "", nil, nil
		return probes.Lane{}, o, false
	}
	alike := func(l probes.Lane) bool { return l.Addr.Addr().Is4() == own.Addr.Addr().Is4() }
	return lanes[max(0, slices.IndexFunc(lanes, alike))], probes.Observation{}, true
}

// readControl reads what came for the control, beside what came for the target.
// An error of the control's own says nothing: it must be the target's, or bear
// the marks of a forward proxy.
func readControl(o probes.Observation, about *invoke.Answer) Reading {
	a := invoke.Of(o)
	switch {
	case o.Outcome == probes.OK:
		return Passed
	case a == nil || a.Status == 0:
		return read(o)
	case a.Who == invoke.Proxy:
		return Proxied
	case sameAnswer(a, about):
		return Alike
	}
	return Other
}

// telling is the least text, in bytes, that is compared: a word such as
// Forbidden is everybody's. That a page which is known to answer fails in this
// moment with the same longer text, but for the names in it, is no coincidence
// to be expected.
const telling = 40

// sameAnswer reports whether two answers are one, but for the name and the path
// that were asked for.
func sameAnswer(a, b *invoke.Answer) bool {
	if a.Status != b.Status || a.Who != b.Who || a.Server != b.Server {
		return false
	}
	shorter, cut := textOf(a)
	longer, cutToo := textOf(b)
	if len(shorter) > len(longer) {
		shorter, longer, cut = longer, shorter, cutToo
	}
	return len(shorter) >= telling && (longer == shorter || cut && strings.HasPrefix(longer, shorter))
}

// textOf is what an answer says, without what it repeats of the request; cut
// tells that it says more than was kept. What is repeated may have been cut in
// the middle, so that much is left out at the end.
func textOf(a *invoke.Answer) (text string, cut bool) {
	text = a.Message
	if text == "" {
		text = a.Body
	}
	if text, cut = strings.CutSuffix(text, "…"); cut {
		text = text[:max(0, len(text)-len(a.Host)-len(a.Path))]
	}
	if a.Path != "/" && a.Path != "" {
		text = strings.ReplaceAll(text, a.Path, "/")
	}
	return strings.ReplaceAll(text, a.Host, ""), cut
}
