package followup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"path"
	"slices"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/handshake"
	"vpcprobe/probes/invoke"
	"vpcprobe/probes/resolve"
)

// An inquiry is the follow-up of one failure.
type inquiry struct {
	*probe
	ctx     context.Context
	target  *probes.Target
	seen    probes.Evidence
	subject probes.Observation // the answer to explain
	about   *invoke.Answer
	lane    probes.Lane // on which it came

	obs      []probes.Observation
	sent     int
	silences int
}

// ask asks what the family of the answer calls for, and reports whether it got
// answers to go by.
func (p *probe) ask(ctx context.Context, seen probes.Evidence, subject probes.Observation) (learned []probes.Observation, settled bool) {
	q := &inquiry{probe: p, ctx: ctx, target: p.client.Target(), seen: seen, subject: subject, about: invoke.Of(subject)}
	q.lane = probes.Lane{Via: subject.Via, ServerName: subject.Name, Addr: subject.Addr}
	if lane, ok := seen.Lane(subject); ok {
		q.lane = lane
	}
	if q.safe() && !q.about.KeySent && q.own("P0", "the same request again", invoke.Request{}) != read(subject) {
		return q.obs, false // it comes and goes: what else is asked would mislead
	}
	q.further()
	unanswered := func(o probes.Observation) bool { return o.Outcome == probes.Timeout || o.Outcome == probes.Fault }
	return q.obs, !slices.ContainsFunc(q.obs, unanswered)
}

// further asks what the family of the answer calls for.
func (q *inquiry) further() {
	switch q.about.Family {
	case invoke.Forbidden:
		q.forbidden()
	case invoke.MissingToken:
		q.missingToken()
	case invoke.Malformed:
		q.unsigned()
	case invoke.Anonymous:
		q.anonymous()
	case invoke.Named:
		q.unsigned()
	case invoke.Stranger:
		q.askControl()
	}
}

// safe reports whether the target's own method may be repeated without its
// body and without changing anything.
func (q *inquiry) safe() bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, q.target.Method)
}

// one sends one request and reads the answer. Without budget left, it reads
// nothing.
func (q *inquiry) one(id, asked string, lane probes.Lane, r invoke.Request) Reading {
	if q.spent() {
		return ""
	}
	o := q.call(q.client, lane, r)
	return q.learn(id, asked, o, read(o))
}

// spent reports whether nothing more may be asked.
func (q *inquiry) spent() bool {
	return q.sent >= maxRequests || q.silences >= maxSilences || q.ctx.Err() != nil
}

// call sends one request and counts it.
func (q *inquiry) call(client *invoke.Client, lane probes.Lane, r invoke.Request) probes.Observation {
	pause(q.ctx)
	q.sent++
	o := client.Call(q.ctx, lane, r)
	o.Name = lane.ServerName
	o.Values = []probes.Value{requests.Is(1)}
	return o
}

// learn keeps what was answered, and how it reads.
func (q *inquiry) learn(id, asked string, o probes.Observation, reading Reading) Reading {
	if o.Outcome == probes.Aborted {
		return ""
	}
	if reading == Silent {
		q.silences++
	}
	o.Detail = &Detail{Probe: id, Asked: asked, Reading: reading, About: q.about.Family, Answer: invoke.Of(o)}
	q.obs = append(q.obs, o)
	return reading
}

// own sends a variant of the target's own request on the subject's lane:
// without its body, and without its API key, which is nobody's to spend.
func (q *inquiry) own(id, asked string, r invoke.Request) Reading {
	r.NoBody = true
	r.NoAPIKey = r.APIKey == ""
	return q.one(id, asked, q.lane, r)
}

// absent is a request for a path that does not exist: it comes as far as the
// search for the method, and needs nobody's permission or key for that.
func (q *inquiry) absent() invoke.Request {
	return invoke.Request{Method: http.MethodGet, Path: q.absentPath(), Bare: true, NoAPIKey: true, Unsigned: true}
}

// forbidden asks about a 403 without a reason.
func (q *inquiry) forbidden() {
	reading := q.nowhere()
	q.others()
	if slices.Contains(found, reading) {
		q.key()
		return
	}
	q.plain()
	switch {
	case q.lane.Via == probes.ViaDomain:
		q.certificate()
	case reading == Forbidden: // else other names say nothing: nobody knows how far this one leads
		q.names()
	}
}

