package trace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// conclude decides what the answers mean: the state of the port and the
// verdict in words. local is our own address on the path; silence says that
// the port was given enough time and SYNs to be called filtered.
func (r *Result) conclude(local netip.Addr, silence bool) {
	r.findLast()
	d := r.decisive()
	if d != nil {
		r.findEnd(d)
	}
	switch {
	case d == nil && r.nothingSent() != nil:
		r.concludeLocal(r.nothingSent())
	case d == nil && !silence:
		r.State, r.Verdict = Unfinished, "cut short before anything conclusive came back"
	case d == nil && r.noARP:
		r.State, r.ByThisHost, r.RejectedBy = HostUnreachable, true, local
		r.Verdict = "the target is on this link, and nobody answers ARP or neighbor discovery for it"
	case d == nil:
		r.concludeFiltered()
	case d.Answer == TimeExceeded:
		r.concludeLoop(d)
	case d.Answer == SynAck:
		r.concludeOpen()
	case d.Answer == Rst:
		r.concludeRefused()
	case d.Answer == Unreachable:
		r.concludeUnreachable(d, local)
	case d.Answer == SomeICMP:
		r.State, r.Verdict = HostUnreachable, "an ICMP error, of which this kernel (older than Linux 5.8) tells neither sender nor kind"
	default:
		r.concludeLocal(d)
	}
	r.findMSSRewrite()
}

// decisive is the answer that decides the state: a completed handshake if
// there is one, else what a full-TTL SYN got, else what ended the path.
func (r *Result) decisive() *Reply {
	var first *Reply
	for i := range r.Direct {
		d := &r.Direct[i]
		if d.Answer == SynAck {
			return d
		}
		if first == nil && d.Answer != Silent && d.Answer != NotSent {
			first = d
		}
	}
	for i := range r.Hops {
		h := &r.Hops[i].Reply
		if h.Answer == SynAck || first == nil && h.Answer.terminal() {
			first = h
		}
		if h.Answer == SynAck {
			break
		}
	}
	return first
}

// nothingSent returns the reply of a packet that this host refused to send, if
// none got out.
func (r *Result) nothingSent() *Reply {
	if len(r.Hops) > 0 || len(r.Direct) == 0 {
		return nil
	}
	for i := range r.Direct {
		if r.Direct[i].Answer != NotSent {
			return nil
		}
	}
	return &r.Direct[0]
}

// findLast finds the farthest router that answered.
func (r *Result) findLast() {
	for _, h := range r.Hops {
		if h.Answer == TimeExceeded || h.Answer == SomeICMP {
			r.LastHop = h.TTL
		}
	}
}

// findEnd finds where the decisive answer came first, and drops the hops
// behind that.
func (r *Result) findEnd(d *Reply) {
	if !d.Answer.terminal() {
		return
	}
	i := slices.IndexFunc(r.Hops, func(h Hop) bool { return h.Answer == d.Answer })
	if i < 0 {
		return
	}
	r.EndsAt = r.Hops[i].TTL
	r.Hops = r.Hops[:i+1]
	r.LastHop = 0
	r.findLast()
}

// at names a hop: its TTL, and its address if it answered.
func (r *Result) at(ttl int) string {
	if h := r.Hop(ttl); h != nil && h.From.IsValid() {
		return fmt.Sprintf("hop %d (%s)", ttl, h.From)
	}
	return fmt.Sprintf("hop %d", ttl)
}

// routerBeyond returns the TTL of a router that answered UDP no nearer than
// ttl, 0 if none did. TCP ended at ttl, so it ended before the target: were
// the target itself at ttl, no router could be there or behind it.
func (r *Result) routerBeyond(ttl int) int {
	for _, c := range r.Control {
		if c.Answer == TimeExceeded && c.TTL >= ttl {
			return c.TTL
		}
	}
	return 0
}

// targetByUDP is the TTL at which the target itself answered UDP: 0 if it did
// not.
func (r *Result) targetByUDP() int {
	for _, c := range r.Control {
		if c.Answer.terminal() && c.From == r.Target.Addr().WithZone("") {
			return c.TTL
		}
	}
	return 0
}

// concludeOpen reads a completed handshake. In user-mode networks, such as that
// of Docker Desktop, a process of the host speaks TCP for the container, every
// TTL gets through, and the handshake completes at hop 1 or 2: true, though it
// is not the target that is so near.
func (r *Result) concludeOpen() {
	r.State, r.PathLength = Open, r.EndsAt
	r.Verdict = "the handshake completes"
	if r.EndsAt > 0 {
		r.Verdict = fmt.Sprintf("the handshake completes at hop %d", r.EndsAt)
	}
	if beyond := r.routerBeyond(r.EndsAt); r.EndsAt > 0 && beyond > 0 {
		r.Between = true
		where := fmt.Sprintf("goes on to a router at hop %d", beyond)
		if t := r.targetByUDP(); t > 0 {
			where = fmt.Sprintf("reaches the target at hop %d", t)
		}
		r.Verdict += fmt.Sprintf(", but UDP %s: something on the way terminates TCP", where)
	}
}

func (r *Result) concludeRefused() {
	r.State = Refused
	if r.EndsAt == 0 {
		r.Verdict = "a reset came back, from the target or a device before it"
		return
	}
	before := r.Hop(r.EndsAt - 1)
	switch {
	case r.routerBeyond(r.EndsAt) > 0:
		r.Between = true
		r.Verdict = fmt.Sprintf("a reset came back for SYNs that go %d hops, but UDP goes on to hop %d: a device at or behind %s resets, not the target",
			r.EndsAt, max(r.targetByUDP(), r.routerBeyond(r.EndsAt)), r.previous())
	case r.targetByUDP() == r.EndsAt && (r.EndsAt == 1 || before != nil && before.Answer == TimeExceeded):
		r.Verdict = fmt.Sprintf("the target itself, at hop %d, resets: nothing listens on the port, or its own firewall rejects", r.EndsAt)
	default:
		r.Verdict = fmt.Sprintf("a reset came back for SYNs that go %d hops: from the target, or a device behind %s", r.EndsAt, r.previous())
	}
}

