package trace

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A Table shows traces of one address to people: a line for each hop, over all
// traces added, and the latest verdict in words. Its zero value is empty.
type Table struct {
	last *Result
	runs int
	hops map[int]*tally
}

// A tally is what is known of one hop over several traces.
type tally struct {
	addrs          []netip.Addr
	seen, answered int
	best, worst    Milliseconds
}

// Add takes note of a trace.
func (t *Table) Add(r *Result) {
	t.last = r
	t.runs++
	if t.hops == nil {
		t.hops = map[int]*tally{}
	}
	for _, h := range r.Hops {
		n := t.hops[h.TTL]
		if n == nil {
			n = &tally{best: h.RTT}
			t.hops[h.TTL] = n
		}
		n.seen++
		if h.Answer == Silent {
			continue
		}
		n.answered++
		if n.answered == 1 || h.RTT < n.best {
			n.best = h.RTT
		}
		n.worst = max(n.worst, h.RTT)
		for _, a := range h.Addrs {
			if !slices.Contains(n.addrs, a) {
				n.addrs = append(n.addrs, a)
			}
		}
	}
}

// WriteTo writes the table as text.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	if r := t.last; r != nil {
		fmt.Fprintf(&b, "trace to %s, %d SYNs in %s\n", r.Target, r.SYNs, r.Took)
		t.writeHops(&b)
		fmt.Fprintf(&b, "%s\n", r)
		if r.MTU != nil {
			fmt.Fprintf(&b, "packet size: %s\n", r.MTU)
		}
		if r.Changed != nil {
			fmt.Fprintf(&b, "path: %s\n", r.Changed)
		}
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (t *Table) writeHops(w io.Writer) {
	if len(t.last.Hops) == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer tw.Flush()
	if t.runs > 1 {
		fmt.Fprintln(tw, "hop\taddress\tround trip\tbest\tworst\tanswered\tremark")
	} else {
		fmt.Fprintln(tw, "hop\taddress\tround trip\tremark")
	}
	for _, h := range t.last.Hops {
		n := t.hops[h.TTL]
		fmt.Fprintf(tw, "%d\t%s\t%s", h.TTL, addresses(n.addrs), roundTrip(h.Answer, h.RTT))
		if t.runs > 1 {
			fmt.Fprintf(tw, "\t%s\t%s\t%d/%d", roundTrip(answered(n), n.best), roundTrip(answered(n), n.worst), n.answered, n.seen)
		}
		fmt.Fprintf(tw, "\t%s\n", t.last.remark(h))
	}
}

func answered(n *tally) Answer {
	if n.answered == 0 {
		return Silent
	}
	return TimeExceeded
}

func addresses(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "*"
	}
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

func roundTrip(a Answer, d Milliseconds) string {
	if a == Silent {
		return "-"
	}
	return d.String()
}

// String is the duration in milliseconds.
func (d Milliseconds) String() string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 3, 64) + " ms"
}

// remark says what is special about a hop.
func (r *Result) remark(h Hop) string {
	var remarks []string
	switch h.Answer {
	case Silent:
		remarks = append(remarks, "silent")
	case SynAck:
		remarks = append(remarks, "SYN/ACK")
	case Rst:
		remarks = append(remarks, "reset")
	case Unreachable:
		remarks = append(remarks, fmt.Sprintf("ICMP %d/%d", h.ICMPType, h.ICMPCode))
	}
	if r.MSS != nil && r.MSS.Before == h.TTL {
		remarks = append(remarks, fmt.Sprintf("sees MSS %d instead of %d", r.MSS.To, r.MSS.From))
	}
	if h.Fixed != nil && h.Fixed.From.IsValid() && len(h.Addrs) > 1 {
		remarks = append(remarks, fmt.Sprintf("one flow meets %s", h.Fixed.From))
	}
	return strings.Join(remarks, ", ")
}

// WatchOptions say how [Watch] traces.
type WatchOptions struct {
	Every      time.Duration // how often; 0: once
	Paris      bool          // a second pass with a single flow, each time
	MTU        bool          // measure how large packets may be, the first time
	ServerName string        // for that: the name in the TLS client hello
}

// Watch traces dst once or again and again until ctx ends, always with the UDP
// control, and shows each result. It returns the error of a trace that could not
// be made, or of show; the end of ctx is none once something was shown.
func Watch(ctx context.Context, dst netip.AddrPort, o WatchOptions, show func(*Result) error) error {
	stamps := keepStamping()
	defer stamps.release()
	var m Memory
	for shown := false; ; shown = true {
		r, err := m.Trace(ctx, dst, Options{Control: true, Paris: o.Paris})
		if err == nil && o.MTU && !shown && r.State == Open {
			r.MTU, err = ProbeMTU(ctx, dst, o.ServerName)
		}
		if ctx.Err() != nil && shown {
			return nil
		}
		if err != nil {
			return err
		}
		if err := show(r); err != nil || o.Every <= 0 {
			return err
		}
		select {
		case <-time.After(o.Every):
		case <-ctx.Done():
			return nil
		}
	}
}

// Lookup reads HOST or HOST:PORT, where HOST is a name or an address, an IPv6
// address with a port in brackets; the port is 443 unless given. It returns the
// host as written and its addresses.
func Lookup(ctx context.Context, text string) (host string, addrs []netip.AddrPort, err error) {
	host, port := text, uint64(443)
	if h, p, err := net.SplitHostPort(text); err == nil {
		host = h
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return "", nil, fmt.Errorf("%s: port %q is not a number from 1 to 65535", text, p)
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		return host, []netip.AddrPort{netip.AddrPortFrom(addr, uint16(port))}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return host, nil, fmt.Errorf("%s: %w", text, err)
	}
	for _, addr := range found {
		addrs = append(addrs, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
	}
	return host, addrs, nil
}