// nowhere asks for a path that does not exist, in the same stage: what API
// Gateway says of it tells how far requests come at all.
func (q *inquiry) nowhere() Reading {
	reading := q.own("P1", "a path that does not exist, unsigned", q.absent())
	if reading == Denied && q.target.Sign {
		signed := q.absent()
		signed.Unsigned = false
		q.own("P1-signed", "a path that does not exist, signed", signed)
	}
	if reading != Forbidden || q.lane.Via == probes.ViaDomain || q.stage() == "" {
		return reading
	}
	nonsense := q.absent()
	nonsense.Path = "/" + marked() + "/"
	q.own("P2", "a stage that does not exist", nonsense)
	return q.own("P1-root", "the root of the stage, unsigned", q.root())
}

// root asks for the root of the stage. A greedy resource that requires an API
// key answers Forbidden wherever else one looks, but it does not cover the root.
func (q *inquiry) root() invoke.Request {
	r := q.absent()
	r.Path = "/" + q.stage() + "/"
	return r
}

// others asks for the same paths by the other name forms that got the same
// answer: whether it has the same causes there nobody knows before.
func (q *inquiry) others() {
	asked := []probes.Via{q.lane.Via}
	for _, o := range invoke.Blamed(q.seen) {
		lane, ok := q.seen.Lane(o)
		if a := invoke.Of(o); !ok || a == nil || a.Family != q.about.Family || slices.Contains(asked, o.Via) {
			continue
		}
		asked = append(asked, o.Via)
		if q.one("P1", "a path that does not exist, unsigned", lane, q.absent()) != Forbidden {
			continue
		}
		if q.tried("P1-root") {
			q.one("P1-root", "the root of the stage, unsigned", lane, q.root())
		}
		if o.Via == probes.ViaEndpoint {
			q.byHost(lane)
		}
	}
}

// tried reports whether something was asked.
func (q *inquiry) tried(id string) bool {
	return slices.ContainsFunc(q.obs, func(o probes.Observation) bool { return Of(o).Probe == id })
}

// absentPath is where the same stage and, below the target's own path, the same
// base path mapping lead.
func (q *inquiry) absentPath() string {
	if stage := q.stage(); q.lane.Via != probes.ViaDomain && stage != "" {
		return "/" + stage + "/" + marked()
	}
	own, _, _ := strings.Cut(q.client.Path(), "?")
	return path.Join(own, marked())
}

// stage is the first segment of the path, which names the stage however the
// target writes it; "" if there is none.
func (q *inquiry) stage() string {
	own, _, _ := strings.Cut(q.client.Path(), "?")
	first, _, _ := strings.Cut(strings.TrimPrefix(own, "/"), "/")
	return first
}

// marked is a segment that nobody has, and that everybody who finds it in a
// log can place.
func marked() string {
	b := make([]byte, 4)
	rand.Read(b) // never fails, by its contract
	return "vpcprobe-followup-" + hex.EncodeToString(b)
}

// plain asks without what a firewall's rule on content might dislike. By a
// domain the headers stay: its routing rules may go by them, and the answer of
// another API would tell nothing.
func (q *inquiry) plain() {
	asked := "a plain GET without query, headers and API key"
	if q.lane.Via == probes.ViaDomain {
		asked = "a plain GET without query, secret headers and API key"
	}
	own, _, _ := strings.Cut(q.client.Path(), "?")
	q.own("P9", asked, invoke.Request{Method: http.MethodGet, Path: own, Bare: true, NoAPIKey: true})
}

// key asks what the API key has to do with it.
func (q *inquiry) key() {
	if q.safe() {
		q.own("P8-none", "without an API key", invoke.Request{})
		q.own("P8-bogus", "with a bogus API key", invoke.Request{APIKey: "vpcprobe-followup-no-key"})
	}
	q.plain()
}