// previous names the hop before the path's end.
func (r *Result) previous() string {
	if r.EndsAt <= 1 {
		return "this host"
	}
	return r.at(r.EndsAt - 1)
}

// concludeUnreachable reads an ICMP destination unreachable.
func (r *Result) concludeUnreachable(d *Reply, local netip.Addr) {
	r.State = unreachableState(r.Target.Addr().Is6(), d.ICMPType, d.ICMPCode)
	r.RejectedBy = d.From
	who := d.From.String()
	for _, h := range r.Hops {
		if h.Answer == TimeExceeded && slices.Contains(h.Addrs, d.From) {
			r.RejectedAt = h.TTL
			who = fmt.Sprintf("%s (hop %d)", d.From, h.TTL)
			break
		}
	}
	switch {
	case d.From == local:
		r.ByThisHost = true
		who = "this host itself"
	case d.From == r.Target.Addr().WithZone(""):
		who = "the target itself, " + who
	case r.RejectedAt == 0 && r.EndsAt > 0:
		who = fmt.Sprintf("%s (first seen at hop %d)", who, r.EndsAt)
	}
	r.Between = !r.ByThisHost && d.From != r.Target.Addr().WithZone("")
	r.Verdict = fmt.Sprintf("ICMP %d/%d (%s) from %s", d.ICMPType, d.ICMPCode, meanings[r.State], who)
	if r.ByThisHost && r.State == HostUnreachable {
		r.Verdict += ": nobody answers ARP or neighbor discovery for the next hop"
	}
}

// meanings are the states that an ICMP error says, in words.
var meanings = map[State]string{
	Prohibited:      "administratively prohibited",
	PortUnreachable: "port unreachable: a packet filter rejects",
	NetUnreachable:  "no route to the network",
	HostUnreachable: "host unreachable",
}

// unreachableState reads the code of an ICMP destination unreachable: RFC 792
// and RFC 1812, 5.2.7.1, for IPv4 (type 3); RFC 4443, 3.1, for IPv6 (type 1).
func unreachableState(v6 bool, typ, code uint8) State {
	table := map[uint8]State{
		0: NetUnreachable, 6: NetUnreachable, 11: NetUnreachable,
		3: PortUnreachable,
		9: Prohibited, 10: Prohibited, 13: Prohibited,
	}
	if v6 {
		table = map[uint8]State{0: NetUnreachable, 1: Prohibited, 5: Prohibited, 6: Prohibited, 4: PortUnreachable}
	}
	unreachable := typ == 3 && !v6 || typ == 1 && v6
	if state, ok := table[code]; ok && unreachable {
		return state
	}
	return HostUnreachable
}

// concludeLoop reads a full-TTL SYN that ran out of TTL: it circled.
func (r *Result) concludeLoop(d *Reply) {
	r.State = Loop
	r.Verdict = fmt.Sprintf("a SYN with the full TTL ran out of it at %s: packets circle", d.From)
	for i, h := range r.Hops {
		for _, later := range r.Hops[i+1:] {
			if h.Answer == TimeExceeded && later.Answer == TimeExceeded && later.From == h.From {
				other := r.Hop(h.TTL + 1)
				if other == nil || other.Answer != TimeExceeded || other.From == h.From {
					continue
				}
				r.LastHop = other.TTL
				r.Verdict = fmt.Sprintf("packets circle between %s and %s", r.at(h.TTL), r.at(other.TTL))
				return
			}
		}
	}
}

// concludeFiltered reads silence.
func (r *Result) concludeFiltered() {
	r.State, r.SilentFrom = Filtered, r.LastHop+1
	if r.LastHop == 0 {
		r.Verdict = "no answer at any TTL: dropped on this host or on the way, where no router answers (in a VPC none does)"
	} else {
		r.Verdict = fmt.Sprintf("last answer from %s, silence from hop %d", r.at(r.LastHop), r.SilentFrom)
	}
	far := 0
	for _, c := range r.Control {
		if c.Answer != Silent {
			far = c.TTL
		}
	}
	switch target := r.targetByUDP(); {
	case target > 0:
		r.PathUp = true
		r.Verdict += fmt.Sprintf("; UDP reaches the target at hop %d: the path is up, TCP %d is filtered", target, r.Target.Port())
	case far > r.LastHop:
		r.Verdict += fmt.Sprintf("; UDP goes on to hop %d", far)
	case far > 0:
		r.Verdict += "; UDP stops there too"
	}
}

// concludeLocal reads what this host said itself.
func (r *Result) concludeLocal(d *Reply) {
	r.State, r.err = Local, d.err
	r.Verdict = "this host refuses to send: " + d.Error
	if r.err == nil {
		r.err = errors.New(d.Error)
	}
}

// findMSSRewrite compares the MSS options that routers quote with ours, hop by
// hop.
func (r *Result) findMSSRewrite() {
	mss := 0
	for _, h := range r.Hops {
		if h.SawMSS == 0 {
			continue
		}
		if mss == 0 {
			mss = h.SentMSS
		}
		if mss > 0 && h.SawMSS != mss && r.MSS == nil {
			r.MSS = &MSSRewrite{From: mss, To: h.SawMSS, Before: h.TTL}
			r.Verdict += fmt.Sprintf("; MSS rewritten from %d to %d before hop %d", mss, h.SawMSS, h.TTL)
		}
		mss = h.SawMSS
	}
}
