package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/probes"
)

// A lookup finds the addresses of one name the way one resolver does it.
type lookup struct {
	from  *client
	name  string
	only  string // ip_family
	conf  conf
	hosts entry

	first int       // the server to start with: the one that answered last
	tried []Failure // servers that failed before it
}

// What was found, and how long it took.
type found struct {
	start   time.Time
	took    time.Duration
	delay   time.Duration // how much later than the kernel we noticed
	server  netip.AddrPort
	outcome probes.Outcome
	err     error
	replies []probes.Value // of the metric responses
	resent  int
	detail  *Detail
	course  Course // of the detail, once it is complete
}

func (f found) values() []probes.Value {
	values := f.replies
	if f.resent > 0 {
		values = append(values, retransmissions.Is(float64(f.resent)))
	}
	if f.delay > 0 {
		values = append(values, probes.Delay.Is(f.delay.Seconds()))
	}
	return values
}

// run looks the name up. The hosts file comes first, as it does on any host
// whose nsswitch.conf was not turned around. The DNS is asked all the same,
// since only together they tell whether the entry hides something.
func (l *lookup) run(ctx context.Context) found {
	f := l.search(ctx)
	if len(l.hosts.addrs) == 0 {
		return f
	}
	d := &Detail{Server: l.hosts.path, Transport: OverHosts}
	for _, addr := range l.hosts.addrs {
		d.Answers = append(d.Answers, Answer{Addr: addr})
	}
	f.took, f.delay, f.server = 0, 0, netip.AddrPort{}
	f.course = Course{Behind: f.detail.Addrs()}
	f.outcome, f.err, f.detail = probes.OK, nil, d
	return f
}

// search asks for the full names that the given one may stand for, until one
// has addresses. If none has, what was said of the name as given counts.
func (l *lookup) search(ctx context.Context) found {
	var asis found
	for full := range l.conf.names(l.name) {
		f := l.failover(ctx, full)
		given := plain(full) == plain(l.name)
		if given {
			asis = f
		}
		switch f.outcome {
		case probes.NoSuchName, probes.NoAddress, probes.ServerFailed:
			continue
		case probes.OK:
			if !given {
				f.course.Asked = probes.Scrub(plain(full), maxName)
			}
		}
		return f
	}
	return asis
}

// failover asks one server after the other until one answers, as libc does.
// The time there is is shared out among those that are left.
func (l *lookup) failover(ctx context.Context, full string) found {
	var f found
	n := len(l.conf.servers)
	for i := range n {
		at, start := (l.first+i)%n, time.Now()
		share := l.share(ctx, start, n-i)
		f = l.askWithin(ctx, start, share, l.conf.servers[at], full)
		f.course.Tried = l.tried
		if !failed(f.outcome) {
			l.first = at
			return f
		}
		if i < n-1 {
			hurried := f.outcome == probes.Timeout && share < l.conf.timeout
			l.tried = append(l.tried, Failure{l.conf.servers[at].String(), f.outcome, hurried})
		}
	}
	return f
}

// share is how long one of the n servers left may take.
func (l *lookup) share(ctx context.Context, now time.Time, n int) time.Duration {
	share := time.Hour
	if deadline, ok := ctx.Deadline(); ok {
		share = deadline.Sub(now) / time.Duration(n)
	}
	if l.conf.timeout > 0 {
		share = min(share, l.conf.timeout*time.Duration(l.conf.attempts))
	}
	return share
}

// failed reports whether another server is worth asking.
func failed(o probes.Outcome) bool {
	switch o {
	case probes.OK, probes.NoSuchName, probes.NoAddress, probes.Aborted, probes.Fault:
		return false
	}
	return true
}

// A family is what one server said of the addresses of one family.
type family struct {
	*question
	outcome probes.Outcome
}

// askWithin asks one server for both families at once, or for the only one.
func (l *lookup) askWithin(ctx context.Context, start time.Time, share time.Duration, server netip.AddrPort, full string) found {
	ctx = probes.Until(ctx, start.Add(share))
	types := l.types()
	questions := make([]*question, len(types))
	for i, qtype := range types {
		questions[i] = &question{from: l.from, server: server, name: full, qtype: qtype, tcp: l.conf.tcp}
	}
	ask(ctx, questions)
	families := make([]family, len(types))
	for i, q := range questions {
		families[i] = family{q, outcomeOf(q.reply, q.err)}
	}
	return l.confined(types, combine(families, server, start))
}