// certificate asks what the client certificate has to do with it.
func (q *inquiry) certificate() {
	if !q.about.CertAsked || !q.safe() {
		return
	}
	q.own("P10-none", "without a client certificate", invoke.Request{Handshake: handshake.Variant{Certificate: handshake.None}})
	q.own("P10-control", "with a client certificate that nobody trusts", invoke.Request{Handshake: handshake.Variant{Certificate: handshake.Control}})
}

// names asks for a path that does not exist by the API's other names, at the
// same address. What the walk saw of a name is not asked again.
func (q *inquiry) names() {
	t := q.target
	if t.API == "" {
		return
	}
	at := func(via probes.Via) probes.Lane {
		return probes.Lane{Via: via, ServerName: t.NameOf(via), Addr: q.lane.Addr}
	}
	if t.Endpoint.DNSName != "" && !q.walked(probes.ViaEndpoint) {
		q.one("P3", "by the endpoint's own name, with x-apigw-api-id", at(probes.ViaEndpoint), q.absent())
	}
	if !q.walked(probes.ViaPrivateDNS) {
		q.one("P4", "by the API's own name, at the same address", at(probes.ViaPrivateDNS), q.absent())
	}
	if q.lane.Via == probes.ViaEndpoint {
		q.byHost(q.lane)
	}
	if t.Endpoint.ID != "" && !q.walked(probes.ViaAlias) {
		q.alias()
	}
}

// byHost asks for a path that does not exist by the endpoint's own name in TLS
// and the API's in HTTP.
func (q *inquiry) byHost(lane probes.Lane) {
	r := q.absent()
	r.Host, r.NoAPIID = q.target.NameOf(probes.ViaPrivateDNS), true
	q.one("P13", "by the endpoint's own name in TLS, with the API's name as Host", lane, r)
}

// walked reports whether the walk has answers by a name form.
func (q *inquiry) walked(via probes.Via) bool {
	return slices.ContainsFunc(q.seen.Of("invoke"), func(o probes.Observation) bool {
		a := invoke.Of(o)
		return o.Via == via && a != nil && a.Status != 0 && resolves(q.seen, o)
	})
}

// alias resolves and calls {api}-{vpce}, whose name exists for an associated
// endpoint of a deployed private API only.
func (q *inquiry) alias() {
	t := q.target.Clone()
	t.Via, t.Endpoint.DNSName = []probes.Via{probes.ViaAlias}, ""
	lookup, err := resolve.Kind.New(q.system)(t)
	if err != nil || lookup == nil {
		return
	}
	seen := probes.Evidence{Target: t}
	answers := lookup.Probe(q.ctx, seen, nil) // which takes a step's time at most
	missing := probes.Filter(answers, func(o probes.Observation) bool { return o.Outcome == probes.NoSuchName })
	switch lanes := resolve.Lanes(seen.With("resolve", answers)); {
	case len(missing) == len(answers) && len(missing) > 0:
		o := missing[0]
		o.Via, o.Values = probes.ViaAlias, nil
		o.Detail = &Detail{Probe: "P5", Asked: "resolve {api}-{endpoint}", Reading: NoName, About: q.about.Family}
		q.obs = append(q.obs, o)
	case len(missing) == 0 && len(lanes) > 0 && lanes[0].Answered:
		q.one("P5", "by the alias {api}-{endpoint}", lanes[0], q.absent())
	}
}

// missingToken asks about Missing Authentication Token.
func (q *inquiry) missingToken() {
	if q.lane.Via == probes.ViaDomain && q.safe() {
		if rest, ok := withoutFirst(q.client.Path()); ok {
			q.own("P7", "without the first segment of the path", invoke.Request{Path: rest})
		}
	}
	q.nowhere()
	if q.target.Method != http.MethodGet {
		q.plain()
	}
}

// withoutFirst takes the first segment off a path.
func withoutFirst(p string) (string, bool) {
	_, rest, more := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if !more {
		return "/", strings.Trim(p, "/") != ""
	}
	return "/" + rest, true
}

// unsigned asks without the Authorization header.
func (q *inquiry) unsigned() {
	if q.safe() {
		q.own("P6", "without an Authorization header", invoke.Request{Unsigned: true})
	}
}

// anonymous asks about a denial of nobody in particular.
func (q *inquiry) anonymous() {
	q.nowhere()
}
