package resolve

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpcprobe/probes"
)

// How an answer came.
const (
	OverUDP   = "udp"
	OverTCP   = "tcp"   // the answer did not fit into a datagram, or resolv.conf says use-vc
	OverHosts = "hosts" // from the hosts file, which precedes the DNS
)

// A Detail is what one resolver said of one name. What most lookups have
// nothing of is behind pointers, because one of each is kept.
type Detail struct {
	Server    string   `json:"server,omitempty"` // who answered: address:port, or the hosts file's path
	Transport string   `json:"transport,omitempty"`
	Rcode     string   `json:"rcode,omitempty"` // NOERROR, NXDOMAIN, ...; empty without a reply
	Answers   []Answer `json:"answers,omitempty"`

	*Course     // nil if all went straight
	*Comparison // nil if there was nothing to compare, or nothing came of it
}

// A Course is what happened on the way to the answer.
type Course struct {
	Chain     []string  `json:"chain,omitempty"` // the CNAMEs followed, in order
	Asked     string    `json:"asked,omitempty"` // the full name, if resolv.conf's search list completed it
	Only      string    `json:"only,omitempty"`  // the type of record asked for, A or AAAA, if it was not both and there is none
	Truncated bool      `json:"truncated,omitempty"`
	Resent    int       `json:"resent,omitempty"` // questions that had to be sent again
	Failed    []Failure `json:"failed,omitempty"` // the address family that failed while the other was answered, with addresses or without
	Tried     []Failure `json:"tried,omitempty"`  // servers of resolv.conf that failed before Server answered

	// Rotated are further addresses that came when the name was asked for
	// again, because it did not seem to lead where the endpoint's own does.
	Rotated []netip.Addr `json:"rotated,omitempty"`

	// Behind is what the DNS says of a name that the hosts file overrides.
	Behind []netip.Addr `json:"behind,omitempty"`
}

// A Comparison is the answer as a set, compared with the endpoint's addresses.
// Of a custom domain without an endpoint nothing is expected, and of an
// endpoint whose addresses are unknown only that they are not public.
type Comparison struct {
	Matching   []netip.Addr `json:"matching,omitempty"`
	Missing    []netip.Addr `json:"missing,omitempty"` // no fault in itself: answers rotate
	Unexpected []netip.Addr `json:"unexpected,omitempty"`
	Public     []netip.Addr `json:"public,omitempty"` // those not expected that are routable on the internet
}

// What is read where there is none. Nobody writes to them.
var (
	straight   = new(Course)
	uncompared = new(Comparison)
)

// straight reports whether there is nothing to tell.
func (c *Course) straight() bool {
	return len(c.Chain)+len(c.Failed)+len(c.Tried)+len(c.Rotated)+len(c.Behind)+c.Resent == 0 &&
		c.Asked+c.Only == "" && !c.Truncated
}

// failed reports whether the questions for addresses of one family failed, A or
// AAAA, while the other was answered.
func (c *Course) failed(qtype string) bool {
	return slices.ContainsFunc(c.Failed, func(f Failure) bool { return f.What == qtype && f.Outcome.Blames() })
}

// course returns the Course for reading, an empty one if there is none.
func (d *Detail) course() *Course { return cmp.Or(d.Course, straight) }

// compared returns the Comparison for reading, an empty one if there is none.
func (d *Detail) compared() *Comparison { return cmp.Or(d.Comparison, uncompared) }

// An Answer is one address with the seconds for which it may be cached: the
// lowest TTL on the way to it.
type Answer struct {
	Addr netip.Addr `json:"addr"`
	TTL  uint32     `json:"ttl"`
}

// A Failure says what failed, a server or an address family, and how.
type Failure struct {
	What    string         `json:"what"`
	Outcome probes.Outcome `json:"outcome"`
	Hurried bool           `json:"hurried,omitempty"` // a server's timeout came sooner than resolv.conf's: the time there was had to be shared
}

// Of returns the detail of a lookup, or nil if o is none.
func Of(o probes.Observation) *Detail {
	d, _ := o.Detail.(*Detail)
	return d
}

// Addrs returns the addresses without their TTLs.
func (d *Detail) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, len(d.Answers))
	for i, a := range d.Answers {
		addrs[i] = a.Addr
	}
	return addrs
}

// appendAll appends the addresses of all answers, if there were several. Of a
// name in the hosts file only the entry counts.
func (d *Detail) appendAll(addrs []netip.Addr) []netip.Addr {
	addrs = slices.Grow(addrs, len(d.Answers))
	for _, a := range d.Answers {
		addrs = append(addrs, a.Addr)
	}
	if d.Transport == OverHosts {
		return addrs
	}
	return append(addrs, d.course().Rotated...)
}

// TTL returns the lowest TTL of the answer, in seconds.
func (d *Detail) TTL() uint32 {
	var lowest uint32
	for i, a := range d.Answers {
		if i == 0 || a.TTL < lowest {
			lowest = a.TTL
		}
	}
	return lowest
}

// String is the answer in a line.
func (d *Detail) String() string {
	var b strings.Builder
	course := d.course()
	switch {
	case len(d.Answers) > 0:
		b.WriteString(list(sorted(d.Addrs())))
	case d.Rcode != "":
		b.WriteString(d.Rcode)
	default:
		b.WriteString("no reply")
	}
	if d.Transport == OverHosts {
		fmt.Fprintf(&b, " from the hosts file %s", d.Server)
		if len(course.Behind) > 0 {
			fmt.Fprintf(&b, ", the DNS says %s", list(course.Behind))
		}
	} else if d.Server != "" {
		fmt.Fprintf(&b, " from %s", d.Server)
	}
	if len(d.Answers) > 0 && d.Transport != OverHosts {
		fmt.Fprintf(&b, ", TTL %d s", d.TTL())
	}
	if len(course.Rotated) > 0 {
		fmt.Fprintf(&b, ", asked again: %s", list(course.Rotated))
	}
	if len(d.compared().Unexpected) > 0 {
		b.WriteString(", " + d.stray())
	}
	if course.Only != "" {
		fmt.Fprintf(&b, ", asked for %s only", course.Only)
	}
	if course.Asked != "" {
		fmt.Fprintf(&b, ", asked as %s", course.Asked)
	}
	for _, f := range course.Failed {
		fmt.Fprintf(&b, ", %s: %s", f.What, f.Outcome)
	}
	for _, f := range course.Tried {
		fmt.Fprintf(&b, ", after %s: %s", f.What, f.Outcome)
		if f.Hurried {
			b.WriteString(" sooner than resolv.conf's, so it may be slow")
		}
	}
	return b.String()
}

// stray says which addresses are not the endpoint's.
func (d *Detail) stray() string { return "not the endpoint's: " + list(d.compared().Unexpected) }

func list(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