// outcomeOf names how one question ended.
func outcomeOf(r *reply, err error) probes.Outcome {
	switch {
	case errors.Is(err, errBadReply):
		return probes.BadReply
	case err != nil:
		return probes.Classify(err)
	case r.rcode == dns.RcodeNameError:
		return probes.NoSuchName
	case r.rcode != dns.RcodeSuccess:
		return probes.ServerFailed
	case len(r.answers) == 0:
		return probes.NoAddress
	}
	return probes.OK
}

// combine makes one lookup of the two questions, which began when the first of
// them was sent. A name is found if either family has addresses; it does not
// exist if either question says so; and that it has no addresses takes two to
// say.
func combine(families []family, server netip.AddrPort, start time.Time) found {
	lead := families[0]
	for _, f := range families[1:] {
		if rank(f.outcome) > rank(lead.outcome) {
			lead = f
		}
	}
	if i := slices.IndexFunc(families, func(f family) bool { return !f.sent.IsZero() }); i >= 0 {
		start = families[i].sent
	}
	f := found{
		start:   start,
		server:  server,
		outcome: lead.outcome,
		err:     explain(lead, server),
		replies: make([]probes.Value, 0, len(families)+4), // with room for the other values
		detail:  &Detail{Transport: lead.reply.transport},
		course:  Course{Chain: lead.reply.chain},
	}
	if lead.err == nil {
		f.detail.Rcode = rcodeText(lead.reply.rcode)
	}
	for _, one := range families {
		f.add(one)
	}
	f.course.Failed = half(families, f.outcome)
	if f.took == 0 {
		f.took = time.Since(start)
	}
	return f
}

// rank orders outcomes by how much they say about the name.
func rank(o probes.Outcome) int {
	switch o {
	case probes.OK:
		return 3
	case probes.NoSuchName:
		return 2
	case probes.NoAddress:
		return 0
	}
	return 1
}

// add counts in what one family yielded.
func (f *found) add(one family) {
	d, c, r := f.detail, &f.course, one.reply
	c.Resent += r.resent
	f.resent += r.resent
	c.Truncated = c.Truncated || r.truncated
	if d.Answers == nil {
		d.Answers = r.answers
	} else {
		d.Answers = append(d.Answers, r.answers...)
	}
	if one.err == nil {
		rcode := rcodeText(r.rcode)
		d.Rcode = cmp.Or(d.Rcode, rcode)
		f.replies = append(f.replies, responses.Is(1, rcode))
		if took := r.arrived.Sub(f.start) - r.delay; took > f.took {
			f.took, f.delay = took, r.delay
		}
	}
}

// half returns the family that failed while the other was answered, if that is
// how it was: with addresses or without.
func half(families []family, outcome probes.Outcome) (failed []Failure) {
	answered := func(f family) bool {
		return f.outcome == probes.OK || f.outcome == probes.NoAddress || f.outcome == probes.NoSuchName && f.outcome == outcome
	}
	if !slices.ContainsFunc(families, answered) {
		return nil
	}
	for _, f := range families {
		if !answered(f) {
			failed = append(failed, Failure{What: dns.TypeToString[f.qtype], Outcome: f.outcome})
		}
	}
	return failed
}

// explain says in words what the outcome says in one.
func explain(f family, server netip.AddrPort) error {
	switch {
	case f.err != nil:
		return fmt.Errorf("ask %s for %s: %w", server, dns.TypeToString[f.qtype], f.err)
	case f.outcome == probes.NoAddress:
		return fmt.Errorf("%s knows the name, but no address of it", server)
	case f.outcome != probes.OK:
		return fmt.Errorf("%s says %s", server, rcodeText(f.reply.rcode))
	}
	return nil
}

// rcodeText is the response code as people write it. The set is closed, as it
// becomes a label.
func rcodeText(rcode int) string {
	if text, ok := dns.RcodeToString[rcode]; ok {
		return text
	}
	return "OTHER"
}
